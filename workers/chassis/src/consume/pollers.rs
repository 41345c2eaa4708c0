//! How many receives run at once. Each idle poller costs money (one long poll after another) and
//! returns what one could have returned alone: so one polls, and others join only while there is
//! more than one can carry.

use std::sync::Arc;
use std::time::Duration;

use contract::queue::{BATCH_MAX, LONG_POLL, Queue};
use contract::retry::Backoff;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use crate::chance;
use crate::inbox::{Delivery, Inbox, QueueError};

/// After a failed receive: soon enough to notice a recovery, seldom enough not to hinder it.
const AFTER_ERROR: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};
/// After an empty answer that did not wait as asked: a queue that cannot long-poll must not be spun
/// on.
const AFTER_HASTE: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_millis(500),
};
/// A receive may hang past its wait (aws-sdk-rust #1094). Giving it up can strand messages for a
/// lease, so not early.
const RECEIVE_MAX: Duration = LONG_POLL.saturating_add(Duration::from_secs(10));
/// Messages that come steadily and fast are left to gather for so long at most: at 100 a second,
/// one receive and one delete then carry five and more instead of one. Nobody notices, and both are
/// paid for by the call.
const GATHER_MAX: Duration = Duration::from_millis(75);
/// The time that the rate of messages is an average of: two that come together are no stream.
const RATE_OVER: Duration = Duration::from_secs(1);
/// Fewer than so many would gather in that time: then nothing is gained, and a message is taken in
/// as it comes.
const GATHERED_MIN: f64 = 3.0;
/// Below this average of messages a full receive, one poller is enough.
const FILL_MIN: f64 = 5.0;
/// Weight of the newest receive in the average: about the last four count.
const FILL_WEIGHT: f64 = 0.25;

/// Decides how many pollers there are and how long the next one waits before it asks.
#[derive(Debug)]
pub(super) struct Pace {
    pollers: usize,
    pollers_max: usize,
    /// Free slots that are worth a receive.
    slots_enough: usize,
    /// Average messages a receive, as if it had asked for [`BATCH_MAX`].
    fill: f64,
    /// Whether the last receive gave all that it asked for.
    full: bool,
    /// Messages a second, lately.
    rate: f64,
    /// When the last receive had ended.
    noted: Option<Instant>,
    /// In a row.
    errors: u32,
    /// Empty answers that came too soon, in a row.
    hasty: u32,
    /// Whether the queue has answered since the start or the last error.
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

    /// Receives that failed in a row.
    pub(super) fn errors(&self) -> u32 {
        self.errors
    }

    pub(super) fn next_poll(&self) -> Poll {
        let delay = match (self.errors, self.hasty) {
            (0, 0) => self.gather(),
            (0, hasty) => AFTER_HASTE.delay(hasty, chance::fraction()),
            (errors, _) => AFTER_ERROR.delay(errors, chance::fraction()),
        };
        // The first receive, and the first after an error, answers at once: so readiness is known
        // without a long wait.
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

    /// How long to let messages gather before the next receive. Not at all where the last one was
    /// full: more is there.
    fn gather(&self) -> Duration {
        if self.rate * GATHER_MAX.as_secs_f64() < GATHERED_MIN || self.full {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(BATCH_MAX as f64 / self.rate).min(GATHER_MAX)
    }

    /// Takes in how a receive went; `free` slots are left now.
    pub(super) fn note(&mut self, polled: &Polled, free: usize) {
        let Polled {
            asked,
            wait,
            took,
            answer,
            ..
        } = polled;
        let received = match answer {
            // It was called off before it asked.
            _ if *asked == 0 => return,
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
        self.full = received == *asked;
        let now = Instant::now();
        let passed = self
            .noted
            .replace(now)
            .map_or(0.0, |before| (now - before).as_secs_f64());
        self.rate = self.rate * (-passed / RATE_OVER.as_secs_f64()).exp()
            + received as f64 / RATE_OVER.as_secs_f64();
        self.hasty = if received == 0 && *took < *wait / 2 {
            self.hasty.saturating_add(1)
        } else {
            0
        };
        let fill = received as f64 * BATCH_MAX as f64 / *asked as f64;
        self.fill += (fill - self.fill) * FILL_WEIGHT;
        if received == BATCH_MAX && free > 0 && self.pollers < self.pollers_max {
            self.pollers += 1;
            // It is full now; what was before must not take the new poller away again.
            self.fill = BATCH_MAX as f64;
        } else if received == 0 || self.fill < FILL_MIN {
            self.pollers = 1;
        }
    }
}

/// One receive, about to be made.
pub(super) struct Poll {
    delay: Duration,
    wait: Duration,
    slots_enough: usize,
}

/// How it went.
pub(super) struct Polled {
    /// 0 if it was called off before it asked.
    pub(super) asked: usize,
    pub(super) wait: Duration,
    pub(super) took: Duration,
    /// One for each message asked for.
    pub(super) slots: Vec<OwnedSemaphorePermit>,
    pub(super) answer: Result<Vec<Delivery>, QueueError>,
}

impl Poll {
    /// Waits for free slots and asks for as many messages. Until it asks it can be called off; then
    /// it is waited for, since messages that nobody takes in are hidden for a whole lease.
    pub(super) async fn run<I: Inbox>(
        self,
        inbox: Arc<I>,
        queue: &'static Queue,
        slots: Arc<Semaphore>,
        gate: Gate,
        called_off: CancellationToken,
    ) -> Polled {
        let Poll {
            delay,
            wait,
            slots_enough,
        } = self;
        let ready = async {
            sleep(delay).await;
            gate.slots(slots, slots_enough).await
        };
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
        let answer = match timeout(RECEIVE_MAX, inbox.receive(asked, wait, queue.lease)).await {
            Ok(answer) => answer,
            Err(_) => Err(QueueError(format!(
                "no answer to a receive within {RECEIVE_MAX:?}"
            ))),
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
