//! `outbox-relay`: moves messages from the database to where their kind goes.

use std::time::Duration;

use adapter_aws::AwsPublisher;
use app::ports::Source as _;
use app::ports::orders::OrderStore as _;
use app::use_cases::relay::{ROWS, Relayed, relay_some};
use chassis::{Process, chance};
use contract::metric::Metric;

use super::{Wiring, every};
use crate::aws::Aws;
use crate::config::Config;
use crate::stores::{Store, SystemSource};

/// A look at the outbox even if nothing said that it changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the age of the oldest message is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Where much is to be sent, as much again is left to gather for so long: batches of ten cost what a single message costs.
const GATHER: Duration = Duration::from_millis(50);
/// Messages of a round from which on it is much: two for each destination of ours.
const MUCH: u64 = 12;
/// After a failure: the database needs air.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let publisher = adapters(&wiring.aws, &wiring.config)?;
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

pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<AwsPublisher> {
    aws.publisher(&config.grants)
}

/// Moves messages until shutdown.
async fn relay(store: &Store, publisher: &AwsPublisher, process: &Process) {
    while !process.shutdown.is_cancelled() {
        match relay_some(store, publisher, &SystemSource, &chance::fraction).await {
            Ok(relayed) if relayed.idle() => {
                tokio::select! {
                    () = store.outbox_changed(LOOK_EVERY) => {}
                    () = process.shutdown.cancelled() => {}
                }
            }
            // Again without being told: what was sent stood before more of its order, and what failed waits by itself.
            Ok(relayed) => {
                // A full round is no round to wait after: more is there.
                let much = (MUCH..u64::from(ROWS)).contains(&relayed.sent);
                report(relayed, process);
                if much {
                    tokio::select! {
                        () = tokio::time::sleep(GATHER) => {}
                        () = process.shutdown.cancelled() => {}
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "The outbox cannot be read");
                tokio::select! {
                    () = tokio::time::sleep(AFTER_FAILURE) => {}
                    () = process.shutdown.cancelled() => {}
                }
            }
        }
    }
}

fn report(relayed: Relayed, process: &Process) {
    process.metrics.count(Metric::OutboxPublished, &[], relayed.sent);
    process.metrics.count(Metric::OutboxFailures, &[], relayed.failed);
    process.metrics.count(Metric::OutboxUnreadable, &[], relayed.unreadable.len() as u64);
    for (id, why) in relayed.unreadable {
        tracing::error!(row = id, why, "A row of the outbox cannot be read; what is behind it waits");
    }
    match relayed.why {
        Some(why) => {
            tracing::warn!(failed = relayed.failed, why, "Not everything in the outbox was taken");
            process.health.down("publishing", why);
        }
        None => process.health.up("publishing"),
    }
}
