//! `payment-worker`: charges and refunds.

use adapter_aws::SqsInbox;
use adapter_gateway::HttpGateway;
use app::use_cases::Handled;
use app::use_cases::pay::pay;
use contract::cause::chain;
use contract::dependency::Dependency;
use contract::messages::Envelope;
use contract::parameter::PAYMENT_API;
use contract::queue::PAYMENTS;
use contract::role::Role;

use super::consumer::{UseCase, consume};
use super::{Applier, READ_SECRETS_EVERY, Wiring, every, maker};
use crate::aws::{Aws, RotatedSecret};
use crate::config::Config;
use crate::stores::{Store, SystemSource};

/// Consumes the messages of the payments queue, and reads the rotated API key, until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let (inbox, gateway, api_key) = adapters(&wiring.aws, &wiring.config)?;
    let breaker = wiring.breakers.get(Dependency::Gateway);
    let gateway = gateway.reporting_to(breaker);
    if let Some(breaker) = breaker {
        let gateway = gateway.clone();
        breaker.probe_with(wiring.process.shutdown.clone(), move || {
            let gateway = gateway.clone();
            async move { gateway.answers().await }
        });
    }
    let (process, rotated) = (wiring.process.clone(), gateway.clone());
    let rotating = every(READ_SECRETS_EVERY, &process, async || {
        let read = api_key.current().await.map_err(anyhow::Error::from);
        if let Err(error) = read.and_then(|key| rotated.use_api_key(&key)) {
            tracing::warn!(
                error = chain(&*error),
                "The API key of the payment gateway cannot be read again; the last value stays in use"
            );
        }
    });
    let cashier = Cashier {
        role: wiring.role,
        gateway,
        applier: Applier::new(wiring.store.clone()),
        store: wiring.store.clone(),
    };
    let consuming = consume(wiring, &PAYMENTS, inbox, cashier);
    tokio::join!(consuming, rotating);
    Ok(())
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(
    aws: &Aws,
    config: &Config,
) -> anyhow::Result<(SqsInbox, HttpGateway, RotatedSecret)> {
    let api_key = aws.secret(config, &PAYMENT_API)?;
    let gateway = HttpGateway::new(&config.gateway()?.url, api_key.at_start())?;
    Ok((aws.inbox(&config.grants, &PAYMENTS)?, gateway, api_key))
}

struct Cashier {
    role: &'static Role,
    store: Store,
    applier: Applier,
    gateway: HttpGateway,
}

impl UseCase for Cashier {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        let maker = maker(self.role);
        pay(
            &self.store,
            &self.applier,
            &self.gateway,
            &SystemSource,
            &maker,
            envelope,
        )
        .await
    }
}
