//! `sweeper`: overdue orders, expired holds, and whether the stock adds up.

use std::time::Duration;

use app::ports::stock::Stock as _;
use app::use_cases::sweep::{sweep_holds, sweep_messages, sweep_orders};
use contract::metric::Metric;

use super::{Wiring, every, maker};
use crate::stores::SystemSource;

const ORDERS_EVERY: Duration = Duration::from_secs(5);
/// Holds last minutes: looking once a minute gives one back soon enough.
const HOLDS_EVERY: Duration = Duration::from_secs(60);
/// Old rows are in nobody's way.
const MESSAGES_EVERY: Duration = Duration::from_secs(3600);

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let stock = wiring.aws.stock(&wiring.config.addresses, wiring.role.slug)?;
    let Wiring { role, store, process, .. } = wiring;
    let orders =
        every(ORDERS_EVERY, &process, async || match sweep_orders(&store, &SystemSource, &maker(role)).await {
            Ok(swept) => {
                process.metrics.count(Metric::OrdersRedriven, &[], swept.asked_again);
                if swept.asked_again + swept.timed_out > 0 {
                    let (asked_again, timed_out) = (swept.asked_again, swept.timed_out);
                    tracing::info!(asked_again, timed_out, "Swept overdue orders");
                }
            }
            Err(error) => tracing::warn!(error = %error, "Cannot sweep orders"),
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
