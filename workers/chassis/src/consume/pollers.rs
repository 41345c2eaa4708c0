//! The number of receives that run at once. Every idle poller makes one billed long poll after the
//! other and finds nothing that a single poller would not find. So one poller runs, and others join
//! only while the queue has more messages than one poller can receive.

use std::sync::Arc;
use std::time::Duration;

use contract::cause::Cause;
use contract::queue::{BATCH_MAX, LONG_POLL};
use contract::retry::Backoff;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::lanes::Line;
use crate::chance;
use crate::inbox::{Delivery, Inbox, QueueError};

/// The pause after a failed receive: short enough to notice a recovery, long enough not to delay
/// it.
const AFTER_ERROR: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};
/// The pause after an empty response that came earlier than the long poll allows. Without the
/// pause, a queue that cannot long-poll would be polled in a busy loop.
const AFTER_HASTE: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_millis(500),
};
/// Time limit of a receive. A receive can hang longer than its wait (aws-sdk-rust issue 1094). The
/// messages of a canceled receive stay hidden for a lease, so the limit is generous.
const RECEIVE_MAX: Duration = LONG_POLL.saturating_add(Duration::from_secs(10));
/// The longest pause before a receive while messages arrive steadily. At 100 messages per second,
/// one receive and one delete then carry five or more messages instead of one, and both are billed
/// per call. The delay is too short to be noticed.
const GATHER_MAX: Duration = Duration::from_millis(75);
/// The time over which the rate of messages is averaged, so that two messages at once do not count
/// as a steady stream.
const RATE_OVER: Duration = Duration::from_secs(1);
/// The fewest messages that make a pause worthwhile. If fewer are expected, there is no pause.
const GATHERED_MIN: f64 = 3.0;
/// The average number of messages per receive below which one poller is enough.
const FILL_MIN: f64 = 5.0;
/// The weight of the newest receive in the average. About the last four receives count.
const FILL_WEIGHT: f64 = 0.25;

/// Decides the number of pollers and the pause before the next receive.
#[derive(Debug)]
pub(super) struct Pace {
    pollers: usize,
    pollers_max: usize,
    /// The number of free slots for which a receive does not wait for more.
    slots_enough: usize,
    /// Average number of messages per receive, scaled to a receive of [`BATCH_MAX`].
    fill: f64,
    /// Whether the last receive returned as many messages as it asked for.
    full: bool,
    /// Recent messages per second.
    rate: f64,
    /// The end of the last receive.
    noted: Option<Instant>,
    /// Consecutive failed receives.
    errors: u32,
    /// Consecutive empty responses that came too early.
    hasty: u32,
    /// Whether the queue has answered since the start or since the last error.
    answers: bool,
}

impl Pace {
    pub(super) fn new(concurrency: usize) -> Self {
        let pollers_max = concurrency.div_ceil(BATCH_MAX);
        let slots_enough = concurrency.min(BATCH_MAX);
        Self {
            pollers: 1,
            pollers_max,
            slots_enough,
            fill: 0.0,
            full: false,
            rate: 0.0,
            noted: None,
            errors: 0,
            hasty: 0,
            answers: false,
        }
    }

    pub(super) fn pollers(&self) -> usize {
        self.pollers
    }

    /// Returns the number of consecutive failed receives.
    pub(super) fn errors(&self) -> u32 {
        self.errors
    }

    pub(super) fn next_poll(&self) -> Poll {
        let delay = match (self.errors, self.hasty) {
            (0, 0) => self.gather(),
            (0, hasty) => AFTER_HASTE.delay(hasty, chance::fraction()),
            (errors, _) => AFTER_ERROR.delay(errors, chance::fraction()),
        };
        // The first receive, and the first after an error, does not wait, so that readiness is
        // known at once.
        let wait = if self.answers {
            LONG_POLL
        } else {
            Duration::ZERO
        };
        Poll {
            delay,
            wait,
            slots_enough: self.slots_enough,
        }
    }

    /// Returns the pause in which messages gather before the next receive. Zero after a full
    /// receive, because more messages are there.
    fn gather(&self) -> Duration {
        if self.rate * GATHER_MAX.as_secs_f64() < GATHERED_MIN || self.full {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(BATCH_MAX as f64 / self.rate).min(GATHER_MAX)
    }

    /// Updates the pace after a receive. `free` is the number of slots that are left.
    pub(super) fn note(&mut self, polled: &Polled, free: usize) {
        let received = match &polled.answer {
            // The poll was canceled before its receive started.
            _ if polled.asked == 0 => return,
            Err(_) => {
                self.errors = self.errors.saturating_add(1);
                self.answers = false;
                self.pollers = 1;
                return;
            }
            Ok(deliveries) => deliveries.len(),
        };
        self.errors = 0;
        self.answers = true;
        self.full = received == polled.asked;
        let now = Instant::now();
        let passed = self
            .noted
            .replace(now)
            .map_or(0.0, |before| (now - before).as_secs_f64());
        self.rate = self.rate * (-passed / RATE_OVER.as_secs_f64()).exp()
            + received as f64 / RATE_OVER.as_secs_f64();
        self.hasty = if received == 0 && polled.took < polled.wait / 2 {
            self.hasty.saturating_add(1)
        } else {
            0
        };
        let fill = received as f64 * BATCH_MAX as f64 / polled.asked as f64;
        self.fill += (fill - self.fill) * FILL_WEIGHT;
        if received == BATCH_MAX && free > 0 && self.pollers < self.pollers_max {
            self.pollers += 1;
            // The receive was full; older, emptier receives must not remove the new poller again.
            self.fill = BATCH_MAX as f64;
        } else if received == 0 || self.fill < FILL_MIN {
            self.pollers = 1;
        }
    }
}

/// A receive before it starts.
pub(super) struct Poll {
    delay: Duration,
    wait: Duration,
    slots_enough: usize,
}

/// The result of a receive.
pub(super) struct Polled {
    /// The number of messages asked for; 0 if the poll was canceled before its receive started.
    pub(super) asked: usize,
    pub(super) wait: Duration,
    pub(super) took: Duration,
    /// One slot for each message asked for.
    pub(super) slots: Vec<OwnedSemaphorePermit>,
    pub(super) answer: Result<Vec<Delivery>, QueueError>,
}

impl Poll {
    /// Waits for free slots and receives as many messages. The shutdown cancels the poll until the
    /// receive starts. A started receive is awaited, because its messages would otherwise stay
    /// hidden for a whole lease.
    pub(super) async fn run<I: Inbox, H>(
        self,
        line: Arc<Line<I, H>>,
        slots: Arc<Semaphore>,
    ) -> Polled {
        let wait = self.wait;
        let ready = async {
            sleep(self.delay).await;
            line.gate.slots(slots, self.slots_enough).await
        };
        let called_off = &line.shutdown;
        let slots = called_off
            .run_until_cancelled(ready)
            .await
            .unwrap_or_default();
        if slots.is_empty() || called_off.is_cancelled() {
            return Polled {
                asked: 0,
                wait,
                took: Duration::ZERO,
                slots: Vec::new(),
                answer: Ok(Vec::new()),
            };
        }
        let asked = slots.len();
        let started = Instant::now();
        let receiving = line.inbox.receive(asked, wait, line.queue.lease);
        let answer = match timeout(RECEIVE_MAX, receiving).await {
            Ok(answer) => answer,
            Err(_) => Err(QueueError(Cause::new(format!(
                "no answer to a receive within {RECEIVE_MAX:?}"
            )))),
        };
        Polled {
            asked,
            wait,
            took: started.elapsed(),
            slots,
            answer,
        }
    }
}
