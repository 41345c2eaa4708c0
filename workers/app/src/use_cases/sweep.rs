//! The sweeper: repeats work that was lost with a message or a worker. It sends commands again,
//! lets overdue orders fail, settles expired stock holds, and deletes old inbox and outbox rows.

use std::time::Duration;

use contract::queue::PARKING_RETENTION;
use domain::ids::EventId;
use domain::saga::{Decision, Event, State};

use super::progress::{Progress, ask_for};
use super::time_out::{Timeouts, WaitOutcome, look_after};
use super::{Maker, ORDER_DEADLINE, apply_alone};
use crate::ports::orders::{Change, Due, OrderStore};
use crate::ports::stock::Stock;
use crate::ports::{Source, StoreError};

/// Maximum number of orders in one round.
const ROUND: u32 = 100;
/// Maximum number of rounds before the sweeper continues with its other tasks: 10,000 orders, ten
/// times the default of `order/max_queue_size`.
const ROUNDS_MAX: u32 = 100;
/// Maximum number of expired stock holds that one sweep reads. A hold whose order is still being
/// processed remains, so a smaller number could be filled by such holds in every sweep, and the
/// sweep would never reach the others.
const HOLDS_MAX: u32 = ROUND * ROUNDS_MAX;
/// Maximum number of rows that one transaction deletes, so that concurrent transactions do not wait
/// long.
const PRUNED_AT_ONCE: u32 = 1_000;
/// Age at which inbox and outbox rows are deleted. No queue keeps a message that long, so no
/// duplicate can arrive later.
const KEPT: Duration = Duration::from_secs(15 * 24 * 3600);
const _: () = assert!(KEPT.as_secs() > PARKING_RETENTION.as_secs());

/// The result of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Orders whose command was sent again.
    pub asked_again: u64,
    /// Orders that failed because their deadline passed.
    pub timed_out: u64,
    /// Orders about which staff or the customer were notified.
    pub told: u64,
    /// Orders that were completed because nobody collected them.
    pub closed: u64,
    /// Stock holds that were released.
    pub holds_released: u64,
}

/// Handles every order whose `next_action_at` has passed.
///
/// An order that waits for an answer gets its command again, or fails after [`ORDER_DEADLINE`]. An
/// order that waits for people is passed to [`look_after`]. Rounds continue until no order is due,
/// so that a backlog after an outage is handled immediately.
///
/// # Errors
/// The first error. The other orders are handled nevertheless.
pub async fn sweep_orders(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    timeouts: &Timeouts,
) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let mut failed = None;
    for _ in 0..ROUNDS_MAX {
        let now = source.now();
        let due = orders
            .take_due(now, now + timeouts.processing, ROUND)
            .await?;
        let last = due.len() < ROUND as usize;
        for due in due {
            // One order that cannot be read or written must not delay the others. It becomes due
            // again.
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

/// Handles one order.
async fn sweep_order(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    timeouts: &Timeouts,
    due: &Due,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let now = source.now();
    match look_after(orders, source, maker, timeouts, due).await? {
        WaitOutcome::NotForPeople => {}
        WaitOutcome::NotYet => return Ok(()),
        WaitOutcome::Told => {
            swept.told += 1;
            return Ok(());
        }
        WaitOutcome::Closed => {
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
        let event_id = EventId(source.uuid());
        Change {
            outbox: vec![maker.envelope(source, Some(due.order_id), message)],
            ..Change::of(maker.role, event_id, now)
        }
    };
    // A conflict means that the order has advanced in the meantime, so nothing is left to do.
    apply_alone(orders, change).await.map(drop)
}

/// Returns whether the order is unconfirmed after its deadline.
fn give_up(due: &Due, now: domain::Timestamp) -> bool {
    now > due.created_at + ORDER_DEADLINE
        && matches!(
            due.state,
            State::Placed | State::Validated | State::Charging
        )
}

/// Settles stock holds past their expiry.
///
/// A hold is released when its order was cancelled, has failed or does not exist. It is confirmed
/// when its order is sold. Any other order is still being processed and has its own deadline.
///
/// # Errors
/// The first error. The other holds are settled nevertheless.
pub async fn sweep_holds(
    orders: &impl OrderStore,
    stock: &impl Stock,
    source: &impl Source,
) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let now = source.now();
    let mut failed = None;
    for hold in stock.expired_holds(now, HOLDS_MAX).await? {
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
            Ok(Some(state)) if state.is_sold() => {
                stock.confirm(hold.order_id, now).await.map(|_| ())
            }
            Ok(Some(_)) => Ok(()),
        };
        // One hold that cannot be settled must not delay the others.
        failed = failed.or(settled.err());
    }
    failed.map_or(Ok(swept), Err)
}

/// Deletes inbox and outbox rows older than 15 days. Returns the number of deleted rows.
///
/// # Errors
/// [`StoreError`] when the database cannot delete them.
pub async fn sweep_messages(
    orders: &impl OrderStore,
    source: &impl Source,
) -> Result<u64, StoreError> {
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
