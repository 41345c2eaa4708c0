//! The records about one order, from which the order timeline is composed. No decision depends on
//! them.

use contract::event::EventKind;
use contract::messages::{Envelope, Undecodable};
use domain::Timestamp;
use domain::ids::{EventId, OrderId};

use super::PortFuture;
use super::notices::NoticeStatus;
use super::orders::Payment;
use super::redrives::Redrive;
use super::scope::Scope;

/// A row of the outbox: one message with one route.
#[derive(Debug, Clone, PartialEq)]
pub struct SentRecord {
    pub kind: String,
    /// The route. `None` in rows from before the release that stores routes.
    pub route: Option<String>,
    /// The message, or the reason why it cannot be decoded.
    pub envelope: Result<Envelope, Undecodable>,
    pub written_at: Timestamp,
    /// The time at which the row was sent. `None` for a row that waits.
    pub left_at: Option<Timestamp>,
    /// The number of failed attempts to send the row.
    pub failed_tries: u32,
    /// The time of the next attempt, for a row that waits.
    pub retry_at: Timestamp,
}

/// A row of the inbox. It is written in the transaction with the effect of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenIn {
    pub consumer: String,
    pub event_id: EventId,
    pub at: Timestamp,
    /// The number of the delivery that had the effect, counted from 1. `None` when no queue
    /// delivered the message or the number was not recorded.
    pub delivery: Option<u32>,
}

/// The record of a notification about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    pub event_id: EventId,
    pub channel: String,
    pub kind: String,
    pub state: NoticeStatus,
    pub attempts: u32,
    pub created_at: Timestamp,
    pub sent_at: Option<Timestamp>,
}

/// The records about one order, apart from the order and its history. Each list is sorted by time,
/// oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Records {
    pub sent: Vec<SentRecord>,
    pub taken_in: Vec<TakenIn>,
    /// The payments, each with the time of its last change.
    pub payments: Vec<(Payment, Timestamp)>,
    pub notices: Vec<NoticeRecord>,
    pub redrives: Vec<Redrive>,
    /// The time at which the sweeper looks at the order again.
    pub next_action_at: Option<Timestamp>,
}

/// The store of the records about orders.
pub trait JourneyStore: Send + Sync {
    /// Returns the records about an order. They are empty for an order out of scope.
    fn records(&self, scope: &Scope, order_id: OrderId) -> impl PortFuture<Records>;

    /// Returns the inbox row of an event, if this consumer applied the event.
    fn taken_in(&self, consumer: &str, event_id: EventId) -> impl PortFuture<Option<TakenIn>>;

    /// Returns the notifications about an event.
    fn notices_of(&self, event_id: EventId) -> impl PortFuture<Vec<NoticeRecord>>;

    /// Returns the newest sent message of a kind, as an example of a valid message.
    fn newest_of(&self, kind: EventKind) -> impl PortFuture<Option<Envelope>>;
}
