//! The log of redrives: who sent which dead letter back, when, and with which result. The entry is
//! written before the message is sent, so that an interrupted redrive loses nothing.

use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use strum::{EnumString, IntoStaticStr, VariantArray};
use uuid::Uuid;

use super::PortFuture;

/// The result of a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum RedriveEnd {
    /// The message was applied.
    Applied,
    /// The message was a duplicate.
    Dropped,
    /// The message became a dead letter again.
    ParkedAgain,
    /// The result was not observed in time.
    Unknown,
}

domain::named_variants!(RedriveEnd);

/// The redrive of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The id, derived from the dead letter. A redrive that is repeated after a crash has the same
    /// id.
    pub redrive_id: Uuid,
    pub queue: String,
    pub fingerprint: String,
    /// The reason why the message became a dead letter.
    pub reason: String,
    /// The event id, if the body has a readable one.
    pub event_id: Option<EventId>,
    pub order_id: Option<OrderId>,
    /// The complete message, so that it cannot be lost.
    pub body: String,
    /// The operator who started the redrive.
    pub actor: String,
    pub at: Timestamp,
    /// The result and its time. `None` until the redrive has ended.
    pub end: Option<(RedriveEnd, Timestamp)>,
}

/// The log of redrives.
pub trait RedriveLog: Send + Sync {
    /// Records the start of a redrive. A repeated call with the same id changes nothing.
    fn begin_redrive(&self, redrive: &Redrive) -> impl PortFuture<()>;

    /// Records the result of a redrive.
    fn end_redrive(&self, redrive_id: Uuid, end: RedriveEnd, at: Timestamp) -> impl PortFuture<()>;
}
