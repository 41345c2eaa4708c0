//! `outbox-relay`: moves messages from the database to where their kind goes.

use std::time::Duration;

use adapter_aws::AwsPublisher;
use app::ports::Source as _;
use app::ports::orders::{OrderStore as _, Outgoing};
use app::use_cases::relay::{ROWS, Relayed, relay_some};
use chassis::{Process, chance};
use contract::cause::chain;
use contract::metric::Metric;

use super::{Wiring, every};
use crate::aws::Aws;
use crate::config::Config;
use crate::stores::{Store, SystemSource};

/// A look at the outbox even if nothing said that it changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Events gather for so long. No order waits for them, and ten messages in a call cost what a
/// single message costs: at 20 orders a second, SNS and EventBridge are called half as often.
const EVENTS_EVERY: Duration = Duration::from_millis(250);
/// How often the age of the oldest message is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Where much is to be sent, as much again is left to gather for so long: batches of ten cost what
/// a single message costs.
const GATHER: Duration = Duration::from_millis(50);
/// Messages of a round from which on it is much: two for each destination of ours.
const MUCH: u64 = 12;
/// After a failure: the database needs air.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Publishes the messages of the outbox until shutdown, and measures the age of the oldest in
/// seconds.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let publisher = adapters(&wiring.aws, &wiring.config)?;
    let Wiring { store, process, .. } = wiring;
    let measuring = every(MEASURE_EVERY, &process, async || {
        if let Ok(oldest) = store.oldest_unpublished().await {
            let age = oldest.map_or(0.0, |written| {
                (SystemSource.now() - written).as_seconds_f64()
            });
            process.metrics.set(Metric::OutboxLag, &[], age.max(0.0));
        }
    });
    // Each by itself: an order does not wait until a slow topic has taken its events.
    let commands = relay_commands(&store, &publisher, &process);
    let events = relay_events(&store, &publisher, &process);
    tokio::join!(measuring, commands, events);
    Ok(())
}

/// Builds the adapters of the role from its grants.
///
/// # Errors
/// Returns an error when a right or a setting is missing.
pub fn adapters(aws: &Aws, config: &Config) -> anyhow::Result<AwsPublisher> {
    aws.publisher(&config.grants)
}

/// Moves the messages that orders wait for, as soon as they are there.
async fn relay_commands(store: &Store, publisher: &AwsPublisher, process: &Process) {
    let idle = async || store.outbox_changed(LOOK_EVERY).await;
    relay(
        Outgoing::Commands,
        "sending commands",
        idle,
        store,
        publisher,
        process,
    )
    .await;
}

/// Moves the messages that tell of what has happened, a few times a second.
async fn relay_events(store: &Store, publisher: &AwsPublisher, process: &Process) {
    let idle = async || tokio::time::sleep(EVENTS_EVERY).await;
    relay(
        Outgoing::Events,
        "publishing events",
        idle,
        store,
        publisher,
        process,
    )
    .await;
}

/// Moves messages until shutdown, and calls `idle` whenever there are none. `dependency` is how
/// readiness names it.
async fn relay(
    which: Outgoing,
    dependency: &str,
    idle: impl AsyncFn(),
    store: &Store,
    publisher: &AwsPublisher,
    process: &Process,
) {
    while !process.shutdown.is_cancelled() {
        match relay_some(store, publisher, &SystemSource, &chance::fraction, which).await {
            Ok(relayed) if relayed.idle() => {
                tokio::select! {
                    () = idle() => {}
                    () = process.shutdown.cancelled() => {}
                }
            }
            // Again without being told: what was sent stood before more of its order, and what
            // failed waits by itself.
            Ok(relayed) => {
                // A full round is no round to wait after: more is there.
                let much = (MUCH..u64::from(ROWS)).contains(&relayed.sent);
                report(relayed, dependency, process);
                if much {
                    tokio::select! {
                        () = tokio::time::sleep(GATHER) => {}
                        () = process.shutdown.cancelled() => {}
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "The outbox cannot be read");
                tokio::select! {
                    () = tokio::time::sleep(AFTER_FAILURE) => {}
                    () = process.shutdown.cancelled() => {}
                }
            }
        }
    }
}

fn report(relayed: Relayed, dependency: &str, process: &Process) {
    process
        .metrics
        .count(Metric::OutboxPublished, &[], relayed.sent);
    process
        .metrics
        .count(Metric::OutboxFailures, &[], relayed.failed);
    process.metrics.count(
        Metric::OutboxUnreadable,
        &[],
        relayed.unreadable.len() as u64,
    );
    for (id, why) in relayed.unreadable {
        tracing::error!(
            row = id,
            why = %chain(&why),
            "A row of the outbox cannot be read; what is behind it waits"
        );
    }
    match relayed.why {
        Some(error) => {
            let why = chain(&error);
            tracing::warn!(
                failed = relayed.failed,
                why,
                "Not everything in the outbox was taken"
            );
            process.health.down(dependency, why);
        }
        None => process.health.up(dependency),
    }
}
