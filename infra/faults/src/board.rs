//! What all proxies of one experiment share: the rules, the record of calls, and whoever wants to
//! be asked at each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::Dice;
use crate::rules::Active;
use crate::{Dependency, Fault, Hits, Rule};

/// One call at the boundary between a process and something it needs.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counted over all proxies.
    pub number: u64,
    /// Whose proxy it came through.
    pub client: Arc<str>,
    pub dependency: Dependency,
    /// Counted over all proxies.
    pub connection: u64,
    /// What is called: `dynamodb.TransactWriteItems`, `POST /v1/charges`, `COMMIT`, `UPDATE orders
    /// SET ...`.
    pub name: String,
    /// What it carries, as it was sent.
    pub body: Arc<[u8]>,
    /// When it came.
    pub at: Instant,
}

/// Which side of a call.
#[derive(Debug, Clone, Copy)]
pub enum Moment<'a> {
    /// The dependency has not seen it.
    Before,
    /// The dependency has executed it; the caller has not seen this reply. `something` is whether
    /// it brings what was asked for: an idle poll does not.
    After { reply: &'a [u8], something: bool },
}

/// What becomes of a call at a moment.
#[derive(Debug)]
pub enum Verdict {
    Go,
    /// The connection ends.
    Cut,
    /// It goes on when the sender says so, or is dropped.
    Pause(oneshot::Receiver<()>),
}

/// Asked at every call, twice. Runs on the proxy's task: it may kill a process, and must not wait.
pub type Hook = Arc<dyn Fn(&Call, Moment<'_>) -> Verdict + Send + Sync>;

/// Signs a request whose body a proxy has changed: the whole request in and out. `None` where it
/// was not signed.
pub type Sign = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// A call that was executed, as it is remembered.
#[derive(Debug, Clone)]
pub struct Entry {
    pub number: u64,
    pub client: Arc<str>,
    pub dependency: Dependency,
    pub connection: u64,
    pub name: String,
    /// Whether it came back with something: messages, rows. An idle poll did not.
    pub something: bool,
}

/// The answers to one request.
struct Answers {
    last: Vec<u8>,
    /// The one before it that was another.
    stale: Option<Vec<u8>>,
}

/// The record keeps so many of the latest calls.
const RECORD_MAX: usize = 100_000;
/// Answers are remembered for so many different requests.
const REMEMBERED_MAX: usize = 4_096;

/// An experiment. Cheap to clone.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Mutex<Vec<Arc<Active>>>,
    dice: Mutex<Dice>,
    hook: Mutex<Option<Hook>>,
    sign: Mutex<Option<Sign>>,
    record: Mutex<VecDeque<Entry>>,
    /// By request.
    answers: Mutex<HashMap<String, Answers>>,
    calls: AtomicU64,
    connections: AtomicU64,
}

impl Faults {
    /// Without a rule: everything passes. Chances are drawn from the seed.
    pub fn new(seed: u64) -> Faults {
        Faults {
            inner: Arc::new(Inner {
                rules: Mutex::default(),
                dice: Mutex::new(Dice::of(seed)),
                hook: Mutex::default(),
                sign: Mutex::default(),
                record: Mutex::default(),
                answers: Mutex::default(),
                calls: AtomicU64::default(),
                connections: AtomicU64::default(),
            }),
        }
    }

    /// Puts a rule into force. Of several about one call, the first added strikes.
    pub fn add(&self, rule: Rule) -> Hits {
        let hits = Hits::default();
        let active = Active {
            rule,
            since: Instant::now(),
            hits: hits.clone(),
        };
        locked(&self.inner.rules).push(Arc::new(active));
        hits
    }

    /// Ends all rules. What they hold back stays held back until its caller gives up.
    pub fn clear(&self) {
        locked(&self.inner.rules).clear();
    }

    /// Begins the chances anew.
    pub fn seed(&self, seed: u64) {
        *locked(&self.inner.dice) = Dice::of(seed);
    }

    /// Asks `hook` at every call from now on.
    pub fn watch(&self, hook: Hook) {
        *locked(&self.inner.hook) = Some(hook);
    }

    /// Signs what a proxy changes on its way to AWS, for an endpoint that verifies signatures.
    pub fn sign_with(&self, sign: Sign) {
        *locked(&self.inner.sign) = Some(sign);
    }

    /// Returns a changed request with a signature that fits it.
    pub(crate) fn signed(&self, request: Vec<u8>) -> Vec<u8> {
        let sign = locked(&self.inner.sign).clone();
        sign.and_then(|sign| sign(&request)).unwrap_or(request)
    }

    /// Asks nobody any more.
    pub fn unwatch(&self) {
        *locked(&self.inner.hook) = None;
    }

    /// The calls since the last time, in the order of their execution.
    pub fn take_record(&self) -> Vec<Entry> {
        locked(&self.inner.record).drain(..).collect()
    }

    /// How many calls have come since the beginning.
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.inner.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn call(
        &self,
        client: &Arc<str>,
        dependency: Dependency,
        connection: u64,
        name: String,
        body: &[u8],
    ) -> Call {
        let number = self.inner.calls.fetch_add(1, Ordering::Relaxed);
        Call {
            number,
            client: client.clone(),
            dependency,
            connection,
            name,
            body: body.into(),
            at: Instant::now(),
        }
    }

    /// Asks the hook; false when the connection is to end.
    pub(crate) async fn goes_on(&self, call: &Call, moment: Moment<'_>) -> bool {
        let hook = locked(&self.inner.hook).clone();
        match hook.map_or(Verdict::Go, |hook| hook(call, moment)) {
            Verdict::Go => true,
            Verdict::Cut => false,
            Verdict::Pause(until) => {
                let _ = until.await;
                true
            }
        }
    }

    /// Whether a new connection is to be refused.
    pub(crate) fn refuses(&self, dependency: Dependency, client: &str) -> bool {
        self.strike(dependency, client, None, |_| true).is_some()
    }

    /// The fault that strikes a call. `possible` says whether a fault can be done to it at all: one
    /// that cannot is no hit.
    pub(crate) fn fault_for(
        &self,
        call: &Call,
        possible: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        self.strike(call.dependency, &call.client, Some(&call.name), possible)
    }

    fn strike(
        &self,
        dependency: Dependency,
        client: &str,
        name: Option<&str>,
        possible: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        let rules = locked(&self.inner.rules).clone();
        let mut dice = locked(&self.inner.dice);
        let struck = rules
            .iter()
            .filter(|active| {
                active.is_about(dependency, client, name) && possible(&active.rule.fault)
            })
            .find(|active| active.strikes(&mut dice))?;
        struck.hit();
        Some(struck.rule.fault.clone())
    }

    pub(crate) fn executed(&self, call: &Call, something: bool) {
        let mut record = locked(&self.inner.record);
        if record.len() == RECORD_MAX {
            record.pop_front();
        }
        record.push_back(Entry {
            number: call.number,
            client: call.client.clone(),
            dependency: call.dependency,
            connection: call.connection,
            name: call.name.clone(),
            something,
        });
    }

    /// Remembers an answer, for replays.
    pub(crate) fn remember(&self, request: &str, answer: &[u8]) {
        let mut answers = locked(&self.inner.answers);
        if answers.len() >= REMEMBERED_MAX && !answers.contains_key(request) {
            return;
        }
        let known = answers
            .entry(request.to_owned())
            .or_insert_with(|| Answers {
                last: answer.to_vec(),
                stale: None,
            });
        if known.last != answer {
            known.stale = Some(std::mem::replace(&mut known.last, answer.to_vec()));
        }
    }

    /// The last answer to a request.
    pub(crate) fn last_answer(&self, request: &str) -> Option<Vec<u8>> {
        locked(&self.inner.answers)
            .get(request)
            .map(|answers| answers.last.clone())
    }

    /// The answer to a request before the one that it has now.
    pub(crate) fn stale_answer(&self, request: &str) -> Option<Vec<u8>> {
        locked(&self.inner.answers)
            .get(request)
            .and_then(|answers| answers.stale.clone())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
