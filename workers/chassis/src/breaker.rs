//! Circuit breakers: while a dependency fails, the process does not call it, except for single
//! probes that find out whether the dependency is back.
//!
//! A client reports the outcome of each call to the breaker of its dependency. Code that starts
//! work looks at [`Flow`] first. While the breaker is open (`Flow::Nothing`), a consumer receives
//! no message, because each failed delivery would count against the limit of the queue. While the
//! breaker is half-open (`Flow::One`), the consumer receives one message, and the outcome of its
//! calls closes or opens the breaker.
//!
//! No crate does this: breaker crates guard one call, and know no half-open flow that a consumer
//! can wait for.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::dependency::Dependency;
use contract::metric::Metric;
use contract::queue::LONG_POLL;
use contract::retry::{BETWEEN_ATTEMPTS, Backoff};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Health, Metrics, chance};

/// The number of consecutive failures that opens a breaker.
const FAILURES_IN_A_ROW: u32 = 5;
/// The percentage of failed calls within `WINDOW` that opens a breaker, from `CALLS_ENOUGH` calls
/// on.
const SHARE_PERCENT: u32 = 50;
const CALLS_ENOUGH: u32 = 20;
const WINDOW: Duration = Duration::from_secs(30);
/// The pause between two probes. The jitter keeps the tasks of a role from probing at the same
/// time.
const BETWEEN_PROBES: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(10),
};
/// Time limit of a probe. A probe without an answer counts as failed.
const PROBE_WITHIN: Duration = Duration::from_secs(3);
/// The promised time from the end of a fault to recovery (`docs/interfaces.md`).
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);

// The longest recovery: the longest pause, a probe, a poll, and the longest back-off of a message.
const _: () = assert!(
    BETWEEN_PROBES.cap.as_secs()
        + PROBE_WITHIN.as_secs()
        + LONG_POLL.as_secs()
        + BETWEEN_ATTEMPTS.cap.as_secs()
        < RECOVERED_WITHIN.as_secs(),
    "a breaker stays open for too long after the fault has ended"
);

/// The work on a dependency that may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// The breaker is open: no work.
    Nothing,
    /// The breaker is half-open: one piece of work at a time.
    One,
    /// The breaker is closed: no limit.
    All,
}

/// The effect of an open breaker on the readiness of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The process cannot work without the dependency: it is not ready.
    Hard,
    /// The process can do other work: `/readyz` shows the dependency as impaired, and the process
    /// stays ready.
    Soft,
}

/// The breaker of one dependency of this process. Cheap to clone.
#[derive(Clone)]
pub struct Breaker(Arc<Inner>);

struct Inner {
    dependency: Dependency,
    weight: Weight,
    health: Health,
    metrics: Metrics,
    state: Mutex<State>,
    /// Notified of every change of the state.
    changed: Notify,
}

struct State {
    /// Whether a background task probes the dependency while the breaker is open.
    probed: bool,
    at: At,
}

enum At {
    Closed(Window),
    Open {
        /// Failed attempts to close the breaker.
        tries: u32,
        /// The time from which on the breaker is half-open; `None` until a probe is answered.
        until: Option<Instant>,
    },
}

/// The calls that were reported in the current window of time.
struct Window {
    began: Instant,
    calls: u32,
    failures: u32,
    in_a_row: u32,
}

impl Window {
    fn new() -> Window {
        Window {
            began: Instant::now(),
            calls: 0,
            failures: 0,
            in_a_row: 0,
        }
    }

    fn note(&mut self, failed: bool) {
        if self.began.elapsed() > WINDOW {
            *self = Window {
                in_a_row: self.in_a_row,
                ..Window::new()
            };
        }
        self.calls = self.calls.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
        self.in_a_row = if failed {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
    }

    fn is_too_much(&self) -> bool {
        let share =
            u64::from(self.failures) * 100 >= u64::from(self.calls) * u64::from(SHARE_PERCENT);
        self.in_a_row >= FAILURES_IN_A_ROW || (self.calls >= CALLS_ENOUGH && share)
    }
}

impl Breaker {
    /// Creates a closed breaker, and sets its metric to 0.
    pub fn new(
        dependency: Dependency,
        weight: Weight,
        health: &Health,
        metrics: &Metrics,
    ) -> Breaker {
        metrics.set(Metric::BreakerOpen, &[dependency.code()], 0.0);
        Breaker(Arc::new(Inner {
            dependency,
            weight,
            health: health.clone(),
            metrics: metrics.clone(),
            state: Mutex::new(State {
                probed: false,
                at: At::Closed(Window::new()),
            }),
            changed: Notify::new(),
        }))
    }

    /// Returns the dependency.
    pub fn dependency(&self) -> Dependency {
        self.0.dependency
    }

    /// Records a call that the dependency answered, refusals included. Closes a half-open breaker.
    pub fn success(&self) {
        let mut state = self.state();
        let flow = state.flow();
        match &mut state.at {
            At::Closed(window) => window.note(false),
            // The call started before the breaker opened, so it says nothing about the dependency
            // now.
            At::Open { .. } if flow == Flow::Nothing => {}
            At::Open { .. } => {
                state.at = At::Closed(Window::new());
                drop(state);
                self.tell(None);
            }
        }
    }

    /// Records a call without an answer, or with a server error. Opens the breaker after too many
    /// failures, and again if it is half-open.
    pub fn failure(&self, why: &str) {
        let mut state = self.state();
        let flow = state.flow();
        let tries = match &mut state.at {
            At::Closed(window) => {
                window.note(true);
                if !window.is_too_much() {
                    return;
                }
                1
            }
            At::Open { .. } if flow == Flow::Nothing => return,
            At::Open { tries, .. } => tries.saturating_add(1),
        };
        state.open(tries);
        drop(state);
        self.tell(Some(why));
    }

    /// Returns the work that may start now.
    pub fn flow(&self) -> Flow {
        self.state().flow()
    }

    /// Returns the time until the next attempt while the breaker is open, at least one second, or
    /// `None` while calls may be made.
    pub fn refusal(&self) -> Option<Duration> {
        let state = self.state();
        let until = match (&state.at, state.flow()) {
            (At::Open { until, .. }, Flow::Nothing) => *until,
            _ => return None,
        };
        let left = until.map_or(BETWEEN_PROBES.cap, |until| {
            until.saturating_duration_since(Instant::now())
        });
        Some(left.max(Duration::from_secs(1)))
    }

    /// Waits until the flow differs from `flow`.
    pub async fn flows_otherwise_than(&self, flow: Flow) {
        self.until(|state| (state.flow() != flow).then_some(()))
            .await;
    }

    async fn until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        loop {
            // Registered before the state is read, so that no change in between is missed.
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let wakes = {
                let state = self.state();
                if let Some(found) = look(&state) {
                    return found;
                }
                state.changes_at()
            };
            match wakes {
                Some(at) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(at) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Starts a task that probes the dependency while the breaker is open. The breaker becomes
    /// half-open only after a successful probe, so no message is received only to find out.
    pub fn probe_with<F>(
        &self,
        shutdown: CancellationToken,
        probe: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = bool> + Send,
    {
        self.state().probed = true;
        let breaker = self.clone();
        tokio::spawn(async move {
            let probing = async {
                loop {
                    let tries = breaker.until(State::awaits_a_probe).await;
                    sleep(BETWEEN_PROBES.delay(tries, chance::fraction())).await;
                    let answered = timeout(PROBE_WITHIN, probe()).await.unwrap_or(false);
                    breaker.probed(answered);
                }
            };
            shutdown.run_until_cancelled(probing).await;
        });
    }

    fn probed(&self, answered: bool) {
        if let At::Open {
            tries,
            until: until @ None,
        } = &mut self.state().at
        {
            if answered {
                *until = Some(Instant::now());
            } else {
                *tries = tries.saturating_add(1);
            }
        }
        self.0.changed.notify_waiters();
    }

    /// Reports the new state in readiness and metrics: open if there is a reason, else closed.
    fn tell(&self, why: Option<&str>) {
        let Inner {
            health, metrics, ..
        } = &*self.0;
        let code = self.0.dependency.code();
        let name = format!("calls to {code}");
        let open = if why.is_some() { 1.0 } else { 0.0 };
        metrics.set(Metric::BreakerOpen, &[code], open);
        match (why, self.0.weight) {
            (None, _) => health.up(&name),
            (Some(why), Weight::Hard) => health.down(&name, why),
            (Some(why), Weight::Soft) => health.impaired(&name, why),
        }
        self.0.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn flow(&self) -> Flow {
        match self.at {
            At::Closed(_) => Flow::All,
            At::Open {
                until: Some(until), ..
            } if until <= Instant::now() => Flow::One,
            At::Open { .. } => Flow::Nothing,
        }
    }

    /// Returns the time at which an open breaker becomes half-open.
    fn changes_at(&self) -> Option<Instant> {
        match self.at {
            At::Open { until, .. } => until.filter(|until| *until > Instant::now()),
            At::Closed(_) => None,
        }
    }

    /// Returns the number of failed attempts while the breaker waits for a probe.
    fn awaits_a_probe(&self) -> Option<u32> {
        match self.at {
            At::Open { tries, until: None } => Some(tries),
            _ => None,
        }
    }

    fn open(&mut self, tries: u32) {
        let pause = BETWEEN_PROBES.delay(tries, chance::fraction());
        let until = (!self.probed).then(|| Instant::now() + pause);
        self.at = At::Open { tries, until };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Health, Metrics) {
        let (health, metrics) = (Health::new("test", "0"), Metrics::new());
        (
            Breaker::new(Dependency::Gateway, Weight::Hard, &health, &metrics),
            health,
            metrics,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn consecutive_failures_open_the_breaker_and_one_success_resets_their_count() {
        let (breaker, health, metrics) = breaker();
        for _ in 0..FAILURES_IN_A_ROW - 1 {
            breaker.failure("refused");
        }
        breaker.success();
        breaker.failure("refused");
        assert_eq!((breaker.flow(), breaker.refusal()), (Flow::All, None));
        for _ in 0..FAILURES_IN_A_ROW {
            breaker.failure("refused");
        }
        assert_eq!(breaker.flow(), Flow::Nothing);
        assert!(
            breaker
                .refusal()
                .is_some_and(|after| after <= BETWEEN_PROBES.cap)
        );
        assert!(!health.is_ready());
        assert!(
            metrics
                .render()
                .contains(r#"brewhaven_breaker_open{dependency="gateway"} 1"#),
            "{}",
            metrics.render()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_many_calls_failing_opens_the_breaker_and_a_few_do_not() {
        let (few, ..) = breaker();
        let (half, ..) = breaker();
        for call in 0..200 {
            if call % 10 == 0 {
                few.failure("unlucky")
            } else {
                few.success()
            }
            if call % 2 == 0 {
                half.failure("refused")
            } else {
                half.success()
            }
        }
        assert_eq!((few.flow(), half.flow()), (Flow::All, Flow::Nothing));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_before_the_window_do_not_count() {
        let (breaker, ..) = breaker();
        for _ in 0..9 {
            breaker.failure("refused");
            breaker.success();
        }
        sleep(WINDOW + Duration::from_secs(1)).await;
        breaker.failure("refused");
        breaker.success();
        assert_eq!(breaker.flow(), Flow::All);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_from_before_the_opening_is_ignored_and_the_trial_call_decides() {
        let (breaker, health, _) = breaker();
        (0..FAILURES_IN_A_ROW).for_each(|_| breaker.failure("refused"));
        breaker.success();
        assert_eq!(breaker.flow(), Flow::Nothing, "it was begun before");
        for _ in 0..20 {
            let left_alone = Instant::now();
            breaker.flows_otherwise_than(Flow::Nothing).await;
            assert!(left_alone.elapsed() <= BETWEEN_PROBES.cap);
            assert_eq!(breaker.flow(), Flow::One);
            breaker.failure("still refused");
            assert_eq!(breaker.flow(), Flow::Nothing);
        }
        breaker.flows_otherwise_than(Flow::Nothing).await;
        breaker.success();
        assert_eq!((breaker.flow(), health.is_ready()), (Flow::All, true));
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_probe_no_call_is_tried_before_the_probe_succeeds() {
        let (breaker, ..) = breaker();
        let back_at = Instant::now() + Duration::from_secs(600);
        let asked = Arc::new(Mutex::new(0));
        let count = asked.clone();
        breaker.probe_with(CancellationToken::new(), move || {
            *count.lock().expect("not poisoned") += 1;
            async move { Instant::now() >= back_at }
        });
        (0..FAILURES_IN_A_ROW).for_each(|_| breaker.failure("refused"));
        breaker.flows_otherwise_than(Flow::Nothing).await;
        let late = Instant::now().saturating_duration_since(back_at);
        assert!(
            Instant::now() >= back_at && late <= BETWEEN_PROBES.cap + PROBE_WITHIN,
            "{late:?}"
        );
        let asked = *asked.lock().expect("not poisoned");
        assert!((60..=400).contains(&asked), "{asked} probes in ten minutes");
        breaker.success();
        assert_eq!(breaker.flow(), Flow::All);
    }

    #[tokio::test(start_paused = true)]
    async fn a_soft_dependency_that_is_down_keeps_the_process_ready() {
        let (health, metrics) = (Health::new("test", "0"), Metrics::new());
        let breaker = Breaker::new(Dependency::Stock, Weight::Soft, &health, &metrics);
        (0..FAILURES_IN_A_ROW).for_each(|_| breaker.failure("throttled"));
        assert!(
            health.is_ready() && health.describe().to_string().contains("throttled"),
            "{}",
            health.describe()
        );
    }
}
