//! `sweeper`: overdue orders, expired holds, and whether the stock adds up.

use std::time::Duration;

use adapter_aws::DynamoStock;
use app::ports::stock::Stock as _;
use app::use_cases::sweep::{Swept, sweep_holds, sweep_messages, sweep_orders};
use app::use_cases::time_out::Timeouts;
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
/// Holds last minutes: looking once a minute gives one back soon enough.
const HOLDS_EVERY: Duration = Duration::from_secs(60);
/// Old rows are in nobody's way.
const MESSAGES_EVERY: Duration = Duration::from_secs(3600);

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
            Err(error) => tracing::warn!(error = %error, "Cannot sweep orders"),
        }
    });
    let holds = every(HOLDS_EVERY, &process, async || {
        match sweep_holds(&store, &stock, &SystemSource).await {
            Ok(swept) => {
                process
                    .metrics
                    .count(Metric::ReservationsExpired, &[], swept.holds_released)
            }
            Err(error) => tracing::warn!(error = %error, "Cannot sweep holds"),
        }
        match stock.products().await {
            Ok(products) => {
                let adrift: Vec<_> = products
                    .iter()
                    .filter(|product| !product.counters.conserved())
                    .collect();
                for product in &adrift {
                    let (product_id, counters) = (&product.product.product_id, product.counters);
                    tracing::error!(%product_id, ?counters, "The stock does not add up");
                }
                process
                    .metrics
                    .set(Metric::StockDrift, &[], adrift.len() as f64);
            }
            Err(error) => tracing::warn!(error = %error, "Cannot look at the stock"),
        }
    });
    let prune = async || match sweep_messages(&store, &SystemSource).await {
        Ok(0) => {}
        Ok(deleted) => tracing::info!(deleted, "Deleted old rows of inbox and outbox"),
        Err(error) => tracing::warn!(error = %error, "Cannot delete old rows of inbox and outbox"),
    };
    // At the start as well: a shop that is closed at night may never be open for an hour.
    let messages = async {
        prune().await;
        every(MESSAGES_EVERY, &process, prune).await;
    };
    tokio::join!(orders, holds, messages);
    Ok(())
}

pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<(DynamoStock, LiveTimeouts)> {
    let parameters = [
        &PROCESSING_TIMEOUT,
        &PREPARATION_TIMEOUT,
        &COLLECTION_TIMEOUT,
        &UNCOLLECTED_TIMEOUT,
    ];
    let [processing, preparation, collection, uncollected] = aws.parameters(config, parameters)?;
    let timeouts = LiveTimeouts {
        processing,
        preparation,
        collection,
        uncollected,
    };
    Ok((aws.stock(&config.grants, SWEEPER.slug)?, timeouts))
}

/// The parameters that [`Timeouts`] are read from.
pub struct LiveTimeouts {
    processing: LiveParameter,
    preparation: LiveParameter,
    collection: LiveParameter,
    uncollected: LiveParameter,
}

impl LiveTimeouts {
    /// Returns the timeouts of now. A value that is no number counts as its default.
    async fn get(&self) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            processing: seconds(&self.processing, default.processing).await,
            preparation: seconds(&self.preparation, default.preparation).await,
            collection: seconds(&self.collection, default.collection).await,
            uncollected: seconds(&self.uncollected, default.uncollected).await,
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
