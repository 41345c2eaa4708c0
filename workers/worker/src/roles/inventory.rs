//! `inventory-worker`: follows the stream of the products table.

use adapter_aws::{DynamoLeases, DynamoProducts, DynamoStockStream};
use app::ports::stock::StockChange;
use app::use_cases::watch_stock::{rebuild, watch_record};
use chassis::Metrics;
use chassis::stream::{BoxError, Record, RecordHandler, follow};
use contract::metric::Metric;
use contract::role::Role;

use super::{Wiring, maker};
use crate::aws::Aws;
use crate::config::Config;
use crate::stores::{Store, SystemSource};

/// Follows the stream of the products table until shutdown.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let (stream, leases, products) = adapters(&wiring.aws, &wiring.config)?;
    let watcher = Watcher {
        role: wiring.role,
        products,
        store: wiring.store,
        metrics: wiring.process.metrics.clone(),
    };
    follow(stream, leases, watcher, wiring.process).await;
    Ok(())
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(
    aws: &Aws,
    config: &Config,
) -> anyhow::Result<(DynamoStockStream, DynamoLeases, DynamoProducts)> {
    let grants = &config.grants;
    Ok((
        aws.stream(grants)?,
        aws.leases(grants)?,
        aws.products(grants)?,
    ))
}

struct Watcher {
    role: &'static Role,
    store: Store,
    products: DynamoProducts,
    metrics: Metrics,
}

impl RecordHandler<StockChange> for Watcher {
    async fn record(&self, record: &Record<StockChange>) -> Result<(), BoxError> {
        let level = watch_record(
            &self.store,
            &SystemSource,
            &maker(self.role),
            &record.change,
        )
        .await?;
        if let Some(level) = level {
            self.metrics.count(Metric::StockAlerts, &[level.code()], 1);
        }
        Ok(())
    }

    async fn rebuild(&self) -> Result<(), BoxError> {
        self.metrics.count(Metric::StreamRebuilds, &[], 1);
        let told = rebuild(
            &self.store,
            &self.products,
            &SystemSource,
            &maker(self.role),
        )
        .await?;
        tracing::warn!(
            told,
            "Records of the stream were lost; the whole table was read instead"
        );
        Ok(())
    }
}
