//! The simulated clock, the random choices and the scheduler.
//!
//! Everything runs on one thread. The clock advances only if no task can run. A seed determines
//! which task runs next, how each call ends, and which task dies at which point. A seed therefore
//! always produces the same run.
//!
//! Every call of a port waits twice: before its effect, and before its reply. A task that is
//! dropped at the first wait crashed before the effect, and at the second wait after the effect.
//! Use cases have no other waits, so these two cover every crash.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use app::ports::{Backend, Source, StoreError};
use domain::Timestamp;
use domain::ids::OrderId;
use faults::Dice;
use futures::future::{Either, select};
use uuid::Uuid;

use super::hits::{Hit, Hits};
use super::mistake::Mistake;
use super::plan::Plan;
use super::port::Port;
use super::task::Who;
use super::trace::Trace;

/// Start of every run in seconds since 1970: 2026-03-01 08:00 UTC.
const OPENING: i64 = 1_772_352_000;

/// How a call failed. Only the simulation can distinguish the two cases, and not the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The call had no effect.
    Before,
    /// The call had its effect, but the reply was lost.
    After,
}

impl Lost {
    /// Returns the error that the caller sees.
    pub fn unavailable(self, backend: Backend) -> StoreError {
        StoreError::new(backend, "the simulation says so")
    }
}

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The invariant's number, such as `I7`; see `docs/proofs.md`.
    pub invariant: &'static str,
    pub what: String,
    pub order: Option<OrderId>,
}

/// The state that all parts of a run share.
pub struct Engine {
    pub plan: Plan,
    pub mistake: Option<Mistake>,
    core: Mutex<Core>,
    ready: Arc<Ready>,
    storm: AtomicBool,
}

struct Core {
    now_ms: u64,
    dice: Dice,
    timers: BTreeMap<(u64, u64), Waker>,
    timers_set: u64,
    /// For each task, how many milliseconds its clock is fast (positive) or slow (negative).
    skews: Vec<i64>,
    hits: Hits,
    trace: Trace,
    violations: Vec<Violation>,
}

#[derive(Default)]
struct Ready(Mutex<Vec<Who>>);

struct TaskWaker {
    who: Who,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.who) {
            ready.push(self.who);
        }
    }
}

impl Engine {
    /// Creates the engine of a run.
    pub fn new(plan: Plan, mistake: Option<Mistake>) -> Engine {
        let core = Core {
            now_ms: 0,
            dice: Dice::of(plan.seed),
            timers: BTreeMap::new(),
            timers_set: 0,
            skews: Vec::new(),
            hits: Hits::default(),
            trace: Trace::default(),
            violations: Vec::new(),
        };
        Engine {
            plan,
            mistake,
            core: Mutex::new(core),
            ready: Arc::default(),
            storm: AtomicBool::new(true),
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the simulated time since the start in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.core().now_ms
    }

    /// Returns the correct time, whatever the clocks of processes show.
    pub fn now(&self) -> Timestamp {
        at(self.core().now_ms as i64)
    }

    /// Draws random numbers.
    pub fn dice<T>(&self, throw: impl FnOnce(&mut Dice) -> T) -> T {
        throw(&mut self.core().dice)
    }

    /// Counts a hit.
    pub fn hit(&self, hit: Hit) {
        self.core().hits.count(hit);
    }

    /// Returns the hits so far.
    pub fn hits(&self) -> Hits {
        self.core().hits.clone()
    }

    /// Reads the trace.
    pub fn trace<T>(&self, read: impl FnOnce(&Trace) -> T) -> T {
        read(&self.core().trace)
    }

    /// Adds an event to the trace.
    pub fn note(
        &self,
        who: Who,
        what: &'static str,
        outcome: &'static str,
        order: Option<OrderId>,
    ) {
        let mut core = self.core();
        let at = core.now_ms;
        core.trace.add(at, who, what, outcome, order);
    }

    /// Records a violation.
    pub fn violate(
        &self,
        invariant: &'static str,
        what: impl fmt::Display,
        order: Option<OrderId>,
    ) {
        self.core().violations.push(Violation {
            invariant,
            what: what.to_string(),
            order,
        });
    }

    /// Returns the violations so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.core().violations.clone()
    }

    /// Returns whether a mistake is planted.
    pub fn is_mistaken(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Returns whether faults still occur.
    pub fn storms(&self) -> bool {
        self.storm.load(Ordering::Relaxed)
    }

    /// Ends all faults and corrects all clocks.
    pub fn calm(&self) {
        self.storm.store(false, Ordering::Relaxed);
        self.core().skews.iter_mut().for_each(|skew| *skew = 0);
    }

    /// Returns true with a probability of `permille` in 1000 while faults occur, and counts the
    /// hit.
    pub fn strikes(&self, permille: u32, hit: Hit) -> bool {
        if !self.storms() {
            return false;
        }
        let mut core = self.core();
        let struck = core.dice.permille(permille);
        if struck {
            core.hits.count(hit);
        }
        struck
    }

    /// Sets how many milliseconds a task's clock is fast.
    pub fn skew(&self, who: Who, ms: i64) {
        if let Some(skew) = self.core().skews.get_mut(who) {
            *skew = ms;
        }
    }

    /// Returns a new UUIDv7 with the simulated time.
    pub fn uuid(&self) -> Uuid {
        let mut core = self.core();
        let at = (OPENING as u128) * 1_000 + u128::from(core.now_ms);
        let (high, low) = (core.dice.throw(), core.dice.throw());
        let (twelve_bits, rest) = (u128::from(high & 0xfff), u128::from(low >> 2));
        Uuid::from_u128((at << 80) | (7 << 76) | (twelve_bits << 64) | (2 << 62) | rest)
    }

    /// Waits for `ms` simulated milliseconds.
    pub fn sleep(&self, ms: u64) -> Sleep<'_> {
        Sleep {
            engine: self,
            at_ms: self.now_ms() + ms,
            registered: false,
        }
    }

    /// Returns the future's result, or `None` if it takes longer than `ms`.
    pub async fn within<F: Future>(&self, ms: u64, future: F) -> Option<F::Output> {
        match select(pin!(future), pin!(self.sleep(ms))).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    /// Waits until the signal's count differs from `seen`, or until `ms` have passed.
    pub async fn wait(&self, signal: &Signal, seen: u64, ms: u64) {
        let mut sleep = pin!(self.sleep(ms));
        poll_fn(|context| {
            if signal.count() != seen {
                return Poll::Ready(());
            }
            signal.register(context.waker());
            sleep.as_mut().poll(context)
        })
        .await;
    }

    /// Makes one call of a port: waits, has the effect, waits for the reply. The call can fail
    /// before the effect, or lose its reply.
    ///
    /// # Errors
    /// Returns the kind of failure, which the caller must not use to decide anything.
    pub async fn call<T>(
        &self,
        who: Who,
        port: Port,
        what: &'static str,
        order: Option<OrderId>,
        effect: impl FnOnce() -> T,
    ) -> Result<T, Lost> {
        self.sleep(self.latency()).await;
        if self.is_out(port) || self.strikes(self.plan.failure, Hit::Failure) {
            self.note(who, what, "failed before", order);
            return Err(Lost::Before);
        }
        let result = effect();
        self.note(who, what, "done", order);
        self.sleep(self.latency()).await;
        if self.strikes(self.plan.lost_reply, Hit::LostReply) {
            self.note(who, what, "reply lost", order);
            return Err(Lost::After);
        }
        Ok(result)
    }

    fn latency(&self) -> u64 {
        if self.strikes(self.plan.slow, Hit::SlowCall) {
            self.dice(|dice| dice.between(2_000, 25_000))
        } else {
            self.dice(|dice| dice.between(1, 15))
        }
    }

    fn is_out(&self, port: Port) -> bool {
        let now = self.now_ms();
        let out = self.storms()
            && self
                .plan
                .outage
                .is_some_and(|(of, from, to)| of == port && (from..to).contains(&now));
        if out {
            self.hit(Hit::Outage);
        }
        out
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + time::Duration::seconds(OPENING) + time::Duration::milliseconds(ms)
}

/// A future that waits for a simulated time.
pub struct Sleep<'a> {
    engine: &'a Engine,
    at_ms: u64,
    registered: bool,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut core = self.engine.core();
        if core.now_ms >= self.at_ms {
            return Poll::Ready(());
        }
        if !self.registered {
            core.timers_set += 1;
            let key = (self.at_ms, core.timers_set);
            core.timers.insert(key, context.waker().clone());
            drop(core);
            self.registered = true;
        }
        Poll::Pending
    }
}

/// An event that tasks can wait for. Counts how often it occurred.
#[derive(Default)]
pub struct Signal(Mutex<(u64, Vec<Waker>)>);

impl Signal {
    fn inner(&self) -> MutexGuard<'_, (u64, Vec<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how often the event occurred.
    pub fn count(&self) -> u64 {
        self.inner().0
    }

    /// Counts an occurrence and wakes the waiting tasks.
    pub fn raise(&self) {
        let mut inner = self.inner();
        inner.0 += 1;
        let wakers = std::mem::take(&mut inner.1);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn register(&self, waker: &Waker) {
        let mut inner = self.inner();
        if !inner.1.iter().any(|known| known.will_wake(waker)) {
            inner.1.push(waker.clone());
        }
    }
}

/// The clock and the source of ids for one process.
#[derive(Clone)]
pub struct SimSource {
    pub engine: Arc<Engine>,
    pub who: Who,
}

impl Source for SimSource {
    fn now(&self) -> Timestamp {
        let core = self.engine.core();
        at(core.now_ms as i64 + core.skews.get(self.who).copied().unwrap_or(0))
    }

    fn uuid(&self) -> Uuid {
        self.engine.uuid()
    }
}

/// Whether a task can crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mortality {
    /// Crashes at any wait and starts again.
    Mortal,
    Immortal,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Slot {
    start: Box<dyn Fn() -> Task>,
    running: Option<Task>,
    mortality: Mortality,
    ended: bool,
    waker: Waker,
}

/// All tasks of a run.
pub struct Scheduler {
    engine: Arc<Engine>,
    slots: Vec<Slot>,
}

impl Scheduler {
    /// Creates a scheduler without tasks.
    pub fn new(engine: Arc<Engine>) -> Scheduler {
        Scheduler {
            engine,
            slots: Vec::new(),
        }
    }

    /// Adds a task. `start` creates it, and creates it again after each crash.
    pub fn add(&mut self, mortality: Mortality, start: impl Fn(Who) -> Task + 'static) {
        let who = self.slots.len();
        let waker = Waker::from(Arc::new(TaskWaker {
            who,
            ready: Arc::clone(&self.engine.ready),
        }));
        waker.wake_by_ref();
        self.engine.core().skews.push(0);
        self.slots.push(Slot {
            start: Box::new(move || start(who)),
            running: None,
            mortality,
            ended: false,
            waker,
        });
    }

    /// Runs the tasks until the clock shows `until_ms`.
    pub fn run_until(&mut self, until_ms: u64) {
        loop {
            let next = {
                let mut ready = self
                    .engine
                    .ready
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let count = ready.len() as u64;
                (count > 0)
                    .then(|| ready.swap_remove(self.engine.dice(|dice| dice.below(count)) as usize))
            };
            if let Some(who) = next {
                self.step(who);
            } else if !self.advance(until_ms) {
                return;
            }
        }
    }

    /// Advances the clock to the next timer. Returns false if no timer is due by `until_ms`.
    fn advance(&self, until_ms: u64) -> bool {
        let mut core = self.engine.core();
        let Some(timer) = core.timers.first_entry() else {
            core.now_ms = until_ms;
            return false;
        };
        let (at_ms, _) = *timer.key();
        if at_ms > until_ms {
            core.now_ms = until_ms;
            return false;
        }
        let waker = timer.remove();
        core.now_ms = core.now_ms.max(at_ms);
        drop(core);
        waker.wake();
        true
    }

    fn step(&mut self, who: Who) {
        let slot = &mut self.slots[who];
        if slot.ended {
            return;
        }
        let mortal = slot.mortality == Mortality::Mortal && slot.running.is_some();
        if mortal && self.engine.strikes(self.engine.plan.crash, Hit::Crash) {
            slot.running = None;
            self.engine.note(who, "crash", "", None);
            let mut core = self.engine.core();
            let back = core.now_ms + core.dice.between(100, 3_000);
            core.timers_set += 1;
            let key = (back, core.timers_set);
            core.timers.insert(key, slot.waker.clone());
            return;
        }
        let running = slot.running.get_or_insert_with(&slot.start);
        if running
            .as_mut()
            .poll(&mut Context::from_waker(&slot.waker))
            .is_ready()
        {
            slot.ended = true;
            slot.running = None;
        }
    }
}
