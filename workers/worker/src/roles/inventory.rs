//! `inventory-worker`: follows the stream of the products table.

use adapter_aws::DynamoStock;
use app::ports::Unavailable;
use app::ports::stream::StockRecord;
use app::use_cases::watch_stock::{rebuild, watch_record};
use chassis::Metrics;
use contract::metric::Metric;
use contract::role::Role;

use super::{Wiring, maker};
use crate::stores::{Store, SystemSource};
use crate::stream::{RecordHandler, follow};

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let addresses = &wiring.config.addresses;
    let (stream, leases) = (wiring.aws.stream(addresses)?, wiring.aws.leases(addresses)?);
    let watcher = Watcher {
        role: wiring.role,
        stock: wiring.aws.stock(addresses, wiring.role.slug)?,
        store: wiring.store,
        metrics: wiring.process.metrics.clone(),
    };
    follow(stream, leases, watcher, wiring.process).await;
    Ok(())
}

struct Watcher {
    role: &'static Role,
    store: Store,
    stock: DynamoStock,
    metrics: Metrics,
}

impl RecordHandler for Watcher {
    async fn record(&self, record: &StockRecord) -> Result<(), Unavailable> {
        let level = watch_record(&self.store, &SystemSource, &maker(self.role), record).await?;
        if let Some(level) = level {
            self.metrics.count(Metric::StockAlerts, &[level.code()], 1);
        }
        Ok(())
    }

    async fn rebuild(&self) -> Result<(), Unavailable> {
        self.metrics.count(Metric::StreamRebuilds, &[], 1);
        let told = rebuild(&self.store, &self.stock, &SystemSource, &maker(self.role)).await?;
        tracing::warn!(told, "Records of the stream were lost; the whole table was read instead");
        Ok(())
    }
}
