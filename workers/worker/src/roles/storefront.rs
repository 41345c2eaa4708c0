//! `storefront`: HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adapter_aws::{DynamoShopStock, DynamoViewReader};
use anyhow::Context as _;
use app::location::Location;
use app::ports::access::StaffTokens as _;
use app::ports::locations::LocationStore;
use app::ports::mailbox::Mailbox;
use app::ports::{Backend, Source as _, StoreError};
use chassis::Metrics;
use contract::cause::chain;
use contract::dependency::Dependency;
use contract::metric::Metric;
use contract::parameter::{MAX_QUEUE_SIZE, PAYMENT_WEBHOOK, SIGNING_KEY};
use contract::role::STOREFRONT;
use domain::phone::Phone;
use storefront::keys::Keys;
use storefront::{Observation, Ports, Revoked, Settings, Shops, server};

use super::{READ_SECRETS_EVERY, Wiring, every};
use crate::aws::{Aws, LiveParameter, RotatedSecret};
use crate::breakers::Breakers;
use crate::config::Config;
use crate::renewal::Renewal;
use crate::stores::{Carts, Store, SystemSource};

/// Pause between two reads of live parameters. Most reads are from memory, because the reader calls
/// Parameter Store every 30 seconds.
const READ_PARAMETERS_EVERY: Duration = Duration::from_secs(5);

/// Pause between two reads of revoked staff tokens. Every storefront refuses a revoked token within
/// two seconds: this pause, and one second for the read.
const READ_REVOKED_EVERY: Duration = Duration::from_secs(1);
const _: () = assert!(
    READ_REVOKED_EVERY.as_millis() <= 1_000,
    "no second is left for the read"
);

/// Serves the shop over HTTP until shutdown, and reloads locations, parameters, secrets and revoked
/// staff tokens.
///
/// # Errors
/// Returns an error when a right or a setting is missing, when the locations or the revoked staff
/// tokens cannot be read at the start, or when the address is in use.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let Wiring {
        config,
        process,
        aws,
        store,
        breakers,
        ..
    } = wiring;
    let http = config.http()?;
    let cache = config.cache()?;
    tokio::task::spawn_blocking(Phone::prepare);
    let Adapters {
        stock,
        views,
        cache_renewal,
        max_queue_size,
        signing_key,
        webhook_secret,
    } = adapters(&aws, &config)?;
    let things = StorefrontDeps {
        store,
        stock,
        views,
        carts: Carts::connect(cache, cache_renewal).await?,
        breakers,
        metrics: process.metrics.clone(),
    };
    let shops = Arc::new(Shops::new(Location::initial()));
    // The tax of an order depends on its location, so the role is not ready before this read.
    read_shops(&things.store, &shops)
        .await
        .context("read the locations")?;
    let pending_max = Arc::new(AtomicU64::new(
        MAX_QUEUE_SIZE.default.parse().unwrap_or(u64::MAX),
    ));
    let revoked = Revoked::default();
    read_revoked(&things.store, &revoked)
        .await
        .context("read the revoked staff tokens")?;
    let signing_keys = Keys::new(signing_key.at_start().expose().clone());
    let webhook_secrets = Keys::new(webhook_secret.at_start().expose().clone());
    let settings = Settings {
        shops: shops.clone(),
        signing_key: signing_keys.clone(),
        revoked: revoked.clone(),
        webhook_secret: webhook_secrets.clone(),
        secure_cookies: !config.aws.is_local(),
        pending_max: pending_max.clone(),
        orders_per_minute: http.orders_per_minute,
        trusted_proxies: http.trusted_proxies,
        mailbox: config
            .aws
            .is_local()
            .then(|| Arc::new(aws.local_mailbox()) as Arc<dyn Mailbox>),
        shutdown: process.shutdown.clone(),
        clock: Arc::new(|| SystemSource.now()),
    };
    let store = things.store.clone();
    let tune = async || {
        if let Err(error) = read_shops(&store, &shops).await {
            tracing::warn!(error = %chain(&error), "The locations cannot be read; the last ones stay in use");
        }
        // An invalid number does not change the present value.
        if let Ok(value) = max_queue_size.get().await.parse() {
            pending_max.store(value, Ordering::Relaxed);
        }
    };
    // The listener accepts connections before all settings are read. Early requests then wait and
    // are not refused.
    let listener = chassis::listen("HAVEN_BIND", http.bind).await?;
    let address = listener.local_addr().context("read the shop's address")?;
    // Read the parameters before the first order.
    tune().await;
    let tuning = every(READ_PARAMETERS_EVERY, &process, tune);
    let rotating = every(READ_SECRETS_EVERY, &process, async || {
        for (secret, keys) in [
            (&signing_key, &signing_keys),
            (&webhook_secret, &webhook_secrets),
        ] {
            match secret.versions().await {
                Ok(versions) => keys.set(versions),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "A secret cannot be read again; the last value stays in use")
                }
            }
        }
    });
    let store = things.store.clone();
    let revoking = every(READ_REVOKED_EVERY, &process, async || {
        if let Err(error) = read_revoked(&store, &revoked).await {
            tracing::warn!(error = %chain(&error), "Cannot read the revoked staff tokens; those that were read last stay refused");
        }
    });
    tracing::info!(%address, "Serving the shop");
    let router = storefront::router(things, settings);
    let mut limits = server::Limits::default();
    if http.trusted_proxies > 0 {
        // All connections are from the proxy.
        limits.of_a_client_max = limits.connections_max;
    }
    let server = server::serve(listener, router, limits, process.shutdown.clone());
    let drained = async {
        tokio::join!(tuning, rotating, revoking);
        tokio::time::sleep(process.drain).await;
    };
    tokio::select! {
        () = server => {}
        // The drain is over, so open connections are closed.
        () = drained => {}
    }
    Ok(())
}

pub struct Adapters {
    stock: DynamoShopStock,
    views: DynamoViewReader,
    cache_renewal: Option<Renewal<String>>,
    max_queue_size: LiveParameter,
    signing_key: RotatedSecret,
    webhook_secret: RotatedSecret,
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<Adapters> {
    let [max_queue_size] = aws.parameters(config, [&MAX_QUEUE_SIZE])?;
    Ok(Adapters {
        stock: aws.shop_stock(&config.grants, STOREFRONT.slug)?,
        views: aws.view_reader(&config.grants)?,
        cache_renewal: aws.cache_renewal(config)?,
        max_queue_size,
        signing_key: aws.secret(config, &SIGNING_KEY)?,
        webhook_secret: aws.secret(config, &PAYMENT_WEBHOOK)?,
    })
}

/// # Errors
/// When the database does not answer, or the location that this storefront serves is not among what
/// can be read.
async fn read_shops(store: &impl LocationStore, shops: &Shops) -> Result<(), StoreError> {
    let all = store.locations().await?;
    let home = shops.home();
    if !all
        .iter()
        .any(|shop| shop.tenant_id == home.tenant_id && shop.location_id == home.location_id)
    {
        let message = format!(
            "{} has no usable row in the table locations",
            home.location_id
        );
        return Err(StoreError::new(Backend::Locations, message));
    }
    shops.replace(all);
    Ok(())
}

async fn read_revoked(store: &Store, revoked: &Revoked) -> Result<(), StoreError> {
    revoked.replace(store.revoked_tokens(SystemSource.now()).await?);
    Ok(())
}

#[derive(Clone)]
struct StorefrontDeps {
    store: Store,
    stock: DynamoShopStock,
    views: DynamoViewReader,
    carts: Carts,
    breakers: Breakers,
    metrics: Metrics,
}

impl Ports for StorefrontDeps {
    type Orders = Store;
    type Stock = DynamoShopStock;
    type Carts = Carts;
    type Views = DynamoViewReader;
    type Source = SystemSource;

    fn orders(&self) -> &Store {
        &self.store
    }

    fn stock(&self) -> &DynamoShopStock {
        &self.stock
    }

    fn carts(&self) -> &Carts {
        &self.carts
    }

    fn views(&self) -> &DynamoViewReader {
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
            Observation::Security(event) => {
                self.metrics
                    .count(Metric::SecurityEvents, &[event.code()], 1)
            }
            Observation::Shed(why) => self.metrics.count(Metric::RequestsShed, &[why.code()], 1),
            Observation::Answered { status, took } => {
                let class = match status / 100 {
                    1..=3 => "ok",
                    4 => "refused",
                    _ => "failed",
                };
                self.metrics.count(Metric::HttpRequests, &[class], 1);
                self.metrics
                    .observe(Metric::HttpLatency, &[], took.as_secs_f64());
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
    async fn an_invalid_row_is_an_error_only_for_the_own_location() {
        let (store, shops) = (MemoryOrders::default(), Shops::new(Location::initial()));
        let home = Location {
            name: "Renamed".to_owned(),
            ..Location::initial()
        };
        let airport = LocationId::parse("airport").expect("an id");
        let other = Location {
            location_id: airport.clone(),
            ..Location::initial()
        };
        store.set_locations(vec![other.clone(), home.clone()]);
        read_shops(&store, &shops).await.expect("both are there");
        // The store omits the invalid location; see `laws::locations`.
        store.set_locations(vec![home.clone()]);
        read_shops(&store, &shops)
            .await
            .expect("the own one is there");
        assert!(shops.named(Some(&airport)).is_err() && shops.home().name == "Renamed");
        store.set_locations(vec![other]);
        let told = read_shops(&store, &shops)
            .await
            .expect_err("the own one is not");
        let told = chain(&told);
        assert!(told.contains(home.location_id.as_str()), "{told}");
        assert_eq!(shops.home().name, "Renamed", "the last values stay in use");
    }
}
