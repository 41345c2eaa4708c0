//! `fulfilment-worker`: tickets and parcels.

use std::sync::Arc;

use adapter_aws::SqsInbox;
use app::use_cases::fulfil::fulfil;
use chassis::inbox::Delivery;
use chassis::{Breaker, Handler, Metrics};
use contract::queue::FULFILMENT;
use contract::role::Role;
use contract::settlement::Settlement;

use super::{Wiring, decode, maker, settle};
use crate::aws::Aws;
use crate::breakers::Breakers;
use crate::config::Config;
use crate::stores::{Store, SystemSource};

/// Consumes the messages of the fulfilment queue until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let inbox = Arc::new(adapters(&wiring.aws, &wiring.config)?);
    let handler = Counter {
        role: wiring.role,
        breakers: wiring.breakers,
        store: wiring.store,
        metrics: wiring.process.metrics.clone(),
    };
    chassis::consume(
        inbox,
        &FULFILMENT,
        wiring.role.concurrency,
        Arc::new(handler),
        wiring.process,
    )
    .await;
    Ok(())
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<SqsInbox> {
    aws.inbox(&config.grants, &FULFILMENT)
}

struct Counter {
    role: &'static Role,
    breakers: Breakers,
    store: Store,
    metrics: Metrics,
}

impl Handler for Counter {
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        let envelope = match decode(delivery) {
            Ok(envelope) => envelope,
            Err(settlement) => return settlement,
        };
        let handled = fulfil(&self.store, &SystemSource, &maker(self.role), &envelope).await;
        settle(handled, &FULFILMENT, &self.metrics)
    }

    fn needs(&self) -> &[Breaker] {
        self.breakers.all()
    }
}
