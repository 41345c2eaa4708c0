//! Sending what waits in the outbox to where its kind goes.

use std::future::Future;

use contract::messages::Envelope;

pub trait Publisher: Send + Sync {
    /// Sends each message along every route of its kind, in batches, in order within one order's group. One result a
    /// message, in order: `Ok` when all of its routes took it. One that failed is sent again whole; consumers
    /// recognise the repeat by its event id.
    fn publish(&self, messages: &[Envelope]) -> impl Future<Output = Vec<Result<(), String>>> + Send;
}
