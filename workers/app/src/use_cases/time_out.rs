//! Orders that wait for people: staff have not started or finished them, or the customer has not
//! collected them.
//!
//! Staff or the customer are notified once for each status. Only the sweeper reads the timeouts, so
//! a change of a live parameter takes effect without a restart. The sweeper first looks at such an
//! order after a short fixed time, and then again when the current timeout has passed.

use std::time::Duration;

use contract::messages::{Audience, Message};
use domain::Timestamp;
use domain::ids::EventId;
use domain::order::{Order, OrderType};
use domain::saga::{Decision, Event, State};
use uuid::Uuid;

use super::progress::Progress;
use super::{ASK_AGAIN, Maker, apply_alone};
use crate::ports::orders::{Applied, Change, Due, OrderStore};
use crate::ports::{Source, StoreError};

/// The reason of an order that was completed because nobody collected it.
pub const NOT_COLLECTED: &str = "not collected";

/// The current timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Time until a command without an answer is sent again.
    pub processing: Duration,
    /// Time for staff to start an order, and again to finish it.
    pub preparation: Duration,
    /// Time for the customer to collect an order.
    pub collection: Duration,
    /// Further time until an order that was not collected is completed.
    pub uncollected: Duration,
}

impl Default for Timeouts {
    /// Returns the defaults of the live parameters.
    fn default() -> Timeouts {
        Timeouts {
            processing: ASK_AGAIN,
            preparation: Duration::from_secs(600),
            collection: Duration::from_secs(900),
            uncollected: Duration::from_secs(7_200),
        }
    }
}

/// The action that is due for an order that waits for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing is due before this time.
    Until(Timestamp),
    /// Notify staff. No further action follows.
    TellStaff,
    /// Notify the customer. The order is completed at `closes_at`.
    TellCustomer {
        closes_at: Timestamp,
    },
    Close,
}

/// Returns the action for an order. `None` for a state in which the order waits for no person.
fn wait_of(due: &Due, timeouts: &Timeouts, now: Timestamp) -> Option<Wait> {
    let tell_staff = |at: Timestamp| {
        if now < at {
            Wait::Until(at)
        } else {
            Wait::TellStaff
        }
    };
    // An order with a pickup time is not late before that time.
    let wanted = due.pickup_at.unwrap_or(due.since);
    match due.state {
        State::Confirmed => Some(tell_staff(
            (due.since + timeouts.preparation).max(wanted - timeouts.preparation),
        )),
        State::Preparing => Some(tell_staff((due.since + timeouts.preparation).max(wanted))),
        State::Ready => {
            let tell_at = due.since.max(wanted) + timeouts.collection;
            let closes_at = tell_at + timeouts.uncollected;
            Some(if now < tell_at {
                Wait::Until(tell_at)
            } else if now < closes_at {
                Wait::TellCustomer { closes_at }
            } else {
                Wait::Close
            })
        }
        State::Placed
        | State::Validated
        | State::Charging
        | State::Paid
        | State::AbandoningToCancel
        | State::AbandoningToFail
        | State::RefundingToCancel
        | State::RefundingToFail
        | State::ReleasingToCancel
        | State::ReleasingToFail
        | State::Completed
        | State::Cancelled
        | State::Failed => None,
    }
}

/// The result of looking at an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The order does not wait for people.
    NotForPeople,
    /// Nothing was due, or the order changed in the meantime.
    NotYet,
    /// Staff or the customer were notified.
    Told,
    /// The order was completed.
    Closed,
}

/// Carries out the action that is due for an order. A repeated call notifies nobody a second time.
///
/// # Errors
/// [`StoreError`] when the order cannot be read or written.
pub async fn look_after(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    timeouts: &Timeouts,
    due: &Due,
) -> Result<WaitOutcome, StoreError> {
    let now = source.now();
    let again =
        async |at: Option<Timestamp>| orders.look_again(&[(due.order_id, due.version, at)]).await;
    let wait = match wait_of(due, timeouts, now) {
        None => return Ok(WaitOutcome::NotForPeople),
        Some(Wait::Until(at)) => {
            again(Some(at)).await?;
            return Ok(WaitOutcome::NotYet);
        }
        Some(wait) => wait,
    };
    let Some(order) = orders.load(due.order_id).await?.map(|stored| stored.order) else {
        return Ok(WaitOutcome::NotYet);
    };
    // The order has advanced in the meantime, so nothing is left to do.
    if order.version != due.version {
        return Ok(WaitOutcome::NotYet);
    }
    let brought = order.order_type == OrderType::Delivery;
    let (change, then, looked) = match wait {
        Wait::Close if !brought => (close(order, source, maker), None, WaitOutcome::Closed),
        Wait::TellCustomer { closes_at } if !brought => (
            Some(tell(&order, Audience::Customer, source, maker)),
            Some(closes_at),
            WaitOutcome::Told,
        ),
        // The customer cannot collect a delivery: the shop keeps it waiting, so staff are notified.
        Wait::TellStaff | Wait::Close | Wait::TellCustomer { .. } => (
            Some(tell(&order, Audience::Staff, source, maker)),
            None,
            WaitOutcome::Told,
        ),
        Wait::Until(_) => return Ok(WaitOutcome::NotYet),
    };
    let Some(change) = change else {
        return Ok(WaitOutcome::NotYet);
    };
    let applied = apply_alone(orders, change).await?;
    if looked == WaitOutcome::Told {
        again(then).await?;
    }
    Ok(if applied == Applied::Applied {
        looked
    } else {
        WaitOutcome::NotYet
    })
}

/// Returns the change that sends `OrderOverdue`. Its event id is derived from the order and its
/// state, so that a repeated message is a duplicate.
fn tell(order: &Order, audience: Audience, source: &impl Source, maker: &Maker) -> Change {
    let name = format!("{} {} overdue", order.order_id, order.state.code());
    let event_id = EventId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()));
    let message = Message::OrderOverdue {
        order_number: order.order_number.clone(),
        status: order.status.code().to_owned(),
        tell: audience,
        since: order.updated_at,
    };
    Change {
        outbox: vec![maker.envelope_with(event_id, source.now(), Some(order.order_id), message)],
        ..Change::of(maker.role, event_id, source.now())
    }
}

/// Returns the change that completes an order which was not collected.
fn close<S: Source>(order: Order, source: &S, maker: &Maker) -> Option<Change> {
    let mut progress = Progress::of(order, source, maker);
    progress.because(NOT_COLLECTED);
    match progress.on(
        Event::NotCollected,
        maker.role,
        Some(NOT_COLLECTED.to_owned()),
    ) {
        Decision::Advance(_) => Some(progress.into_change(EventId(source.uuid())).0),
        Decision::AlreadyDone | Decision::Impossible => None,
    }
}

#[cfg(test)]
mod tests;
