//! `sweeper`: overdue orders, expired stock holds, old messages, and a check of the stock counters.

use std::time::Duration;

use adapter_aws::DynamoStock;
use app::ports::stock::Stock as _;
use app::use_cases::sweep::{Swept, sweep_holds, sweep_messages, sweep_orders};
use app::use_cases::time_out::Timeouts;
use contract::cause::chain;
use contract::metric::Metric;
use contract::parameter::{
    COLLECTION_TIMEOUT, PREPARATION_TIMEOUT, PROCESSING_TIMEOUT, UNCOLLECTED_TIMEOUT,
};
use contract::role::SWEEPER;

use super::{Wiring, every, maker};
use crate::aws::{Aws, LiveParameter};
use crate::config::Config;
use crate::stores::SystemSource;

const ORDERS_EVERY: Duration = Duration::from_secs(5);
/// The pause between two sweeps of stock holds, which last for minutes.
const HOLDS_EVERY: Duration = Duration::from_secs(60);
/// The pause between two deletions of old rows. They disturb nothing, so an hour is enough.
const MESSAGES_EVERY: Duration = Duration::from_secs(3600);

/// Sweeps orders, stock holds and old messages until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let (stock, live_timeouts) = adapters(&wiring.aws, &wiring.config)?;
    let Wiring {
        role,
        store,
        process,
        ..
    } = wiring;
    let orders = every(ORDERS_EVERY, &process, async || {
        let timeouts = live_timeouts.get().await;
        match sweep_orders(&store, &SystemSource, &maker(role), &timeouts).await {
            Ok(swept) => {
                process
                    .metrics
                    .count(Metric::OrdersRedriven, &[], swept.asked_again);
                process
                    .metrics
                    .count(Metric::OrdersOverdue, &[], swept.told);
                if swept.asked_again + swept.timed_out + swept.told + swept.closed > 0 {
                    let Swept {
                        asked_again,
                        timed_out,
                        told,
                        closed,
                        ..
                    } = swept;
                    tracing::info!(asked_again, timed_out, told, closed, "Swept overdue orders");
                }
            }
            Err(error) => tracing::warn!(error = %chain(&error), "Cannot sweep orders"),
        }
    });
    let holds = every(HOLDS_EVERY, &process, async || {
        match sweep_holds(&store, &stock, &SystemSource).await {
            Ok(swept) => {
                process
                    .metrics
                    .count(Metric::ReservationsExpired, &[], swept.holds_released)
            }
            Err(error) => tracing::warn!(error = %chain(&error), "Cannot sweep stock holds"),
        }
        match stock.products().await {
            Ok(products) => {
                let adrift: Vec<_> = products
                    .iter()
                    .filter(|product| !product.counters.conserved())
                    .collect();
                for product in &adrift {
                    let (product_id, counters) = (&product.product.product_id, product.counters);
                    tracing::error!(%product_id, ?counters, "The stock counters do not add up");
                }
                process
                    .metrics
                    .set(Metric::StockDrift, &[], adrift.len() as f64);
            }
            Err(error) => tracing::warn!(error = %chain(&error), "Cannot read the stock"),
        }
    });
    let prune = async || match sweep_messages(&store, &SystemSource).await {
        Ok(0) => {}
        Ok(deleted) => tracing::info!(deleted, "Deleted old rows of inbox and outbox"),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "Cannot delete old rows of inbox and outbox")
        }
    };
    // Also at the start, because a local shop may never run for an hour.
    let messages = async {
        prune().await;
        every(MESSAGES_EVERY, &process, prune).await;
    };
    tokio::join!(orders, holds, messages);
    Ok(())
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<(DynamoStock, LiveTimeouts)> {
    let parameters = [
        &PROCESSING_TIMEOUT,
        &PREPARATION_TIMEOUT,
        &COLLECTION_TIMEOUT,
        &UNCOLLECTED_TIMEOUT,
    ];
    let timeouts = LiveTimeouts(aws.parameters(config, parameters)?);
    Ok((aws.stock(&config.grants, SWEEPER.slug)?, timeouts))
}

/// The live parameters of [`Timeouts`].
pub struct LiveTimeouts([LiveParameter; 4]);

impl LiveTimeouts {
    /// Returns the current timeouts. A value that is not a number is replaced by its default.
    async fn get(&self) -> Timeouts {
        let [processing, preparation, collection, uncollected] = &self.0;
        let default = Timeouts::default();
        Timeouts {
            processing: seconds(processing, default.processing).await,
            preparation: seconds(preparation, default.preparation).await,
            collection: seconds(collection, default.collection).await,
            uncollected: seconds(uncollected, default.uncollected).await,
        }
    }
}

async fn seconds(parameter: &LiveParameter, default: Duration) -> Duration {
    parameter
        .get()
        .await
        .parse::<u64>()
        .map_or(default, Duration::from_secs)
}
