//! `outbox-relay`: sends the messages in the outbox to queues, topics and the event bus.

use std::time::Duration;

use adapter_aws::AwsPublisher;
use app::ports::Source as _;
use app::ports::orders::{OrderStore as _, Outgoing};
use app::use_cases::relay::{ROWS, Relayed, relay_some};
use chassis::{Process, chance};
use contract::cause::chain;
use contract::metric::Metric;
use tokio::time::sleep;

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
    let relay = Relay {
        store: wiring.store,
        publisher,
        process: wiring.process,
    };
    let measuring = every(MEASURE_EVERY, &relay.process, async || {
        relay.measure().await
    });
    // Commands and events have separate loops, so that a slow topic does not delay an order.
    let look = async || relay.store.outbox_changed(LOOK_EVERY).await;
    let commands = relay.run(Outgoing::Commands, "sending commands", look);
    let pause = async || sleep(EVENTS_EVERY).await;
    let events = relay.run(Outgoing::Events, "publishing events", pause);
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

struct Relay {
    store: Store,
    publisher: AwsPublisher,
    process: Process,
}

impl Relay {
    async fn measure(&self) {
        if let Ok(oldest) = self.store.oldest_unpublished().await {
            let age = oldest.map_or(0.0, |written| {
                (SystemSource.now() - written).as_seconds_f64()
            });
            self.process
                .metrics
                .set(Metric::OutboxLag, &[], age.max(0.0));
        }
    }

    /// Sends messages until shutdown, and calls `idle` when there are none. `dependency` is the name
    /// in readiness.
    async fn run(&self, which: Outgoing, dependency: &str, idle: impl AsyncFn()) {
        let (store, publisher, shutdown) = (&self.store, &self.publisher, &self.process.shutdown);
        while !shutdown.is_cancelled() {
            match relay_some(store, publisher, &SystemSource, &chance::fraction, which).await {
                Ok(relayed) if relayed.idle() => {
                    shutdown.run_until_cancelled(idle()).await;
                }
                // Read again at once: more messages of the same orders can wait behind the sent
                // ones. Failed rows have their own back-off.
                Ok(relayed) => {
                    // Do not pause after a full round, because more messages are in the outbox.
                    let much = (MUCH..u64::from(ROWS)).contains(&relayed.sent);
                    self.report(relayed, dependency);
                    if much {
                        shutdown.run_until_cancelled(sleep(GATHER)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "The outbox cannot be read");
                    shutdown.run_until_cancelled(sleep(AFTER_FAILURE)).await;
                }
            }
        }
    }

    fn report(&self, relayed: Relayed, dependency: &str) {
        let Process {
            metrics, health, ..
        } = &self.process;
        let unreadable = relayed.unreadable.len() as u64;
        metrics.count(Metric::OutboxPublished, &[], relayed.sent);
        metrics.count(Metric::OutboxFailures, &[], relayed.failed);
        metrics.count(Metric::OutboxUnreadable, &[], unreadable);
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
                health.down(dependency, why);
            }
            None => health.up(dependency),
        }
    }
}
