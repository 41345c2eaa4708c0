//! Sends messages from the outbox to a queue, a topic or the event bus.

use contract::cause::Cause;
use contract::event::Route;
use contract::messages::Envelope;

/// A message that its destination did not accept, or did not confirm in time. A retry can succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", route.code())]
pub struct PublishError {
    pub route: Route,
    #[source]
    pub cause: Cause,
}

/// Sends messages.
pub trait Publisher: Send + Sync {
    /// Sends messages to one destination, in batches. Messages of one order stay in order on a FIFO
    /// queue.
    ///
    /// Returns one result for each message, in the same order. A message whose sending failed may
    /// still arrive. Consumers recognize the duplicate by its event id.
    fn publish(
        &self,
        route: Route,
        messages: &[Envelope],
    ) -> impl Future<Output = Vec<Result<(), PublishError>>> + Send;
}
