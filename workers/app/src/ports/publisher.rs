//! Sending what waits in the outbox to one of its destinations.

use std::future::Future;

use contract::event::Route;
use contract::messages::Envelope;

pub trait Publisher: Send + Sync {
    /// Sends messages to one destination, in batches; to a FIFO queue in order within one order's
    /// group. One result a message, in order. One that failed may have arrived all the same;
    /// consumers recognize the repeat by its event id.
    fn publish(
        &self,
        route: Route,
        messages: &[Envelope],
    ) -> impl Future<Output = Vec<Result<(), String>>> + Send;
}
