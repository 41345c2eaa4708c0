//! The queue port: what a consumer needs of a queue, in four verbs.
//!
//! The only promise asked of an implementation is that a message received by one consumer is hidden
//! from the others for the lease, which is extended by the consumer and by nobody else.

use std::future::Future;
use std::time::Duration;

use time::OffsetDateTime;

/// One delivery of a message. The same message may be delivered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub message_id: String,
    /// Names this delivery to the queue; worthless once the lease has ended.
    pub handle: String,
    pub body: String,
    /// Messages of one group are delivered in order, one batch at a time; `None` on a standard
    /// queue.
    pub group: Option<String>,
    /// 1 for the first delivery.
    pub attempt: u32,
    pub sent_at: Option<OffsetDateTime>,
    pub traceparent: Option<String>,
}

/// The queue could not be reached or refused the whole call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("queue: {0}")]
pub struct QueueError(pub String);

/// Why one entry of a batch was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The lease had ended: the message is, or will be, delivered again.
    #[error("the lease had ended")]
    HandleExpired,
    /// Worth another try.
    #[error("{0}")]
    Failed(String),
}

pub trait Inbox: Send + Sync {
    /// At most `max` (1 to 10) messages, waiting up to `wait` for the first; each hidden for
    /// `lease`.
    fn receive(
        &self,
        max: usize,
        wait: Duration,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send;

    /// Removes up to ten messages for good; one result a handle, in order.
    fn delete(
        &self,
        handles: &[String],
    ) -> impl Future<Output = Result<Vec<Result<(), EntryError>>, QueueError>> + Send;

    /// Hides up to ten messages for so much longer from now; zero hands one back. One result a
    /// handle, in order.
    fn hide(
        &self,
        handles: &[(String, Duration)],
    ) -> impl Future<Output = Result<Vec<Result<(), EntryError>>, QueueError>> + Send;

    /// Puts a copy with its reason on the parking queue. The caller deletes the original
    /// afterwards: a crash between the two parks it twice, which costs a glance; the other order
    /// would lose it.
    fn park(
        &self,
        delivery: &Delivery,
        reason: &str,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;
}
