//! The consume loop: receives messages from a queue, passes them to a handler, and settles each.
//!
//! The loop promises three things. A message in flight stays hidden from other consumers until it
//! is settled. The messages of one group are handled in order, one at a time. A handler that hangs
//! or panics causes one retry and affects no other message. Handlers must be idempotent, because
//! any message can be delivered again.
//!
//! - [`gate`]: whether the dependencies of the handler are available.
//! - [`pollers`]: the number of receives that run, and the number of messages they ask for.
//! - [`in_hand`]: the messages in flight, and the heartbeat that extends their leases.
//! - [`lanes`]: handling, in order within a group, and settling.
//! - [`batches`]: deletes and changes of visibility, ten per call.

mod batches;
mod gate;
mod in_hand;
mod lanes;
mod pollers;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use contract::cause::chain;
use contract::metric::Metric;
use contract::queue::Queue;
use contract::settlement::Settlement;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::inbox::{Delivery, Inbox};
use crate::{Breaker, Health, Metrics, Process};

use batches::Batches;
use gate::Gate;
use in_hand::InHand;
use lanes::{Groups, Line};
use pollers::{Pace, Polled};

/// Handles messages.
pub trait Handler: Send + Sync + 'static {
    /// Handles one delivery. The future can be dropped at any await (timeout, end of the drain),
    /// and the same message can be delivered again.
    ///
    /// The future runs in a span with `queue`, `message.id`, `attempt`, `trace.id` and an empty
    /// `order.id`. Messages that it sends continue the trace ([`crate::trace::current`]).
    fn handle(&self, delivery: &Delivery) -> impl Future<Output = Settlement> + Send;

    /// Returns the breakers of the dependencies that the handler needs. While one of them is open,
    /// the loop receives nothing, and makes received messages that were not started visible again.
    fn needs(&self) -> &[Breaker] {
        &[]
    }
}

tokio::task_local! {
    static ATTEMPT: u32;
}

/// Returns the number of the current delivery, from 1 on, or `None` outside of a handler and in
/// tasks that the handler spawns.
pub fn attempt() -> Option<u32> {
    ATTEMPT.try_with(|attempt| *attempt).ok()
}

/// Consumes a queue until shutdown. Then drains: finishes the started messages, makes the others
/// visible again, and returns within `process.drain`. Errors of the queue never end the loop;
/// readiness and the log show them.
///
/// At most `concurrency` messages are in flight, those that wait for their group included.
pub async fn consume<I: Inbox + 'static, H: Handler>(
    inbox: Arc<I>,
    queue: &'static Queue,
    concurrency: usize,
    handler: Arc<H>,
    process: Process,
) {
    tracing::info!(
        queue = queue.slug,
        concurrency,
        "Consuming `{}`",
        queue.slug
    );
    let drain = process.drain;
    let mut consumer = Consumer::start(inbox, queue, concurrency.max(1), handler, process);
    consumer.consume_until_shutdown().await;
    tracing::info!(
        queue = queue.slug,
        in_hand = consumer.line.in_hand.len(),
        "Draining `{}`",
        queue.slug
    );
    consumer
        .drain(Instant::now() + drain, SETTLING_MAX.min(drain / 4))
        .await;
}

/// Returns the name of a consumed queue in [`Health`].
pub fn dependency(queue: &Queue) -> String {
    format!("queue {}", queue.slug)
}

/// One consumer. Dropping it aborts its tasks.
struct Consumer<I, H> {
    health: Health,
    /// The name of the queue in [`Health`].
    dependency: String,
    /// One permit for each message that may be in flight.
    slots: Arc<Semaphore>,
    line: Arc<Line<I, H>>,
    pace: Pace,
    polls: JoinSet<Polled>,
    lanes: JoinSet<()>,
    heartbeat: Heartbeat,
    batching: JoinSet<()>,
}

impl<I: Inbox + 'static, H: Handler> Consumer<I, H> {
    fn start(
        inbox: Arc<I>,
        queue: &'static Queue,
        concurrency: usize,
        handler: Arc<H>,
        process: Process,
    ) -> Self {
        let Process {
            metrics,
            health,
            shutdown,
            ..
        } = process;
        let dependency = dependency(queue);
        health.expect(&dependency);
        let in_hand = Arc::new(InHand::new(queue));
        let heartbeat = Heartbeat::start(&in_hand, &inbox, &metrics);
        let (batches, batching) = Batches::start(inbox.clone(), queue, metrics.clone());
        let gate = Gate::new(handler.needs().to_vec(), concurrency);
        let line = Arc::new(Line {
            inbox,
            queue,
            handler,
            metrics,
            shutdown,
            in_hand,
            batches,
            gate,
            groups: Groups::default(),
        });
        Self {
            health,
            dependency,
            slots: Arc::new(Semaphore::new(concurrency)),
            line,
            pace: Pace::new(concurrency),
            polls: JoinSet::new(),
            lanes: JoinSet::new(),
            heartbeat,
            batching,
        }
    }

    async fn consume_until_shutdown(&mut self) {
        let line = self.line.clone();
        while !line.shutdown.is_cancelled() {
            while self.polls.len() < self.pace.pollers() {
                let poll = self.pace.next_poll();
                self.polls.spawn(poll.run(line.clone(), self.slots.clone()));
            }
            tokio::select! {
                () = line.shutdown.cancelled() => {}
                Some(ended) = self.lanes.join_next() => drop(unless_bug(ended)),
                Some(polled) = self.polls.join_next() => {
                    if let Some(polled) = unless_bug(polled) {
                        self.note(&polled);
                        self.dispatch(polled);
                    }
                }
            }
        }
        line.metrics.set(Metric::Pollers, &[line.queue.slug], 0.0);
    }

    /// Updates pace, metrics and readiness after a receive.
    fn note(&mut self, polled: &Polled) {
        let Line { queue, metrics, .. } = &*self.line;
        let (pace, dependency) = (&mut self.pace, &self.dependency);
        pace.note(polled, self.slots.available_permits());
        metrics.set(Metric::Pollers, &[queue.slug], pace.pollers() as f64);
        match &polled.answer {
            _ if polled.asked == 0 => {}
            Ok(deliveries) => {
                self.health.up(dependency);
                if deliveries.is_empty() {
                    metrics.count(Metric::EmptyReceives, &[queue.slug], 1);
                }
            }
            Err(error) => {
                tracing::warn!(queue = queue.slug, error = %chain(error), in_a_row = pace.errors(), "Cannot receive");
                if pace.errors() >= ERRORS_UNTIL_DOWN {
                    self.health.down(dependency, chain(error));
                }
            }
        }
    }

    fn dispatch(&mut self, polled: Polled) {
        if let Ok(deliveries) = polled.answer {
            let messages = self.line.take_in(deliveries, polled.slots);
            self.line.dispatch(messages, &mut self.lanes);
        }
    }

    /// Ends the consumer until `ends`. Handlers must end `settling` earlier; that time is for the
    /// deletes, and for messages that become visible again.
    async fn drain(mut self, ends: Instant, settling: Duration) {
        // Lanes finish started messages and hand back the others, those of the last polls included.
        let in_time = timeout_at(ends - settling, async {
            while let Some(polled) = self.polls.join_next().await {
                if let Some(polled) = unless_bug(polled) {
                    self.dispatch(polled);
                }
            }
            while let Some(ended) = self.lanes.join_next().await {
                unless_bug(ended);
            }
        })
        .await;
        let queue = self.line.queue;
        let settled = timeout_at(ends, async {
            self.polls.shutdown().await;
            self.lanes.shutdown().await;
            self.heartbeat.end().await;
            let unfinished = self.line.in_hand.let_go_of_all();
            if in_time.is_err() {
                tracing::warn!(
                    queue = queue.slug,
                    messages = unfinished.len(),
                    "The drain ran out of time; unfinished messages become visible again"
                );
            }
            for handle in unfinished {
                self.line.batches.hide(handle, Duration::ZERO).await;
            }
            // The batching tasks end when all senders are dropped and all entries are sent.
            drop(self.line);
            while self.batching.join_next().await.is_some() {}
        })
        .await;
        match settled {
            Ok(()) => tracing::info!(queue = queue.slug, "Drained `{}`", queue.slug),
            Err(_) => tracing::warn!(
                queue = queue.slug,
                "Not all messages were settled in time; they will be delivered again"
            ),
        }
    }
}

/// The number of consecutive failed receives after which the queue counts as down. Single failures
/// are normal.
const ERRORS_UNTIL_DOWN: u32 = 3;
/// The time at the end of a drain for the last deletes, and for messages that become visible again.
const SETTLING_MAX: Duration = Duration::from_secs(2);

/// The task of the heartbeat. The task ends between two calls, never within one.
struct Heartbeat {
    task: JoinSet<()>,
    ends: CancellationToken,
}

impl Heartbeat {
    fn start<I: Inbox + 'static>(in_hand: &Arc<InHand>, inbox: &Arc<I>, metrics: &Metrics) -> Self {
        let (mut task, ends) = (JoinSet::new(), CancellationToken::new());
        task.spawn(
            in_hand
                .clone()
                .keep(inbox.clone(), metrics.clone(), ends.clone()),
        );
        Self { task, ends }
    }

    async fn end(&mut self) {
        self.ends.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

/// Returns the result of a task, or logs its failure. Panics of handlers are caught in the lanes,
/// so a failure here is a bug of the loop.
fn unless_bug<T>(ended: Result<T, JoinError>) -> Option<T> {
    ended
        .inspect_err(|error| tracing::error!(error = %error, "A task of the consume loop failed"))
        .ok()
}
