//! What waits for people: an order that the bar does not begin, or does not finish, or that nobody
//! collects.
//!
//! Each is told once. The sweeper alone knows how long people may take, so that a change of the
//! settings takes effect without a restart: an order that comes to such a state is looked at soon,
//! and then again when its time has come.

use std::time::Duration;

use contract::messages::Message;
use domain::Timestamp;
use domain::ids::EventId;
use domain::order::{Order, OrderType};
use domain::saga::{Decision, Event, State};
use uuid::Uuid;

use super::progress::Progress;
use super::{ASK_AGAIN, LOOK_FIRST, Maker};
use crate::ports::orders::{Applied, Change, Due, OrderStore};
use crate::ports::{Source, Unavailable};

/// Why an order is completed that nobody came for.
pub const NOT_COLLECTED: &str = "not collected";

/// How long each may take, as it is set now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Machines, to answer: between two askings.
    pub processing: Duration,
    /// The bar, to begin an order and again to finish it.
    pub preparation: Duration,
    /// Customers, to collect.
    pub collection: Duration,
    /// After that, until the order is closed.
    pub uncollected: Duration,
}

impl Default for Timeouts {
    /// What the contract says where nothing was set.
    fn default() -> Timeouts {
        Timeouts {
            processing: ASK_AGAIN,
            preparation: Duration::from_secs(600),
            collection: Duration::from_secs(900),
            uncollected: Duration::from_secs(7_200),
        }
    }
}

/// When the sweeper first looks at an order that came to the state; `None` where nothing is waited
/// for.
pub fn first_look(state: State) -> Option<Duration> {
    match state {
        State::Confirmed | State::Preparing | State::Ready => Some(LOOK_FIRST),
        State::Completed | State::Cancelled | State::Failed => None,
        State::Placed
        | State::Validated
        | State::Charging
        | State::Paid
        | State::AbandoningToCancel
        | State::AbandoningToFail
        | State::RefundingToCancel
        | State::RefundingToFail
        | State::ReleasingToCancel
        | State::ReleasingToFail => Some(ASK_AGAIN),
    }
}

/// Whom an order waits for, and what is due about it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing yet; look again then.
    Until(Timestamp),
    /// The bar is told, and nothing follows.
    TellStaff,
    /// The customer is told; it is closed then.
    TellCustomer {
        closes_at: Timestamp,
    },
    Close,
}

/// `None` for a state in which people have nothing to do.
fn wait_of(due: &Due, timeouts: &Timeouts, now: Timestamp) -> Option<Wait> {
    let tell_staff = |at: Timestamp| {
        if now < at {
            Wait::Until(at)
        } else {
            Wait::TellStaff
        }
    };
    // An order for later is not late before its time.
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

/// What was done about an order that waits for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It waits for machines: not looked at here.
    NotForPeople,
    NotYet,
    Told,
    Closed,
}

/// Looks at an order whose time has come. Done twice, nobody is told twice.
pub async fn look_after(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    timeouts: &Timeouts,
    due: &Due,
) -> Result<Looked, Unavailable> {
    let now = source.now();
    let again =
        async |at: Option<Timestamp>| orders.look_again(&[(due.order_id, due.version, at)]).await;
    let wait = match wait_of(due, timeouts, now) {
        None => return Ok(Looked::NotForPeople),
        Some(Wait::Until(at)) => {
            again(Some(at)).await?;
            return Ok(Looked::NotYet);
        }
        Some(wait) => wait,
    };
    let Some(order) = orders.load(due.order_id).await?.map(|stored| stored.order) else {
        return Ok(Looked::NotYet);
    };
    // Somebody was faster, which is all that we want.
    if order.version != due.version {
        return Ok(Looked::NotYet);
    }
    let brought = order.order_type == OrderType::Delivery;
    let (change, then, looked) = match wait {
        Wait::Close if !brought => (close(order, source, maker), None, Looked::Closed),
        // What is brought is collected by nobody: it is the shop that keeps it waiting.
        Wait::TellStaff | Wait::Close => (
            Some(tell(&order, "staff", source, maker)),
            None,
            Looked::Told,
        ),
        Wait::TellCustomer { .. } if brought => (
            Some(tell(&order, "staff", source, maker)),
            None,
            Looked::Told,
        ),
        Wait::TellCustomer { closes_at } => (
            Some(tell(&order, "customer", source, maker)),
            Some(closes_at),
            Looked::Told,
        ),
        Wait::Until(_) => return Ok(Looked::NotYet),
    };
    let Some(change) = change else {
        return Ok(Looked::NotYet);
    };
    let applied = orders.apply(std::slice::from_ref(&change)).await.pop();
    let applied =
        applied.unwrap_or_else(|| Err(Unavailable::new("orders", "no answer to a change")))?;
    if looked == Looked::Told {
        again(then).await?;
    }
    Ok(if applied == Applied::Applied {
        looked
    } else {
        Looked::NotYet
    })
}

/// Named after the order and its state: whoever tells it again tells the same, and it is known.
fn tell(order: &Order, whom: &str, source: &impl Source, maker: &Maker) -> Change {
    let name = format!("{} {} overdue", order.order_id, order.state.code());
    let event_id = EventId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()));
    let message = Message::OrderOverdue {
        order_number: order.order_number.clone(),
        status: order.status.code().to_owned(),
        tell: whom.to_owned(),
        since: order.updated_at,
    };
    Change {
        consumer: maker.role,
        event_id,
        order: None,
        payment: None,
        outbox: vec![maker.envelope_with(event_id, source.now(), Some(order.order_id), message)],
        at: source.now(),
        delivery: None,
    }
}

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
