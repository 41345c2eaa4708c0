//! `outbox-relay`: sends the messages in the outbox to queues, topics and the event bus.

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

/// Pause between two reads of the outbox when no change is reported.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Pause between two rounds of events, in which events gather. No order waits for them, and a call
/// with ten messages costs as much as one with a single message. At 20 orders a second, this halves
/// the calls to SNS and EventBridge.
const EVENTS_EVERY: Duration = Duration::from_millis(250);
/// Pause between two measurements of the age of the oldest message.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Pause after a round with many messages, in which more messages gather. A batch of ten costs as
/// much as a single message.
const GATHER: Duration = Duration::from_millis(50);
/// Number of messages from which a round counts as large: two for each destination.
const MUCH: u64 = 12;
/// Pause after a failed read, so that the relay does not add load to a slow database.
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
    // Commands and events have separate loops, so that a slow topic does not delay an order.
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

/// Sends the messages that orders wait for, as soon as they are in the outbox.
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

/// Sends events, a few times a second.
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

/// Sends messages until shutdown, and calls `idle` when there are none. `dependency` is the name in
/// readiness.
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
            // Read again at once: more messages of the same orders can wait behind the sent ones.
            // Failed rows have their own back-off.
            Ok(relayed) => {
                // Do not pause after a full round, because more messages are in the outbox.
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
            "A row of the outbox cannot be read; the later rows of its order wait"
        );
    }
    match relayed.why {
        Some(error) => {
            let why = chain(&error);
            tracing::warn!(
                failed = relayed.failed,
                why,
                "Not every message in the outbox was accepted"
            );
            process.health.down(dependency, why);
        }
        None => process.health.up(dependency),
    }
}
