//! The sweeper: what nobody else would do because a message was lost or a worker died at the worst
//! moment.

use std::time::Duration;

use contract::queue::PARKING_RETENTION;
use domain::ids::EventId;
use domain::saga::{Decision, Event, State};

use super::progress::{Progress, ask_for};
use super::time_out::{Looked, Timeouts, look_after};
use super::{Maker, ORDER_DEADLINE};
use crate::ports::orders::{Applied, Change, Due, OrderStore};
use crate::ports::stock::Stock;
use crate::ports::{Source, Unavailable};

/// Orders or holds looked at in one round.
const ROUND: u32 = 100;
/// Rounds before the sweeper looks after its other duties: 10,000 orders, ten times what
/// `order/max_queue_size` lets wait.
const ROUNDS_MAX: u32 = 100;
/// Rows deleted in one transaction: short enough for whoever waits behind it.
const PRUNED_AT_ONCE: u32 = 1_000;
/// What was sent or applied so long ago is forgotten: no queue can bring it back any more.
const KEPT: Duration = Duration::from_secs(15 * 24 * 3600);
const _: () = assert!(KEPT.as_secs() > PARKING_RETENTION.as_secs());

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Orders whose awaited answer was asked for again.
    pub asked_again: u64,
    /// Orders given up because their time was over.
    pub timed_out: u64,
    /// Orders about which staff or the customer were told that they wait for them.
    pub told: u64,
    /// Orders that nobody collected, closed.
    pub closed: u64,
    /// Holds given back.
    pub holds_released: u64,
}

/// Orders whose awaited answer is overdue: asked for again, or given up after `ORDER_DEADLINE`.
/// Orders that wait for people: these are told. Goes on until none is due, so that a backlog after
/// an outage is worked off at once.
///
/// # Errors
/// The first thing that failed; everything else was done all the same.
pub async fn sweep_orders(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    timeouts: &Timeouts,
) -> Result<Swept, Unavailable> {
    let mut swept = Swept::default();
    let mut failed = None;
    for _ in 0..ROUNDS_MAX {
        let now = source.now();
        let due = orders
            .take_due(now, now + timeouts.processing, ROUND)
            .await?;
        let last = due.len() < ROUND as usize;
        for due in due {
            // One that cannot be read or written must not keep back those behind it. It is due
            // again by itself.
            failed = failed.or(
                sweep_order(orders, source, maker, timeouts, &due, &mut swept)
                    .await
                    .err(),
            );
        }
        if last {
            break;
        }
    }
    failed.map_or(Ok(swept), Err)
}

async fn sweep_order(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    timeouts: &Timeouts,
    due: &Due,
    swept: &mut Swept,
) -> Result<(), Unavailable> {
    let now = source.now();
    match look_after(orders, source, maker, timeouts, due).await? {
        Looked::NotForPeople => {}
        Looked::NotYet => return Ok(()),
        Looked::Told => {
            swept.told += 1;
            return Ok(());
        }
        Looked::Closed => {
            swept.closed += 1;
            return Ok(());
        }
    }
    let Some(stored) = orders.load(due.order_id).await? else {
        return Ok(());
    };
    let change = if give_up(due, now) {
        let mut progress = Progress::of(stored.order, source, maker);
        progress.because("it took too long");
        match progress.on(
            Event::TimedOut,
            maker.role,
            Some("deadline passed".to_owned()),
        ) {
            Decision::Advance(_) => {
                swept.timed_out += 1;
                progress.into_change(EventId(source.uuid())).0
            }
            Decision::AlreadyDone | Decision::Impossible => return Ok(()),
        }
    } else {
        let Some(command) = stored.order.state.awaits() else {
            return Ok(());
        };
        swept.asked_again += 1;
        let message = ask_for(command, &stored.order);
        Change {
            consumer: maker.role,
            event_id: EventId(source.uuid()),
            order: None,
            payment: None,
            outbox: vec![maker.envelope(source, Some(due.order_id), message)],
            at: now,
            delivery: None,
        }
    };
    for applied in orders.apply(std::slice::from_ref(&change)).await {
        // A conflict means that the order has moved on by itself, which is all that we want.
        let (Applied::Applied | Applied::Duplicate | Applied::Conflict) = applied?;
    }
    Ok(())
}

fn give_up(due: &Due, now: domain::Timestamp) -> bool {
    now > due.created_at + ORDER_DEADLINE
        && matches!(
            due.state,
            State::Placed | State::Validated | State::Charging
        )
}

/// Holds past their expiry. One whose order has ended badly, or does not exist, is given back; one
/// whose order was sold is confirmed; the rest belongs to an order that is still on its way and has
/// its own deadline.
pub async fn sweep_holds(
    orders: &impl OrderStore,
    stock: &impl Stock,
    source: &impl Source,
) -> Result<Swept, Unavailable> {
    let mut swept = Swept::default();
    let now = source.now();
    let mut failed = None;
    for hold in stock.expired_holds(now, ROUND).await? {
        let settled = match orders
            .load(hold.order_id)
            .await
            .map(|stored| stored.map(|stored| stored.order.state))
        {
            Err(error) => Err(error),
            Ok(None | Some(State::Cancelled | State::Failed)) => {
                let released = stock.release(hold.order_id, now).await;
                swept.holds_released += u64::from(released.is_ok());
                released
            }
            Ok(Some(State::Confirmed | State::Preparing | State::Ready | State::Completed)) => {
                stock.confirm(hold.order_id, now).await.map(|_| ())
            }
            Ok(Some(_)) => Ok(()),
        };
        // One that cannot be settled must not keep back those behind it.
        failed = failed.or(settled.err());
    }
    failed.map_or(Ok(swept), Err)
}

/// Rows of inbox and outbox that have served their time. Returns how many were deleted.
pub async fn sweep_messages(
    orders: &impl OrderStore,
    source: &impl Source,
) -> Result<u64, Unavailable> {
    let before = source.now() - KEPT;
    let mut deleted = 0;
    loop {
        match orders.prune(before, PRUNED_AT_ONCE).await? {
            0 => return Ok(deleted),
            some => deleted += some,
        }
    }
}

#[cfg(test)]
mod tests;
