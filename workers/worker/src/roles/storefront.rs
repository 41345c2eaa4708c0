//! `storefront`: HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adapter_aws::{DynamoStock, DynamoViews};
use anyhow::Context as _;
use app::ports::Unavailable;
use app::ports::locations::LocationStore as _;
use app::use_cases::Shop;
use chassis::Metrics;
use contract::metric::Metric;
use contract::parameter::MAX_QUEUE_SIZE;
use storefront::{Observation, Ports, Settings, Shops};

use super::{Wiring, every};
use crate::stores::{Carts, Store, SystemSource};

const READ_PARAMETERS_EVERY: Duration = Duration::from_secs(30);

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let Wiring { role, config, process, aws, store } = wiring;
    let [redis_url, redis_password] = [&config.redis_url, &config.redis_password]
        .map(|secret| secret.as_ref().map(|secret| secret.expose().as_str()));
    let things = Things {
        store,
        stock: aws.stock(&config.addresses, role.slug)?,
        views: aws.views(&config.addresses)?,
        carts: Carts::connect(redis_url, redis_password).await?,
        metrics: process.metrics.clone(),
    };
    let shops = Arc::new(Shops::new(Shop::default_shop()));
    // Without them nobody knows which tax is due: it becomes ready when it has read them once.
    read_shops(&things.store, &shops).await.context("read the locations")?;
    let pending_max = Arc::new(AtomicU64::new(MAX_QUEUE_SIZE.default.parse().unwrap_or(u64::MAX)));
    let settings = Settings {
        shops: shops.clone(),
        signing_key: config.signing_key.expose().clone(),
        webhook_secret: config.webhook_secret.expose().clone(),
        secure_cookies: !config.aws.is_local(),
        pending_max: pending_max.clone(),
        shutdown: process.shutdown.clone(),
    };
    let parameters = aws.parameters(&config.aws.environment);
    let store = things.store.clone();
    let tuning = every(READ_PARAMETERS_EVERY, &process, async || {
        if let Err(error) = read_shops(&store, &shops).await {
            tracing::warn!(%error, "The locations cannot be read; what was read last stands");
        }
        if let Ok(value) = parameters.get(&MAX_QUEUE_SIZE).await.parse() {
            pending_max.store(value, Ordering::Relaxed);
        }
    });
    let listener = tokio::net::TcpListener::bind(config.bind).await;
    let listener = listener.with_context(|| format!("listen on {}", config.bind))?;
    tracing::info!(address = %config.bind, "Serving the shop");
    let shutdown = process.shutdown.clone();
    let server = axum::serve(listener, storefront::router(things, settings))
        .with_graceful_shutdown(async move { shutdown.cancelled().await });
    let drained = async {
        tuning.await;
        tokio::time::sleep(process.drain).await;
    };
    tokio::select! {
        served = async { server.await } => served.context("serve HTTP")?,
        // Whoever still holds a connection has had the whole drain.
        () = drained => {}
    }
    Ok(())
}

async fn read_shops(store: &Store, shops: &Shops) -> Result<(), Unavailable> {
    shops.replace(store.locations().await?);
    Ok(())
}

#[derive(Clone)]
struct Things {
    store: Store,
    stock: DynamoStock,
    views: DynamoViews,
    carts: Carts,
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

    fn observe(&self, observation: Observation) {
        match observation {
            Observation::Accepted => self.metrics.count(Metric::OrdersAccepted, &[], 1),
            Observation::Replayed => self.metrics.count(Metric::IdempotentReplays, &[], 1),
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
