//! Handling and settling. A lane is a message without a group, or the messages of one group in
//! their order.
//!
//! A received message is in one of these states:
//!
//! 1. In `Groups`, waiting for its turn behind other messages of its group. A group has an entry in
//!    the map exactly while a lane works on it, so `dispatch` starts a new lane only for a group
//!    without an entry. Lookup and insertion happen under one lock; with two locks, two lanes could
//!    start for one group and break its order.
//! 2. Taken by its lane (`Held`). Right before the handler is called, `may_start` checks that the
//!    process is not stopping, that no breaker is open, and that the lease has not ended. After the
//!    end of a lease another consumer may have the message.
//! 3. Being handled, with a time limit, and with panics caught.
//! 4. Settled: deleted, hidden for a back-off, or moved to the dead-letter queue.
//!
//! If a message must be retried, its lane is `Blocked`: all waiting messages of the group are
//! handed back and none is handled. The queue does not deliver them before the retried message,
//! because a FIFO queue keeps a group closed while one of its messages is in flight or hidden.
//! Without this, the messages behind a failed one would overtake it. `back_off` returns only after
//! the queue has confirmed the back-off; if the others were handed back earlier, the queue could
//! deliver them first.
//!
//! Before a message is deleted or hidden, `InHand::let_go` waits for a running renewal of its
//! lease. A renewal that arrives after the back-off would replace it by a whole lease.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::cause::chain;
use contract::metric::Metric;
use contract::queue::Queue;
use contract::retry::BETWEEN_ATTEMPTS;
use contract::settlement::Settlement;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field};

use super::batches::Batches;
use super::gate::Gate;
use super::in_hand::{InHand, Ticket};
use super::{ATTEMPT, Handler};
use crate::breaker::Flow;
use crate::inbox::{Delivery, Inbox};
use crate::trace::{self, Traceparent};
use crate::{Metrics, chance};

/// The longest back-off. SQS hides a message for 12 hours at most, counted from its receipt (Amazon
/// SQS Developer Guide, visibility timeout). One hour is for the time since the receipt.
const HIDE_MAX: Duration = Duration::from_secs(11 * 3600);
/// Time limit of a move to the dead-letter queue, so that a hanging call does not keep a slot. The
/// message is retried instead.
const PARK_MAX: Duration = Duration::from_secs(10);

/// The parts that handle and settle received messages.
pub(super) struct Line<I, H> {
    pub(super) inbox: Arc<I>,
    pub(super) queue: &'static Queue,
    pub(super) handler: Arc<H>,
    pub(super) metrics: Metrics,
    /// When canceled, no more messages are started.
    pub(super) shutdown: CancellationToken,
    pub(super) in_hand: Arc<InHand>,
    pub(super) batches: Batches,
    pub(super) gate: Gate,
    pub(super) groups: Groups,
}

/// The waiting messages by group. Each message holds a slot, so their number is bounded. A group
/// has an entry exactly while a lane works on it.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<String, VecDeque<Held>>>);

/// A message in flight.
pub(super) struct Held {
    delivery: Delivery,
    ticket: Ticket,
    _slot: OwnedSemaphorePermit,
}

/// Whether the lane may handle the next message of its group.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Free,
    /// The current message will be delivered again, before the ones behind it.
    Blocked,
}

impl<I: Inbox + 'static, H: Handler> Line<I, H> {
    /// Registers received messages for the heartbeat.
    pub(super) fn take_in(
        &self,
        deliveries: Vec<Delivery>,
        slots: Vec<OwnedSemaphorePermit>,
    ) -> Vec<Held> {
        debug_assert!(
            deliveries.len() <= slots.len(),
            "the inbox returned more messages than were asked for"
        );
        let hold = |(delivery, slot): (Delivery, _)| {
            let ticket = self.in_hand.take_in(&delivery.handle);
            Held {
                delivery,
                ticket,
                _slot: slot,
            }
        };
        deliveries.into_iter().zip(slots).map(hold).collect()
    }

    /// Starts a lane for each message without a group, and for each group without a lane. The lanes
    /// of one receive run concurrently in one task, which saves wake-ups of other threads.
    pub(super) fn dispatch(self: &Arc<Self>, messages: Vec<Held>, lanes: &mut JoinSet<()>) {
        let mut alone = Vec::new();
        let mut started = Vec::new();
        {
            // All messages are added before any lane starts: a lane that fails must find the rest
            // of its group here, to hand it back.
            let mut groups = self.groups.lock();
            for held in messages {
                let Some(group) = held.delivery.group.clone() else {
                    alone.push(held);
                    continue;
                };
                let waiting = groups.entry(group.clone()).or_insert_with(|| {
                    started.push(group);
                    VecDeque::new()
                });
                waiting.push_back(held);
            }
        }
        let mut together: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        together.extend(
            started
                .into_iter()
                .map(|group| self.clone().work_through(group).boxed()),
        );
        together.extend(alone.into_iter().map(|held| {
            let line = self.clone();
            async move { line.work_on_single(held).await }.boxed()
        }));
        if !together.is_empty() {
            lanes.spawn(together.collect());
        }
    }

    /// Makes messages that were not started visible again, in order.
    pub(super) async fn hand_back(&self, messages: Vec<Held>) {
        let mut underway = Vec::with_capacity(messages.len());
        for held in messages {
            // After the end of its lease, another consumer may have the message.
            let ours = self.in_hand.is_ours(held.ticket);
            self.in_hand.let_go(held.ticket).await;
            if ours {
                underway.push((
                    self.batches
                        .hide(held.delivery.handle.clone(), Duration::ZERO)
                        .await,
                    held,
                ));
            }
        }
        for (over, _held) in underway {
            let _ = over.await;
        }
    }

    async fn work_on_single(&self, held: Held) {
        if self.may_start(&held) {
            self.work_on(held).await;
        } else {
            self.hand_back(vec![held]).await;
        }
    }

    async fn work_through(self: Arc<Self>, group: String) {
        let mut next = Next::Free;
        while let Some(held) = self.groups.next(&group) {
            if next == Next::Free && self.may_start(&held) {
                next = self.work_on(held).await;
            } else {
                // The queue keeps the group closed while its first message is in flight or hidden,
                // so the messages that are handed back stay behind it.
                let mut rest = vec![held];
                rest.extend(self.groups.rest(&group));
                self.hand_back(rest).await;
                next = Next::Free;
            }
        }
    }

    /// Returns whether a message may be handled now. Another consumer may have a message whose
    /// lease has ended, and while a breaker is open the handler would fail.
    fn may_start(&self, held: &Held) -> bool {
        !self.shutdown.is_cancelled()
            && self.gate.flow() != Flow::Nothing
            && self.in_hand.is_ours(held.ticket)
    }

    async fn work_on(&self, held: Held) -> Next {
        let delivery = &held.delivery;
        let traceparent = Traceparent::continuing(delivery.traceparent.as_deref());
        let span = tracing::info_span!(
            "message",
            queue = self.queue.slug,
            message.id = delivery.message_id,
            attempt = delivery.attempt,
            trace.id = traceparent.trace_id(),
            order.id = field::Empty,
        );
        async {
            let settlement = self.handle(delivery, traceparent).await;
            self.settle(&held, settlement).await
        }
        .instrument(span)
        .await
    }

    async fn handle(&self, delivery: &Delivery, traceparent: Traceparent) -> Settlement {
        // A message that crashes its handler repeatedly is the cause, unless a dependency is down.
        let crashed = |reason: String| match delivery.attempt {
            attempt if attempt >= self.queue.crashes_max && self.gate.flow() == Flow::All => {
                Settlement::Park {
                    reason: format!("gave up after {attempt} deliveries: {reason}"),
                }
            }
            _ => Settlement::Retry {
                reason,
                after: None,
            },
        };
        let started = Instant::now();
        let handling = trace::scope(traceparent, async { self.handler.handle(delivery).await });
        let handling = ATTEMPT.scope(delivery.attempt, handling);
        // Unwind safety: after a panic the future is dropped. State that handlers share is behind
        // locks, which are poisoned, or in transactions, which are rolled back.
        let settlement = match timeout(
            self.queue.handler_timeout,
            AssertUnwindSafe(handling).catch_unwind(),
        )
        .await
        {
            Ok(Ok(settlement)) => settlement,
            Ok(Err(panic)) => crashed(format!("the handler panicked: {}", panic_message(&*panic))),
            Err(_) => crashed(format!("no result within {:?}", self.queue.handler_timeout)),
        };
        self.metrics.observe(
            Metric::HandlerLatency,
            &[self.queue.slug],
            started.elapsed().as_secs_f64(),
        );
        settlement
    }

    async fn settle(&self, held: &Held, settlement: Settlement) -> Next {
        let attempt = held.delivery.attempt;
        match settlement {
            Settlement::Done => {
                tracing::debug!("Done");
                self.count("done");
                self.delete(held).await;
                Next::Free
            }
            // After the last delivery the queue would move the message itself, without a reason.
            Settlement::Retry { reason, .. } if attempt >= self.queue.deliveries_max => {
                self.park(
                    held,
                    &format!("gave up after {attempt} deliveries: {reason}"),
                )
                .await
            }
            Settlement::Retry { reason, after } => {
                self.back_off(held, &reason, after).await;
                Next::Blocked
            }
            Settlement::Park { reason } => self.park(held, &reason).await,
        }
    }

    async fn park(&self, held: &Held, reason: &str) -> Next {
        let failed = match timeout(PARK_MAX, self.inbox.park(&held.delivery, reason)).await {
            Ok(Ok(())) => {
                // The saved query `parked messages` filters by this text.
                tracing::error!(reason, "Parked");
                self.count("park");
                // A crash before the delete causes two dead letters; the other order would lose the
                // message.
                self.delete(held).await;
                return Next::Free;
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {PARK_MAX:?}"),
        };
        self.back_off(
            held,
            &format!("cannot move to the dead-letter queue ({failed}): {reason}"),
            None,
        )
        .await;
        Next::Blocked
    }

    async fn delete(&self, held: &Held) {
        let handle = self.in_hand.let_go(held.ticket).await;
        self.batches
            .delete(handle.unwrap_or_else(|| held.delivery.handle.clone()))
            .await;
    }

    /// Hides a message until its next attempt. Returns when the queue has confirmed it, because
    /// only then may the other messages of the group be handed back.
    async fn back_off(&self, held: &Held, reason: &str, after: Option<Duration>) {
        let delay = after
            .unwrap_or_else(|| BETWEEN_ATTEMPTS.delay(held.delivery.attempt, chance::fraction()));
        let delay = delay.min(HIDE_MAX);
        tracing::warn!(
            reason,
            delay_ms = delay.as_millis() as u64,
            "The message will be retried"
        );
        self.count("retry");
        self.in_hand.let_go(held.ticket).await;
        let _ = self
            .batches
            .hide(held.delivery.handle.clone(), delay)
            .await
            .await;
    }

    fn count(&self, outcome: &str) {
        self.metrics
            .count(Metric::MessagesHandled, &[self.queue.slug, outcome], 1);
    }
}

impl Groups {
    /// Returns the next message of the group, or removes the group and returns `None`, which ends
    /// its lane.
    fn next(&self, group: &str) -> Option<Held> {
        let mut groups = self.lock();
        let next = groups.get_mut(group).and_then(VecDeque::pop_front);
        if next.is_none() {
            groups.remove(group);
        }
        next
    }

    fn rest(&self, group: &str) -> VecDeque<Held> {
        self.lock()
            .get_mut(group)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
