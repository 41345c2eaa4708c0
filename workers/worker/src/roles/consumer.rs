//! Consumes a queue with a use case. All roles with a queue use this module.

use std::sync::Arc;

use adapter_aws::SqsInbox;
use app::use_cases::Handled;
use chassis::inbox::Delivery;
use chassis::{Breaker, Handler, Metrics};
use contract::cause::chain;
use contract::messages::Envelope;
use contract::metric::Metric;
use contract::queue::Queue;
use contract::settlement::Settlement;

use super::Wiring;
use crate::breakers::Breakers;

/// A use case with its dependencies, for the messages of one queue.
pub trait UseCase: Send + Sync + 'static {
    /// Handles one message.
    fn handle(&self, envelope: &Envelope) -> impl Future<Output = Handled> + Send;
}

/// Consumes the messages of a queue with a use case until shutdown.
pub async fn consume(
    wiring: Wiring,
    queue: &'static Queue,
    inbox: SqsInbox,
    use_case: impl UseCase,
) {
    let consumer = Consumer {
        queue,
        use_case,
        breakers: wiring.breakers,
        metrics: wiring.process.metrics.clone(),
    };
    chassis::consume(
        Arc::new(inbox),
        queue,
        wiring.role.concurrency,
        Arc::new(consumer),
        wiring.process,
    )
    .await;
}

struct Consumer<U> {
    queue: &'static Queue,
    use_case: U,
    breakers: Breakers,
    metrics: Metrics,
}

impl<U: UseCase> Handler for Consumer<U> {
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        let envelope = match Envelope::decode(&delivery.body) {
            Ok(envelope) => envelope,
            // An invalid body becomes a dead letter at once, because a retry cannot succeed.
            Err(error) => {
                return Settlement::Park {
                    reason: chain(&error),
                };
            }
        };
        if let Some(order_id) = envelope.order_id {
            tracing::Span::current().record("order.id", order_id.to_string());
        }
        let handled = self.use_case.handle(&envelope).await;
        if handled.duplicate {
            self.metrics
                .count(Metric::DuplicateDeliveries, &[self.queue.slug], 1);
        }
        handled.settlement
    }

    fn needs(&self) -> &[Breaker] {
        self.breakers.all()
    }
}
