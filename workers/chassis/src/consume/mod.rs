//! The consume loop: takes messages from a queue, has them handled, and settles each one.
//!
//! What it promises its handlers: a message in hand stays hidden from others until it is settled;
//! messages of one group are handled in order, one at a time; a handler that hangs or panics costs
//! one retry and nothing else. What it asks of them: to be idempotent, since any message may come
//! again.
//!
//! - [`gate`]: whether what the handler needs is there.
//! - [`pollers`]: how many receives run, and for how many messages they ask.
//! - [`in_hand`]: the messages now in hand, and the heartbeat that keeps them ours.
//! - [`lanes`]: handling, in order within a group, and settling.
//! - [`batches`]: deletes and changes of visibility, ten a call.

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

/// Does the work that one message asks for.
pub trait Handler: Send + Sync + 'static {
    /// May be cancelled at any await (timeout, end of the drain), and may be called again for the
    /// same message.
    ///
    /// Runs in a span with `queue`, `message.id`, `attempt` and `trace.id`, and an `order.id` to be
    /// recorded; what it emits continues the message's trace ([`crate::trace::current`]).
    fn handle(&self, delivery: &Delivery) -> impl Future<Output = Settlement> + Send;

    /// What it cannot work without. While one of these is open nothing is received; what was
    /// received and not begun is handed back at once.
    fn needs(&self) -> &[Breaker] {
        &[]
    }
}

tokio::task_local! {
    static ATTEMPT: u32;
}

/// Which delivery is being handled, counted from 1; `None` outside of a handler, and in tasks that
/// it spawns.
pub fn attempt() -> Option<u32> {
    ATTEMPT.try_with(|attempt| *attempt).ok()
}

/// Consumes the queue until shutdown, then drains: finishes what was begun, hands back the rest,
/// and returns within `process.drain`. Errors of the queue never end it; they show in readiness and
/// in the logs.
///
/// At most `concurrency` messages are in hand at once, waiting ones included.
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
        in_hand = consumer.in_hand.len(),
        "Draining `{}`",
        queue.slug
    );
    consumer
        .drain(Instant::now() + drain, SETTLING_MAX.min(drain / 4))
        .await;
}

/// How [`Health`] knows a queue that is consumed.
pub fn dependency(queue: &Queue) -> String {
    format!("queue {}", queue.slug)
}

/// The tasks of one consumer; they are aborted when it is dropped.
struct Consumer<I, H> {
    inbox: Arc<I>,
    queue: &'static Queue,
    metrics: Metrics,
    health: Health,
    /// How [`Health`] knows the queue.
    dependency: String,
    shutdown: CancellationToken,
    /// One for each message that may be in hand.
    slots: Arc<Semaphore>,
    gate: Gate,
    in_hand: Arc<InHand>,
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
            inbox: inbox.clone(),
            queue,
            handler,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
            in_hand: in_hand.clone(),
            batches,
            gate: gate.clone(),
            groups: Groups::default(),
        });
        Self {
            inbox,
            queue,
            metrics,
            health,
            dependency,
            shutdown,
            slots: Arc::new(Semaphore::new(concurrency)),
            gate,
            in_hand,
            line,
            pace: Pace::new(concurrency),
            polls: JoinSet::new(),
            lanes: JoinSet::new(),
            heartbeat,
            batching,
        }
    }

    async fn consume_until_shutdown(&mut self) {
        while !self.shutdown.is_cancelled() {
            while self.polls.len() < self.pace.pollers() {
                let poll = self.pace.next_poll();
                let (slots, gate) = (self.slots.clone(), self.gate.clone());
                self.polls.spawn(poll.run(
                    self.inbox.clone(),
                    self.queue,
                    slots,
                    gate,
                    self.shutdown.clone(),
                ));
            }
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                Some(ended) = self.lanes.join_next() => drop(unless_bug(ended)),
                Some(polled) = self.polls.join_next() => {
                    if let Some(polled) = unless_bug(polled) {
                        self.note(&polled);
                        self.dispatch(polled);
                    }
                }
            }
        }
        self.metrics.set(Metric::Pollers, &[self.queue.slug], 0.0);
    }

    /// What a receive says about the queue.
    fn note(&mut self, polled: &Polled) {
        let Self {
            queue,
            pace,
            dependency,
            ..
        } = self;
        pace.note(polled, self.slots.available_permits());
        self.metrics
            .set(Metric::Pollers, &[queue.slug], pace.pollers() as f64);
        match &polled.answer {
            _ if polled.asked == 0 => {}
            Ok(deliveries) => {
                self.health.up(dependency);
                if deliveries.is_empty() {
                    self.metrics.count(Metric::EmptyReceives, &[queue.slug], 1);
                }
            }
            Err(error) => {
                tracing::warn!(queue = queue.slug, error = %error, in_a_row = pace.errors(), "Cannot receive");
                if pace.errors() >= ERRORS_UNTIL_DOWN {
                    self.health.down(dependency, error.to_string());
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

    /// Handlers end before the last of it, `settling`, which is for deletes and for handing back.
    async fn drain(mut self, ends: Instant, settling: Duration) {
        // Lanes finish what they have started and hand back the rest by themselves, that of the
        // last polls included.
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
        let queue = self.queue;
        let settled = timeout_at(ends, async {
            self.polls.shutdown().await;
            self.lanes.shutdown().await;
            self.heartbeat.end().await;
            let unfinished = self.in_hand.let_go_of_all();
            if in_time.is_err() {
                tracing::warn!(
                    queue = queue.slug,
                    messages = unfinished.len(),
                    "Out of time; handing back the rest"
                );
            }
            for handle in unfinished {
                self.line.batches.hide(handle, Duration::ZERO).await;
            }
            // Without senders, the batching tasks end after what they have.
            drop(self.line);
            while self.batching.join_next().await.is_some() {}
        })
        .await;
        match settled {
            Ok(()) => tracing::info!(queue = queue.slug, "Drained `{}`", queue.slug),
            Err(_) => tracing::warn!(
                queue = queue.slug,
                "Not all was settled in time; it will come again"
            ),
        }
    }
}

/// A single failed receive is everyday; after so many in a row the queue is out of reach.
const ERRORS_UNTIL_DOWN: u32 = 3;
/// Kept at the end of a drain for the last deletes, and to hand back what did not finish.
const SETTLING_MAX: Duration = Duration::from_secs(2);

/// The heartbeat's task; it ends between two calls, never within one.
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

/// Handlers' panics are caught where they are called; what fails here is ours.
fn unless_bug<T>(ended: Result<T, JoinError>) -> Option<T> {
    ended
        .inspect_err(|error| tracing::error!(error = %error, "A task of the consume loop failed"))
        .ok()
}
