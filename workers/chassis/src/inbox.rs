//! The queue port: the four operations that a consumer needs.
//!
//! An implementation must hide a received message from other consumers for the length of the lease
//! (the visibility timeout). Only the consumer extends a lease. Messages can be delivered again,
//! and standard queues can deliver them in any order.

use std::future::Future;
use std::time::Duration;

use contract::cause::Cause;
use time::OffsetDateTime;

/// One delivery of a message. The same message may be delivered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub message_id: String,
    /// Identifies this delivery (the receipt handle). Invalid after the lease has ended.
    pub handle: String,
    pub body: String,
    /// The message group. A FIFO queue delivers the messages of a group in order, one batch at a
    /// time. `None` on a standard queue.
    pub group: Option<String>,
    /// 1 for the first delivery.
    pub attempt: u32,
    pub sent_at: Option<OffsetDateTime>,
    pub traceparent: Option<String>,
}

/// The queue could not be reached or refused the whole call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("queue")]
pub struct QueueError(#[source] pub Cause);

/// The reason why one entry of a batch failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The lease has ended: the message was or will be delivered again.
    #[error("the lease has ended")]
    HandleExpired,
    /// The entry can be retried.
    #[error(transparent)]
    Failed(Cause),
}

pub trait Inbox: Send + Sync {
    /// Returns up to `max` messages (1 to 10), and hides each for `lease`. Waits up to `wait` for
    /// the first message.
    fn receive(
        &self,
        max: usize,
        wait: Duration,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send;

    /// Deletes up to ten messages. Returns one result per handle, in their order.
    fn delete(
        &self,
        handles: &[String],
    ) -> impl Future<Output = Result<Vec<Result<(), EntryError>>, QueueError>> + Send;

    /// Hides up to ten messages for the given times, counted from now. Zero makes a message visible
    /// at once. Returns one result per handle, in their order.
    fn hide(
        &self,
        handles: &[(String, Duration)],
    ) -> impl Future<Output = Result<Vec<Result<(), EntryError>>, QueueError>> + Send;

    /// Puts a copy of the message with a reason on the dead-letter queue. The caller deletes the
    /// original afterwards. A crash between the two leaves two dead letters; in the other order it
    /// would lose the message.
    fn park(
        &self,
        delivery: &Delivery,
        reason: &str,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;
}
