//! `storefront`: HTTP.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adapter_aws::{DynamoStock, DynamoViews, LocalMailbox};
use anyhow::Context as _;
use app::ports::access::StaffTokens as _;
use app::ports::locations::LocationStore;
use app::ports::mailbox::Mailbox;
use app::ports::{Source as _, Unavailable};
use app::use_cases::Shop;
use chassis::Metrics;
use contract::dependency::Dependency;
use contract::metric::Metric;
use contract::parameter::{MAX_QUEUE_SIZE, PAYMENT_WEBHOOK, SIGNING_KEY};
use contract::role::STOREFRONT;
use storefront::keys::Keys;
use storefront::staff::Revoked;
use storefront::{Observation, Ports, Settings, Shops, server};

use super::{READ_SECRETS_EVERY, Wiring, every};
use crate::aws::Aws;
use crate::breakers::Breakers;
use crate::renewal::Renewal;
use crate::stores::{Carts, Store, SystemSource};

/// Mostly from memory: the reader asks Parameter Store every half minute.
const READ_PARAMETERS_EVERY: Duration = Duration::from_secs(5);

/// From the end of one read to the next. A revoked staff token is refused by every storefront within two seconds: this, and a
/// second for the read.
const READ_REVOKED_EVERY: Duration = Duration::from_secs(1);
const _: () = assert!(READ_REVOKED_EVERY.as_millis() <= 1_000, "no second is left for the read");

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let Wiring { config, process, aws, store, breakers, .. } = wiring;
    let [redis_url, redis_password] = [&config.redis_url, &config.redis_password]
        .map(|secret| secret.as_ref().map(|secret| secret.expose().as_str()));
    let secret = config.cache_secret.clone();
    let renewal = secret.map(|id| Renewal::of_cache(aws.clients().clone(), id));
    let (stock, views) = adapters(&aws, &config.addresses)?;
    let things = Things {
        store,
        stock,
        views,
        carts: Carts::connect(redis_url, redis_password, renewal).await?,
        breakers,
        metrics: process.metrics.clone(),
    };
    let shops = Arc::new(Shops::new(Shop::default_shop()));
    // Without them nobody knows which tax is due: it becomes ready when it has read them once.
    read_shops(&things.store, &shops).await.context("read the locations")?;
    let pending_max = Arc::new(AtomicU64::new(MAX_QUEUE_SIZE.default.parse().unwrap_or(u64::MAX)));
    let revoked = Revoked::default();
    read_revoked(&things.store, &revoked).await.context("read the revoked staff tokens")?;
    let signing_key = Keys::new(config.signing_key.expose().clone());
    let webhook_secret = Keys::new(config.webhook_secret.expose().clone());
    let settings = Settings {
        shops: shops.clone(),
        signing_key: signing_key.clone(),
        revoked: revoked.clone(),
        webhook_secret: webhook_secret.clone(),
        secure_cookies: !config.aws.is_local(),
        pending_max: pending_max.clone(),
        orders_per_minute: config.orders_per_minute,
        trusted_proxies: config.trusted_proxies,
        mailbox: config.aws.is_local().then(|| Arc::new(LocalMailbox(aws.clients().clone())) as Arc<dyn Mailbox>),
        shutdown: process.shutdown.clone(),
        clock: Arc::new(|| SystemSource.now()),
    };
    let parameters = aws.parameters(&config.aws.environment);
    let store = things.store.clone();
    let tune = async || {
        if let Err(error) = read_shops(&store, &shops).await {
            tracing::warn!(%error, "The locations cannot be read; what was read last stands");
        }
        // What is no number leaves the last one in force.
        if let Ok(value) = parameters.get(&MAX_QUEUE_SIZE).await.parse() {
            pending_max.store(value, Ordering::Relaxed);
        }
    };
    // Whoever comes before all is read waits a moment, instead of being refused.
    let listener = chassis::listen("HAVEN_BIND", config.bind).await?;
    // Before the first order.
    tune().await;
    let tuning = every(READ_PARAMETERS_EVERY, &process, tune);
    let rotating = every(READ_SECRETS_EVERY, &process, async || {
        for (secret, keys) in [(&SIGNING_KEY, &signing_key), (&PAYMENT_WEBHOOK, &webhook_secret)] {
            match adapter_aws::secret_versions(aws.clients(), &config.aws.environment, secret).await {
                Ok(versions) => keys.set(versions),
                Err(error) => tracing::warn!(error = %error, "A secret cannot be read again; the last one stands"),
            }
        }
    });
    let store = things.store.clone();
    let revoking = every(READ_REVOKED_EVERY, &process, async || {
        if let Err(error) = read_revoked(&store, &revoked).await {
            tracing::warn!(%error, "Cannot read the revoked staff tokens; those that were read last stay refused");
        }
    });
    tracing::info!(address = %config.bind, "Serving the shop");
    let router = storefront::router(things, settings);
    let mut limits = server::Limits::default();
    if config.trusted_proxies > 0 {
        // Every connection is the proxy's.
        limits.of_a_client_max = limits.connections_max;
    }
    let server = server::serve(listener, router, limits, process.shutdown.clone());
    let drained = async {
        tokio::join!(tuning, rotating, revoking);
        tokio::time::sleep(process.drain).await;
    };
    tokio::select! {
        () = server => {}
        // Whoever still holds a connection has had the whole drain.
        () = drained => {}
    }
    Ok(())
}

pub fn adapters(aws: &Aws, addresses: &HashMap<String, String>) -> anyhow::Result<(DynamoStock, DynamoViews)> {
    Ok((aws.stock(addresses, STOREFRONT.slug)?, aws.views(addresses)?))
}

/// # Errors
/// When the database does not answer, or the location that this storefront serves is not among what can be read.
async fn read_shops(store: &impl LocationStore, shops: &Shops) -> Result<(), Unavailable> {
    let all = store.locations().await?;
    let home = shops.home();
    if !all.iter().any(|shop| shop.tenant_id == home.tenant_id && shop.location_id == home.location_id) {
        let message = format!("{} has no usable row in the table locations", home.location_id);
        return Err(Unavailable::new("locations", message));
    }
    shops.replace(all);
    Ok(())
}

async fn read_revoked(store: &Store, revoked: &Revoked) -> Result<(), Unavailable> {
    revoked.replace(store.revoked_tokens(SystemSource.now()).await?);
    Ok(())
}

#[derive(Clone)]
struct Things {
    store: Store,
    stock: DynamoStock,
    views: DynamoViews,
    carts: Carts,
    breakers: Breakers,
    metrics: Metrics,
}

impl Ports for Things {
    type Orders = Store;
    type Stock = DynamoStock;
    type Carts = Carts;
    type Views = DynamoViews;
    type Source = SystemSource;

    fn orders(&self) -> &Store {
        &self.store
    }

    fn stock(&self) -> &DynamoStock {
        &self.stock
    }

    fn carts(&self) -> &Carts {
        &self.carts
    }

    fn views(&self) -> &DynamoViews {
        &self.views
    }

    fn source(&self) -> &SystemSource {
        &SystemSource
    }

    fn refuses(&self, needs: &[Dependency]) -> Option<Duration> {
        self.breakers.refusal(needs)
    }

    fn count(&self, key: &str, window: Duration) -> impl Future<Output = Option<u64>> + Send {
        self.carts.count(key, window)
    }

    fn observe(&self, observation: Observation) {
        match observation {
            Observation::Accepted => self.metrics.count(Metric::OrdersAccepted, &[], 1),
            Observation::Replayed => self.metrics.count(Metric::IdempotentReplays, &[], 1),
            Observation::Security(event) => self.metrics.count(Metric::SecurityEvents, &[event.code()], 1),
            Observation::Shed(why) => self.metrics.count(Metric::RequestsShed, &[why.code()], 1),
            Observation::Answered { status, took } => {
                let class = match status / 100 {
                    1..=3 => "ok",
                    4 => "refused",
                    _ => "failed",
                };
                self.metrics.count(Metric::HttpRequests, &[class], 1);
                self.metrics.observe(Metric::HttpLatency, &[], took.as_secs_f64());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use app::fakes::orders::MemoryOrders;
    use domain::ids::LocationId;

    use super::*;

    #[tokio::test]
    async fn another_location_s_refused_row_is_no_matter_and_the_own_one_s_is_an_error() {
        let (store, shops) = (MemoryOrders::default(), Shops::new(Shop::default_shop()));
        let home = Shop { name: "Renamed".to_owned(), ..Shop::default_shop() };
        let airport = LocationId::parse("airport").expect("an id");
        let other = Shop { location_id: airport.clone(), ..Shop::default_shop() };
        store.set_locations(vec![other.clone(), home.clone()]);
        read_shops(&store, &shops).await.expect("both are there");
        // Left out by the store: `laws::locations`.
        store.set_locations(vec![home.clone()]);
        read_shops(&store, &shops).await.expect("the own one is there");
        assert!(shops.named(Some(&airport)).is_err() && shops.home().name == "Renamed");
        store.set_locations(vec![other]);
        let told = read_shops(&store, &shops).await.expect_err("the own one is not").to_string();
        assert!(told.contains(home.location_id.as_str()), "{told}");
        assert_eq!(shops.home().name, "Renamed", "what was read last stands");
    }
}
