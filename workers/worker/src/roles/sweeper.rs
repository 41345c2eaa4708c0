//! `sweeper`: overdue orders, expired holds, and whether the stock adds up.

use std::collections::HashMap;
use std::time::Duration;

use adapter_aws::{DynamoStock, ParameterReader};
use app::ports::stock::Stock as _;
use app::use_cases::sweep::{Swept, sweep_holds, sweep_messages, sweep_orders};
use app::use_cases::time_out::Timeouts;
use contract::metric::Metric;
use contract::parameter::{
    COLLECTION_TIMEOUT, PREPARATION_TIMEOUT, PROCESSING_TIMEOUT, Parameter, UNCOLLECTED_TIMEOUT,
};
use contract::role::SWEEPER;

use super::{Wiring, every, maker};
use crate::aws::Aws;
use crate::stores::SystemSource;

const ORDERS_EVERY: Duration = Duration::from_secs(5);
/// Holds last minutes: looking once a minute gives one back soon enough.
const HOLDS_EVERY: Duration = Duration::from_secs(60);
/// Old rows are in nobody's way.
const MESSAGES_EVERY: Duration = Duration::from_secs(3600);

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let stock = adapters(&wiring.aws, &wiring.config.addresses)?;
    let parameters = wiring.aws.parameters(&wiring.config.aws.environment);
    let Wiring { role, store, process, .. } = wiring;
    let orders = every(ORDERS_EVERY, &process, async || {
        let timeouts = timeouts(&parameters).await;
        match sweep_orders(&store, &SystemSource, &maker(role), &timeouts).await {
            Ok(swept) => {
                process.metrics.count(Metric::OrdersRedriven, &[], swept.asked_again);
                process.metrics.count(Metric::OrdersOverdue, &[], swept.told);
                if swept.asked_again + swept.timed_out + swept.told + swept.closed > 0 {
                    let Swept { asked_again, timed_out, told, closed, .. } = swept;
                    tracing::info!(asked_again, timed_out, told, closed, "Swept overdue orders");
                }
            }
            Err(error) => tracing::warn!(error = %error, "Cannot sweep orders"),
        }
    });
    let holds = every(HOLDS_EVERY, &process, async || {
        match sweep_holds(&store, &stock, &SystemSource).await {
            Ok(swept) => process.metrics.count(Metric::ReservationsExpired, &[], swept.holds_released),
            Err(error) => tracing::warn!(error = %error, "Cannot sweep holds"),
        }
        match stock.products().await {
            Ok(products) => {
                let adrift: Vec<_> = products.iter().filter(|product| !product.counters.conserved()).collect();
                for product in &adrift {
                    let (product_id, counters) = (&product.product.product_id, product.counters);
                    tracing::error!(%product_id, ?counters, "The stock does not add up");
                }
                process.metrics.set(Metric::StockDrift, &[], adrift.len() as f64);
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

pub fn adapters(aws: &Aws, addresses: &HashMap<String, String>) -> anyhow::Result<DynamoStock> {
    aws.stock(addresses, SWEEPER.slug)
}

/// Read live. What is no number is what it was by default.
async fn timeouts(parameters: &ParameterReader) -> Timeouts {
    let seconds = async |parameter: &'static Parameter, default: Duration| {
        let set = parameters.get(parameter).await.parse().ok();
        set.map_or(default, Duration::from_secs)
    };
    let default = Timeouts::default();
    Timeouts {
        processing: seconds(&PROCESSING_TIMEOUT, default.processing).await,
        preparation: seconds(&PREPARATION_TIMEOUT, default.preparation).await,
        collection: seconds(&COLLECTION_TIMEOUT, default.collection).await,
        uncollected: seconds(&UNCOLLECTED_TIMEOUT, default.uncollected).await,
    }
}
