//! `outbox-relay`: moves messages from the database to where their kind goes.

use std::time::Duration;

use adapter_aws::AwsPublisher;
use app::ports::orders::OrderStore as _;
use app::ports::publisher::Publisher as _;
use app::ports::{Source as _, Unavailable};
use chassis::Process;
use contract::messages::Envelope;
use contract::metric::Metric;

use super::{Wiring, every};
use crate::stores::{Store, SystemSource};

/// Rows taken at once: ten batches of ten.
const ROWS: u32 = 100;
/// A look at the outbox even if nothing said that it changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the age of the oldest message is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// After a failure: the service or the database needs air.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let publisher = wiring.aws.publisher(&wiring.config.addresses)?;
    let Wiring { store, process, .. } = wiring;
    let measuring = every(MEASURE_EVERY, &process, async || {
        if let Ok(oldest) = store.oldest_unpublished().await {
            let age = oldest.map_or(0.0, |written| (SystemSource.now() - written).as_seconds_f64());
            process.metrics.set(Metric::OutboxLag, &[], age.max(0.0));
        }
    });
    tokio::join!(measuring, relay(&store, &publisher, &process));
    Ok(())
}

/// Moves messages until shutdown.
async fn relay(store: &Store, publisher: &AwsPublisher, process: &Process) {
    while !process.shutdown.is_cancelled() {
        let moved = move_some(store, publisher).await;
        let pause = match moved {
            Ok(Moved { sent, failed: None }) => {
                process.metrics.count(Metric::OutboxPublished, &[], sent);
                process.health.up("publishing");
                if sent == u64::from(ROWS) {
                    continue;
                }
                tokio::select! {
                    () = store.outbox_changed(LOOK_EVERY) => {}
                    () = process.shutdown.cancelled() => {}
                }
                continue;
            }
            Ok(Moved { sent, failed: Some(why) }) => {
                process.metrics.count(Metric::OutboxPublished, &[], sent);
                process.health.down("publishing", why);
                AFTER_FAILURE
            }
            Err(error) => {
                tracing::warn!(error = %error, "The outbox cannot be read");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = process.shutdown.cancelled() => {}
        }
    }
}

struct Moved {
    sent: u64,
    /// Why some stayed, if some did.
    failed: Option<String>,
}

/// Sends what waits and marks what was sent. A crash between the two sends it again; consumers know it by its id.
async fn move_some(store: &Store, publisher: &AwsPublisher) -> Result<Moved, Unavailable> {
    let rows = store.outbox(ROWS).await?;
    if rows.is_empty() {
        return Ok(Moved { sent: 0, failed: None });
    }
    let envelopes: Vec<Envelope> = rows.iter().map(|row| row.envelope.clone()).collect();
    let results = publisher.publish(&envelopes).await;
    let sent: Vec<i64> = rows.iter().zip(&results).filter(|(_, sent)| sent.is_ok()).map(|(row, _)| row.id).collect();
    if !sent.is_empty() {
        store.mark_published(&sent, SystemSource.now()).await?;
    }
    let failed = results.into_iter().find_map(Result::err);
    Ok(Moved { sent: sent.len() as u64, failed })
}
