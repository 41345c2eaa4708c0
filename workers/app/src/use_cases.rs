//! Use cases: one module for each reason of the system to act.

pub mod change_order;
pub mod for_customers;
pub mod fulfil;
pub mod idempotency;
pub mod journey;
pub mod notify;
pub mod pay;
pub mod place_order;
pub mod progress;
pub mod project;
pub mod reconcile;
pub mod rehearse;
pub mod relay;
pub mod run_saga;
pub mod staff_tokens;
pub mod suggest_reorders;
pub mod sweep;
pub mod time_out;
pub mod watch_stock;

use std::time::Duration;

use contract::cause::chain;
use contract::messages::{Envelope, Message, Metadata};
use contract::settlement::Settlement;
use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use domain::order::Status;

use crate::ports::orders::{Applied, Change, OrderStore, StoredOrder};
use crate::ports::{Backend, Source, StoreError};

/// Time from the reservation of an order's stock until the hold expires. It is longer than
/// [`ORDER_DEADLINE`], so that no hold expires while its order can still be paid.
pub const HOLD: Duration = Duration::from_secs(15 * 60);
/// Time from the acceptance of an order until it fails if it is not confirmed.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// Time after which a command without an answer is sent again. It is far longer than a healthy
/// system needs, and shorter than the minute within which a fault must be recovered from.
pub const ASK_AGAIN: Duration = Duration::from_secs(20);
/// Time after which the sweeper first looks at an order that waits for people. A shorter setting
/// has the effect of this value. The time is longer than staff need when the shop is not busy, so
/// that the sweeper looks at few orders.
pub const LOOK_FIRST: Duration = Duration::from_secs(30);
/// Maximum number of decisions about one message after conflicts with other writers. The message
/// then returns to the queue.
const CONFLICTS_MAX: u32 = 5;

/// The role that creates messages, and the trace in which it does.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The slug of the role. It is the actor in the history, the source of messages and the
    /// consumer in the inbox.
    pub role: &'static str,
    /// The version of the program.
    pub version: &'static str,
    /// The trace context of the current work.
    pub traceparent: Option<String>,
}

impl Maker {
    /// Returns a message in an envelope with a new event id and the current time.
    pub fn envelope(
        &self,
        source: &impl Source,
        order_id: Option<OrderId>,
        message: Message,
    ) -> Envelope {
        self.envelope_with(EventId(source.uuid()), source.now(), order_id, message)
    }

    /// Returns a message in an envelope with this event id and time.
    pub fn envelope_with(
        &self,
        event_id: EventId,
        at: Timestamp,
        order_id: Option<OrderId>,
        message: Message,
    ) -> Envelope {
        Envelope {
            event_id,
            schema: message.kind().schema(),
            message,
            occurred_at: at,
            order_id,
            metadata: Metadata {
                source: self.role.to_owned(),
                version: self.version.to_owned(),
                traceparent: self.traceparent.clone(),
            },
        }
    }
}

/// The result of handling a message, for the queue and for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Handled {
    pub settlement: Settlement,
    /// Whether the message was a duplicate.
    pub duplicate: bool,
    /// The status that an order reached, and its age in seconds at that time.
    pub reached: Option<(Status, f64)>,
}

impl Handled {
    /// Returns the result for a message that was applied.
    pub fn done() -> Handled {
        Handled {
            settlement: Settlement::Done,
            duplicate: false,
            reached: None,
        }
    }

    /// Returns the result for a message that was applied before.
    pub fn duplicate() -> Handled {
        Handled {
            duplicate: true,
            ..Handled::done()
        }
    }

    /// Returns the result for a message that must go to the dead-letter queue.
    pub fn park(reason: impl Into<String>) -> Handled {
        let reason = reason.into();
        Handled {
            settlement: Settlement::Park { reason },
            ..Handled::done()
        }
    }

    /// Returns the result for a message of a kind that does not belong on its queue.
    pub fn park_misrouted(envelope: &Envelope) -> Handled {
        Handled::park(format!(
            "{:?} does not belong on this queue",
            envelope.message.kind()
        ))
    }

    /// Returns the result for a message that must be delivered again after the default back-off.
    pub fn retry(reason: impl Into<String>) -> Handled {
        let (reason, after) = (reason.into(), None);
        Handled {
            settlement: Settlement::Retry { reason, after },
            ..Handled::done()
        }
    }
}

/// Returns the order of a message. Messages are written in the transaction that places their order,
/// so a message about an order that does not exist is not from this system: it becomes a dead
/// letter.
async fn load(orders: &impl OrderStore, order_id: OrderId) -> Result<StoredOrder, Handled> {
    let stored = orders.load(order_id).await?;
    stored.ok_or_else(|| Handled::park(format!("order {order_id} does not exist")))
}

/// Applies one change, in a transaction of its own.
async fn apply_alone(orders: &impl OrderStore, change: Change) -> Result<Applied, StoreError> {
    let applied = orders.apply(&[change]).await.pop();
    applied.unwrap_or_else(|| Err(StoreError::new(Backend::Orders, "no answer to a change")))
}

impl From<StoreError> for Handled {
    fn from(error: StoreError) -> Handled {
        Handled::retry(chain(&error))
    }
}
