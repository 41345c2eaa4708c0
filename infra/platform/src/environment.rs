//! The environment variables of each process of a local platform. On AWS, the templates write the
//! same variables into the task definitions.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use adapter_aws::LocalAccess;
use anyhow::Context as _;
use chassis::config::{Environment as _, ProcessEnvironment};
use contract::parameter::{PAYMENT_API, PAYMENT_WEBHOOK, SIGNING_KEY};
use contract::role::{OUTBOX_RELAY, Role};

use crate::emulator::sdk_environment;

/// The name of the local environment, in the stacks and in the roles.
pub const ENVIRONMENT: &str = "local";
/// The process name of the simulated payment gateway. The contract does not list the gateway as a
/// role, because on AWS a real one takes its place.
pub const GATEWAY: &str = "payment-gateway";
/// The time that the payment gateway may take to stop before it is killed.
pub const GATEWAY_STOPS_WITHIN: Duration = Duration::from_secs(10);

/// The addresses and secrets of the running platform. The type does not implement `Debug`, because
/// it contains secrets.
#[derive(Clone)]
pub struct Surroundings {
    /// The address on which the storefront listens.
    pub storefront: String,
    /// The URL at which customers reach the storefront.
    pub public_url: String,
    pub aws: LocalAccess,
    pub database_url: String,
    /// The URL of the database with the login of the outbox relay.
    pub outbox_database_url: String,
    pub redis_url: Option<String>,
    pub payment_url: String,
    /// The physical names of deployed resources, by environment variable.
    pub addresses: HashMap<String, String>,
    /// The values of the secrets, by slug.
    pub secrets: HashMap<&'static str, String>,
}

impl Surroundings {
    fn secret(&self, slug: &str) -> anyhow::Result<String> {
        self.secrets
            .get(slug)
            .cloned()
            .with_context(|| format!("the secret {slug} was not deployed"))
    }

    /// Returns the key that signs staff tokens.
    ///
    /// # Errors
    /// When the secret was not deployed.
    pub fn signing_key(&self) -> anyhow::Result<String> {
        self.secret(SIGNING_KEY.slug)
    }

    /// Returns the bearer token that the payment gateway demands from its callers.
    ///
    /// # Errors
    /// When the secret was not deployed.
    pub fn payment_api_key(&self) -> anyhow::Result<String> {
        self.secret(PAYMENT_API.slug)
    }

    /// Returns the environment of the simulated payment gateway, which keeps its ledger in the file
    /// `ledger`.
    ///
    /// # Errors
    /// When one of its secrets was not deployed.
    pub fn of_gateway(
        &self,
        bind: &str,
        ledger: String,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let environment = [
            ("PAYMENT_BIND", bind.to_owned()),
            ("PAYMENT_LEDGER", ledger),
            (
                "PAYMENT_WEBHOOK_URL",
                format!("{}/webhooks/payment", self.public_url),
            ),
            (PAYMENT_WEBHOOK.variable, self.secret(PAYMENT_WEBHOOK.slug)?),
            (PAYMENT_API.variable, self.payment_api_key()?),
        ];
        Ok(common(
            environment
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
        ))
    }

    /// Returns the environment of a role that serves its health endpoints at `health_bind`.
    ///
    /// # Errors
    /// When an address or a secret that the role needs was not deployed.
    pub fn of_role(
        &self,
        role: &Role,
        health_bind: &str,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut environment = common(sdk_environment(&self.aws));
        let mut set = |key: &str, value: String| environment.insert(key.to_owned(), value);
        set("HAVEN_ENV", ENVIRONMENT.to_owned());
        set("HAVEN_HEALTH_BIND", health_bind.to_owned());
        set("HAVEN_PUBLIC_URL", self.public_url.clone());
        let of_relay = role.slug == OUTBOX_RELAY.slug;
        let database_url = if of_relay {
            &self.outbox_database_url
        } else {
            &self.database_url
        };
        set("DATABASE_URL", database_url.clone());
        if let (true, Some(url)) = (role.cache, &self.redis_url) {
            set("REDIS_URL", url.clone());
        }
        if role.gateway {
            set("PAYMENT_URL", self.payment_url.clone());
        }
        if role.public {
            set("HAVEN_BIND", self.storefront.clone());
        }
        for name in role.secrets {
            set(name.variable, self.secret(name.slug)?);
        }
        for address in role.addresses() {
            let variable = address.variable();
            let value = self.addresses.get(&variable);
            set(
                &variable,
                value
                    .cloned()
                    .with_context(|| format!("{variable} was not deployed"))?,
            );
        }
        Ok(environment)
    }
}

/// Adds the variables that every process takes from the environment of this process.
fn common(mut environment: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for key in [
        "HAVEN_LOG",
        "HAVEN_ORDERS_PER_MINUTE",
        "RUST_BACKTRACE",
        "TMPDIR",
    ] {
        if let Some(value) = ProcessEnvironment.get(key) {
            environment.insert(key.to_owned(), value);
        }
    }
    environment.insert("PATH".to_owned(), ProcessEnvironment.search_path());
    // The process stops when its standard input ends, which happens when this process ends.
    environment.insert("HAVEN_STOP_ON_STDIN_END".to_owned(), "1".to_owned());
    environment
}
