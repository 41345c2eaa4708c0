//! The environment of each process of a local platform: what a template writes into its task
//! definition on AWS.

use std::collections::{BTreeMap, HashMap};

use adapter_aws::LocalAccess;
use anyhow::Context as _;
use chassis::config::{Environment as _, ProcessEnvironment};
use contract::parameter::{PAYMENT_API, PAYMENT_WEBHOOK, SIGNING_KEY};
use contract::role::{OUTBOX_RELAY, Role};

use super::emulator::sdk_environment;
use super::up::ENVIRONMENT;

/// Where everything is, as a role is to see it. Not to be printed: secrets are in it.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the storefront listens, and where customers find it.
    pub storefront: String,
    pub public_url: String,
    pub aws: LocalAccess,
    pub database_url: String,
    /// The database with the login of the outbox relay.
    pub outbox_database_url: String,
    pub redis_url: Option<String>,
    pub payment_url: String,
    /// What the stacks put where, by variable.
    pub addresses: HashMap<String, String>,
    /// By slug.
    pub secrets: HashMap<&'static str, String>,
}

impl Surroundings {
    fn secret(&self, slug: &str) -> anyhow::Result<String> {
        self.secrets
            .get(slug)
            .cloned()
            .with_context(|| format!("the secret {slug} was not deployed"))
    }

    /// What the staff's tokens are signed with.
    ///
    /// # Errors
    /// When the secret was not deployed.
    pub fn signing_key(&self) -> anyhow::Result<String> {
        self.secret(SIGNING_KEY.slug)
    }

    /// Returns what the payment gateway demands of its callers.
    ///
    /// # Errors
    /// When the secret was not deployed.
    pub fn payment_api_key(&self) -> anyhow::Result<String> {
        self.secret(PAYMENT_API.slug)
    }

    /// Of the simulated gateway, which keeps its books in a file.
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

    /// Of a role, whose health is served at `health_bind`.
    ///
    /// # Errors
    /// When something that it needs was not deployed.
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

/// What every process of ours may see of our own environment.
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
    // Its standard input ends with us, and then so does it.
    environment.insert("HAVEN_STOP_ON_STDIN_END".to_owned(), "1".to_owned());
    environment
}
