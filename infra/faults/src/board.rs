//! The state that all proxies of an experiment share: the rules, the record of calls, and the hook
//! that is called at each of them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::Dice;
use crate::rules::Active;
use crate::{Dependency, Fault, Hits, Rule};

/// One call from a process to a dependency.
#[derive(Debug, Clone)]
pub struct Call {
    /// The number of the call, counted over all proxies.
    pub number: u64,
    /// The process that the proxy belongs to.
    pub client: Arc<str>,
    pub dependency: Dependency,
    /// The number of the connection, counted over all proxies.
    pub connection: u64,
    /// The name of the operation: `dynamodb.TransactWriteItems`, `POST /v1/charges`, `COMMIT`,
    /// `UPDATE orders SET ...`.
    pub name: String,
    /// The request body, as it was sent.
    pub body: Arc<[u8]>,
    /// The time at which the proxy received the call.
    pub at: Instant,
}

/// The two moments of a call at which the hook is called.
#[derive(Debug, Clone, Copy)]
pub enum Moment<'a> {
    /// The dependency has not received the call.
    Before,
    /// The dependency has executed the call, and the caller has not received this reply.
    /// `something` is whether the reply contains what was asked for; the reply to an idle poll does
    /// not.
    After { reply: &'a [u8], something: bool },
}

/// The decision of the hook.
#[derive(Debug)]
pub enum Verdict {
    Go,
    /// Close the connection.
    Cut,
    /// Continue when the sender sends or is dropped.
    Pause(oneshot::Receiver<()>),
}

/// A function that is called twice for every call. It runs on the proxy's task, so it may kill a
/// process but must not block.
pub type Hook = Arc<dyn Fn(&Call, Moment<'_>) -> Verdict + Send + Sync>;

/// A function that signs a whole HTTP request again after a proxy has changed its body. Returns
/// `None` if the request was not signed.
pub type Sign = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// A call that was executed, in the record.
#[derive(Debug, Clone)]
pub struct Entry {
    pub number: u64,
    pub client: Arc<str>,
    pub dependency: Dependency,
    pub connection: u64,
    pub name: String,
    /// Whether the reply contained messages or rows; the reply to an idle poll does not.
    pub something: bool,
}

/// The known replies to one request.
struct Answers {
    last: Vec<u8>,
    /// The reply before the last one, if they differ.
    stale: Option<Vec<u8>>,
}

/// The number of calls in the record; older ones are dropped.
const RECORD_MAX: usize = 100_000;
/// The number of different requests whose replies are kept.
const REMEMBERED_MAX: usize = 4_096;

/// The shared state of one experiment. Clones share it too.
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
    /// The replies by request.
    answers: Mutex<HashMap<String, Answers>>,
    calls: AtomicU64,
    connections: AtomicU64,
}

impl Faults {
    /// Starts an experiment without rules, so all calls pass. Random decisions derive from `seed`.
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

    /// Adds a rule, and returns its counter of hits. Rules are tried in the order in which they
    /// were added, and the first that applies to a call decides its fault.
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

    /// Removes all rules. Calls that a rule delays or keeps hanging are not released.
    pub fn clear(&self) {
        locked(&self.inner.rules).clear();
    }

    /// Restarts the random numbers from a seed.
    pub fn seed(&self, seed: u64) {
        *locked(&self.inner.dice) = Dice::of(seed);
    }

    /// Calls `hook` at every call from now on.
    pub fn watch(&self, hook: Hook) {
        *locked(&self.inner.hook) = Some(hook);
    }

    /// Sets the function that signs requests which a proxy changes, for an endpoint that verifies
    /// signatures.
    pub fn sign_with(&self, sign: Sign) {
        *locked(&self.inner.sign) = Some(sign);
    }

    /// Signs a changed request again, if a function for that is set.
    pub(crate) fn signed(&self, request: Vec<u8>) -> Vec<u8> {
        let sign = locked(&self.inner.sign).clone();
        sign.and_then(|sign| sign(&request)).unwrap_or(request)
    }

    /// Removes the hook.
    pub fn unwatch(&self) {
        *locked(&self.inner.hook) = None;
    }

    /// Takes the calls since the last time, in the order of their execution.
    pub fn take_record(&self) -> Vec<Entry> {
        locked(&self.inner.record).drain(..).collect()
    }

    /// Returns the number of calls since the start.
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.inner.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_call(&self) -> u64 {
        self.inner.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Calls the hook. Returns false if the connection must be closed.
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

    /// Returns whether a new connection must be refused.
    pub(crate) fn refuses(&self, dependency: Dependency, client: &str) -> bool {
        self.strike(dependency, client, None, |_| true).is_some()
    }

    /// Returns the fault for a call, if a rule applies. `possible` decides whether a fault can
    /// happen to this call; otherwise the rule does not apply and counts no hit.
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

    /// Keeps a reply, for replays.
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

    /// Returns the last reply to a request.
    pub(crate) fn last_answer(&self, request: &str) -> Option<Vec<u8>> {
        locked(&self.inner.answers)
            .get(request)
            .map(|answers| answers.last.clone())
    }

    /// Returns the reply before the last one to a request.
    pub(crate) fn stale_answer(&self, request: &str) -> Option<Vec<u8>> {
        locked(&self.inner.answers)
            .get(request)
            .and_then(|answers| answers.stale.clone())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
