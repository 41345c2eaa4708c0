//! What is recorded around an order: read by people, and by no decision.

use std::future::Future;

use contract::event::EventKind;
use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::{EventId, OrderId};

use super::Unavailable;
use super::orders::Payment;
use super::redrives::Redrive;
use super::scope::Scope;

/// A row of the outbox: one message on one route.
#[derive(Debug, Clone, PartialEq)]
pub struct SentRecord {
    pub kind: String,
    /// `None` in a row that was written before rows had a route.
    pub route: Option<String>,
    /// Or why it cannot be read.
    pub envelope: Result<Envelope, String>,
    pub written_at: Timestamp,
    pub left_at: Option<Timestamp>,
    /// Tries that its destination did not take.
    pub failed_tries: u32,
    /// Of a row that has not left: when it is tried next.
    pub retry_at: Timestamp,
}

/// A row of the inbox: a message's effect, written with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenIn {
    pub consumer: String,
    pub event_id: EventId,
    pub at: Timestamp,
    /// Which delivery had the effect, counted from 1; `None` where no queue delivered it, or nobody
    /// wrote it down.
    pub delivery: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    pub event_id: EventId,
    pub channel: String,
    pub kind: String,
    /// `pending`, `sent`, `failed` or `suppressed`.
    pub state: String,
    pub attempts: u32,
    pub created_at: Timestamp,
    pub sent_at: Option<Timestamp>,
}

/// Everything about one order beside itself and its history, each list oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Records {
    pub sent: Vec<SentRecord>,
    pub taken_in: Vec<TakenIn>,
    /// With the time of the last change.
    pub payments: Vec<(Payment, Timestamp)>,
    pub notices: Vec<NoticeRecord>,
    pub redrives: Vec<Redrive>,
    /// When the sweeper is to look at the order.
    pub next_action_at: Option<Timestamp>,
}

pub trait JourneyStore: Send + Sync {
    /// Empty for an order out of scope.
    fn records(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> impl Future<Output = Result<Records, Unavailable>> + Send;

    /// Whether this consumer has applied this event.
    fn taken_in(
        &self,
        consumer: &str,
        event_id: EventId,
    ) -> impl Future<Output = Result<Option<TakenIn>, Unavailable>> + Send;

    fn notices_of(
        &self,
        event_id: EventId,
    ) -> impl Future<Output = Result<Vec<NoticeRecord>, Unavailable>> + Send;

    /// The newest message of a kind that was sent: what a good one looks like.
    fn newest_of(
        &self,
        kind: EventKind,
    ) -> impl Future<Output = Result<Option<Envelope>, Unavailable>> + Send;
}
