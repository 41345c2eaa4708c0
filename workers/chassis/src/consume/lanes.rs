//! Handling and settling. A lane is a message without a group, or the messages of one group in
//! their order.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// SQS hides a message for 12 hours at most, counted from its receipt; an hour less for what has
/// passed of it.
const HIDE_MAX: Duration = Duration::from_secs(11 * 3600);
/// A parking queue that does not answer must not hold a slot for ever; the message is tried again
/// instead.
const PARK_MAX: Duration = Duration::from_secs(10);

/// Everything between a received message and its settlement.
pub(super) struct Line<I, H> {
    pub(super) inbox: Arc<I>,
    pub(super) queue: &'static Queue,
    pub(super) handler: Arc<H>,
    pub(super) metrics: Metrics,
    /// Nothing more is started once it is cancelled.
    pub(super) shutdown: CancellationToken,
    pub(super) in_hand: Arc<InHand>,
    pub(super) batches: Batches,
    pub(super) gate: Gate,
    pub(super) groups: Groups,
}

/// The messages that wait their turn, by group; bounded by the slots, of which each message holds
/// one. A group has an entry exactly while a lane works on it.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<String, VecDeque<Held>>>);

/// A message in hand.
pub(super) struct Held {
    delivery: Delivery,
    ticket: Ticket,
    _slot: OwnedSemaphorePermit,
}

/// Whether the next message of the group may be handled.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Free,
    /// The message comes again before those behind it.
    Blocked,
}

impl<I: Inbox + 'static, H: Handler> Line<I, H> {
    /// Puts received messages under the heartbeat.
    pub(super) fn take_in(
        &self,
        deliveries: Vec<Delivery>,
        slots: Vec<OwnedSemaphorePermit>,
    ) -> Vec<Held> {
        debug_assert!(
            deliveries.len() <= slots.len(),
            "the inbox gave more messages than it was asked for"
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

    /// Starts a lane for each message without a group, and for each group that has none. Lanes of
    /// one receive share a task: they run side by side, and waking one of them wakes no other
    /// thread.
    pub(super) fn dispatch(self: &Arc<Self>, messages: Vec<Held>, lanes: &mut JoinSet<()>) {
        let mut alone = Vec::new();
        let mut started = Vec::new();
        {
            // All at once: a lane that fails must find the rest of its group waiting, to hand it
            // back.
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

    /// Gives messages that were not started to whoever receives next, in order.
    pub(super) async fn hand_back(&self, messages: Vec<Held>) {
        let mut underway = Vec::with_capacity(messages.len());
        for held in messages {
            // One whose lease has ended is not ours to give.
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
                // The queue keeps the group closed while the message before is in flight or backs
                // off, so those behind it stay behind it; what has come meanwhile came in order.
                let mut rest = vec![held];
                rest.extend(self.groups.rest(&group));
                self.hand_back(rest).await;
                next = Next::Free;
            }
        }
    }

    /// A message whose lease ended while it waited is someone else's by now; one whose handler must
    /// fail is left for when it need not.
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
        // A message that kills its handler again and again is itself the fault.
        let crashed = |reason: String| match delivery.attempt {
            // While something that it needs is down, that is the fault.
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
        // A handler that panicked is not used again for this message; what it shares with others is
        // behind locks that are poisoned, or in transactions that are rolled back.
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
            // After the last delivery the queue itself would park the message, without a reason.
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
                tracing::error!(reason, "Parked");
                self.count("park");
                // Only now: a crash in between parks it twice, the other order would lose it.
                self.delete(held).await;
                return Next::Free;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PARK_MAX:?}"),
        };
        self.back_off(
            held,
            &format!("cannot park ({failed}), which was called for by: {reason}"),
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

    /// Returns when the queue knows: only then may others of the group be handed back.
    async fn back_off(&self, held: &Held, reason: &str, after: Option<Duration>) {
        let delay = after
            .unwrap_or_else(|| BETWEEN_ATTEMPTS.delay(held.delivery.attempt, chance::fraction()));
        let delay = delay.min(HIDE_MAX);
        tracing::warn!(
            reason,
            delay_ms = delay.as_millis() as u64,
            "Tries again later"
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
    /// The next message of the group, or the end of its lane.
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
