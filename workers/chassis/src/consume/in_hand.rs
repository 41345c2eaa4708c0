//! The messages in flight, started or waiting, and the heartbeat that extends their leases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::cause::chain;
use contract::metric::Metric;
use contract::queue::{BATCH_MAX, Queue};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::Metrics;
use crate::inbox::{EntryError, Inbox};

/// A lease is renewed after `1 / RENEW_AFTER` of its length, and the heartbeat looks for due leases
/// every `1 / LOOK_EVERY` of it. A message that is settled quickly therefore needs no call, and a
/// failed renewal is retried three times before the lease ends.
const RENEW_AFTER: u32 = 3;
const LOOK_EVERY: u32 = 6;

/// The messages in flight. The slots of the consumer bound their number.
pub(super) struct InHand {
    queue: &'static Queue,
    messages: Mutex<Messages>,
    /// Notified after each renewal.
    renewed: Notify,
}

#[derive(Default)]
struct Messages {
    next: u64,
    /// The messages in the order in which they were received.
    by_ticket: BTreeMap<Ticket, Leased>,
}

/// Identifies a message in flight. Larger tickets were received later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

struct Leased {
    handle: String,
    ends: Instant,
    /// Whether a renewal is running.
    renewing: bool,
}

impl InHand {
    pub(super) fn new(queue: &'static Queue) -> Self {
        Self {
            queue,
            messages: Mutex::default(),
            renewed: Notify::new(),
        }
    }

    /// Adds a received message.
    pub(super) fn take_in(&self, handle: &str) -> Ticket {
        let leased = Leased {
            handle: handle.to_owned(),
            ends: Instant::now() + self.queue.lease,
            renewing: false,
        };
        let mut messages = self.messages();
        let ticket = Ticket(messages.next);
        messages.next += 1;
        messages.by_ticket.insert(ticket, leased);
        ticket
    }

    /// Returns whether the message is still hidden from other consumers.
    pub(super) fn is_ours(&self, ticket: Ticket) -> bool {
        self.messages()
            .by_ticket
            .get(&ticket)
            .is_some_and(|leased| Instant::now() < leased.ends)
    }

    pub(super) fn len(&self) -> usize {
        self.messages().by_ticket.len()
    }

    /// Removes a message before it is deleted or hidden. Afterwards no renewal of the message runs
    /// or starts: a renewal after a back-off would undo it, and a renewal after the delete would
    /// fail. Returns the handle if the lease had not ended.
    pub(super) async fn let_go(&self, ticket: Ticket) -> Option<String> {
        loop {
            // Registered before the state is read, so that the end of a renewal is not missed.
            let renewed = self.renewed.notified();
            {
                let mut messages = self.messages();
                if !messages
                    .by_ticket
                    .get(&ticket)
                    .is_some_and(|leased| leased.renewing)
                {
                    return messages
                        .by_ticket
                        .remove(&ticket)
                        .map(|leased| leased.handle);
                }
            }
            renewed.await;
        }
    }

    /// Removes all messages and returns their handles in the order in which they were received. The
    /// heartbeat must have ended.
    pub(super) fn let_go_of_all(&self) -> Vec<String> {
        std::mem::take(&mut self.messages().by_ticket)
            .into_values()
            .map(|leased| leased.handle)
            .collect()
    }

    /// Runs the heartbeat for all messages until `ends` is canceled.
    pub(super) async fn keep<I: Inbox>(
        self: Arc<Self>,
        inbox: Arc<I>,
        metrics: Metrics,
        ends: CancellationToken,
    ) {
        let mut looks = interval(self.queue.lease / LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while ends.run_until_cancelled(looks.tick()).await.is_some() {
            let due: Vec<_> = self.due();
            for batch in due.chunks(BATCH_MAX) {
                // Messages may have been settled during the renewal of the previous batch.
                let batch = self.begin_renewal(batch);
                if !batch.is_empty() && !ends.is_cancelled() {
                    self.renew(&*inbox, &metrics, &batch).await;
                }
                self.end_renewal(&batch);
            }
        }
    }

    fn due(&self) -> Vec<Ticket> {
        let renew_before = Instant::now() + self.queue.lease * (RENEW_AFTER - 1) / RENEW_AFTER;
        let messages = self.messages();
        messages
            .by_ticket
            .iter()
            .filter(|(_, leased)| leased.ends <= renew_before)
            .map(|(ticket, _)| *ticket)
            .collect()
    }

    fn begin_renewal(&self, tickets: &[Ticket]) -> Vec<(Ticket, String)> {
        let mut messages = self.messages();
        let mut begin = |ticket: &Ticket| {
            let leased = messages.by_ticket.get_mut(ticket)?;
            leased.renewing = true;
            Some((*ticket, leased.handle.clone()))
        };
        tickets.iter().filter_map(&mut begin).collect()
    }

    async fn renew(&self, inbox: &impl Inbox, metrics: &Metrics, batch: &[(Ticket, String)]) {
        let lease = self.queue.lease;
        let entries: Vec<_> = batch
            .iter()
            .map(|(_, handle)| (handle.clone(), lease))
            .collect();
        let asked = Instant::now();
        // The time limit is the pause until the next look, so a hanging call does not block a
        // retry.
        let results = match timeout(lease / LOOK_EVERY, inbox.hide(&entries)).await {
            Ok(Ok(results)) => results,
            Ok(Err(error)) => {
                tracing::warn!(queue = self.queue.slug, messages = batch.len(), error = %chain(&error), "Cannot renew leases");
                return;
            }
            Err(_) => {
                tracing::warn!(
                    queue = self.queue.slug,
                    messages = batch.len(),
                    "The renewal of leases timed out"
                );
                return;
            }
        };
        for ((ticket, _), result) in batch.iter().zip(results) {
            let mut messages = self.messages();
            let Some(leased) = messages.by_ticket.get_mut(ticket) else {
                continue;
            };
            match result {
                Ok(()) => leased.ends = asked + lease,
                Err(EntryError::HandleExpired) => {
                    // Another consumer has or will get the message; a renewal would hide it from
                    // them.
                    messages.by_ticket.remove(ticket);
                    metrics.count(Metric::ExpiredHandles, &[self.queue.slug], 1);
                }
                Err(EntryError::Failed(reason)) => {
                    tracing::warn!(queue = self.queue.slug, reason = %chain(&reason), "A lease was not renewed");
                }
            }
        }
    }

    fn end_renewal(&self, batch: &[(Ticket, String)]) {
        let mut messages = self.messages();
        for (ticket, _) in batch {
            if let Some(leased) = messages.by_ticket.get_mut(ticket) {
                leased.renewing = false;
            }
        }
        drop(messages);
        self.renewed.notify_waiters();
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
