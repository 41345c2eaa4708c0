//! `fulfilment-worker`: tickets and parcels.

use adapter_aws::SqsInbox;
use app::use_cases::Handled;
use app::use_cases::fulfil::fulfil;
use contract::messages::Envelope;
use contract::queue::FULFILMENT;
use contract::role::Role;

use super::consumer::{UseCase, consume};
use super::{Wiring, maker};
use crate::aws::Aws;
use crate::config::Config;
use crate::stores::{Store, SystemSource};

/// Consumes the messages of the fulfilment queue until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let inbox = adapters(&wiring.aws, &wiring.config)?;
    let counter = Counter {
        role: wiring.role,
        store: wiring.store.clone(),
    };
    consume(wiring, &FULFILMENT, inbox, counter).await;
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
    store: Store,
}

impl UseCase for Counter {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        fulfil(&self.store, &SystemSource, &maker(self.role), envelope).await
    }
}
