//! Deletes and changes of visibility in batches of ten, because calls are billed and ten single
//! calls cost ten times as much.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use contract::cause::{Cause, chain};
use contract::metric::Metric;
use contract::queue::{BATCH_MAX, Queue};
use contract::retry::Backoff;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::unless_bug;
use crate::inbox::{EntryError, Inbox, QueueError};
use crate::{Metrics, chance};

/// The time that the first entry of a batch waits for others: less than a call takes.
const LINGER: Duration = Duration::from_millis(5);
/// The same time after a batch of several entries, because messages of one receive are settled one
/// after the other.
const LINGER_IN_COMPANY: Duration = Duration::from_millis(40);
/// The number of attempts. Afterwards the lease ends, the message is delivered again, and its
/// handler recognizes it as done.
const TRIES: u32 = 4;
const BETWEEN_TRIES: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};
/// Time limit of a call, so that a hanging call does not block the entries behind it.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Parallel calls of one kind. A single call would limit a consumer to ten messages per round trip.
const CALLS_MAX: usize = 4;
/// The maximum of entries that wait for a call, and of entries that wait for a retry. When it is
/// reached, lanes wait before they settle.
const WAITING_MAX: usize = 10 * BATCH_MAX;

/// The senders to the batching tasks. When they are dropped, the tasks send the remaining entries
/// and end.
pub(super) struct Batches {
    deletes: mpsc::Sender<Request<String>>,
    hides: mpsc::Sender<Request<(String, Duration)>>,
}

impl Batches {
    /// Starts the two batching tasks, and returns the senders and the tasks.
    pub(super) fn start<I: Inbox + 'static>(
        inbox: Arc<I>,
        queue: &'static Queue,
        metrics: Metrics,
    ) -> (Self, JoinSet<()>) {
        let (deletes, to_delete) = mpsc::channel(WAITING_MAX);
        let (hides, to_hide) = mpsc::channel(WAITING_MAX);
        let mut tasks = JoinSet::new();
        let delete = {
            let inbox = inbox.clone();
            move |entries: Vec<String>| {
                let inbox = inbox.clone();
                async move { inbox.delete(&entries).await }
            }
        };
        let hide = move |entries: Vec<(String, Duration)>| {
            let inbox = inbox.clone();
            async move { inbox.hide(&entries).await }
        };
        tasks.spawn(gather("delete", to_delete, delete, queue, metrics.clone()));
        tasks.spawn(gather("hide", to_hide, hide, queue, metrics));
        (Self { deletes, hides }, tasks)
    }

    /// Queues a delete.
    pub(super) async fn delete(&self, handle: String) {
        send(&self.deletes, handle, None).await;
    }

    /// Queues a change of visibility. The receiver completes when the change was made or given up.
    pub(super) async fn hide(&self, handle: String, so_long: Duration) -> oneshot::Receiver<()> {
        let (over, is_over) = oneshot::channel();
        send(&self.hides, (handle, so_long), Some(over)).await;
        is_over
    }
}

async fn send<E>(to: &mpsc::Sender<Request<E>>, entry: E, over: Option<oneshot::Sender<()>>) {
    // The receiver lives as long as this sender, so the send cannot fail.
    let _ = to
        .send(Request {
            entry,
            tries: 0,
            due: Instant::now(),
            _over: over,
        })
        .await;
}

struct Request<E> {
    entry: E,
    tries: u32,
    due: Instant,
    /// Dropped when the entry was executed or given up, which completes the caller's receiver.
    _over: Option<oneshot::Sender<()>>,
}

/// The result of a call for a batch of entries.
type Answer = Result<Vec<Result<(), EntryError>>, QueueError>;

/// Gathers entries into batches, and makes a `call` for each. `act` names the call in the log.
async fn gather<E: Clone + Send + Sync + 'static, F: Future<Output = Answer> + Send + 'static>(
    act: &'static str,
    mut requests: mpsc::Receiver<Request<E>>,
    call: impl Fn(Vec<E>) -> F,
    queue: &'static Queue,
    metrics: Metrics,
) {
    let (mut open, mut company) = (true, false);
    // Entries to retry. Bounded by `WAITING_MAX` plus the entries of `CALLS_MAX` calls, because
    // beyond `WAITING_MAX` no new entry is received.
    let mut again: Vec<Request<E>> = Vec::new();
    let mut calls: JoinSet<Vec<Request<E>>> = JoinSet::new();
    loop {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let next_due = again.iter().map(|request| request.due).min();
        let may_call = calls.len() < CALLS_MAX;
        tokio::select! {
            request = requests.recv(), if open && may_call && again.len() < WAITING_MAX => match request {
                Some(request) => batch.push(request),
                None => open = false,
            },
            () = sleep_until(next_due.unwrap_or_else(Instant::now)), if may_call && next_due.is_some() => {}
            Some(failed) = calls.join_next() => again.extend(unless_bug(failed).unwrap_or_default()),
            else => return,
        }
        if !may_call {
            continue;
        }
        let now = Instant::now();
        batch.extend(
            again
                .extract_if(.., |request| request.due <= now)
                .take(BATCH_MAX - batch.len()),
        );
        let linger = if company { LINGER_IN_COMPANY } else { LINGER };
        while !batch.is_empty() && batch.len() < BATCH_MAX && open {
            match timeout_at(now + linger, requests.recv()).await {
                Ok(Some(request)) => batch.push(request),
                Ok(None) => open = false,
                Err(_) => break,
            }
        }
        if !batch.is_empty() {
            company = batch.len() > 1;
            let calling = call(batch.iter().map(|request| request.entry.clone()).collect());
            calls.spawn(carry_out(act, calling, batch, queue, metrics.clone()));
        }
    }
}

/// Makes one call, and returns the entries to retry.
async fn carry_out<E>(
    act: &'static str,
    calling: impl Future<Output = Answer>,
    batch: Vec<Request<E>>,
    queue: &'static Queue,
    metrics: Metrics,
) -> Vec<Request<E>> {
    let failed = |cause: Cause| vec![Err(EntryError::Failed(cause)); batch.len()];
    let mut results = match timeout(CALL_MAX, calling).await {
        Ok(Ok(results)) => results,
        Ok(Err(error)) => failed(Cause::new(error)),
        Err(_) => failed(Cause::new(format!("no answer within {CALL_MAX:?}"))),
    };
    results.resize(
        batch.len(),
        Err(EntryError::Failed(Cause::new(
            "the queue returned no result for this entry",
        ))),
    );

    let mut again = Vec::new();
    let mut expired = 0;
    for (mut request, result) in batch.into_iter().zip(results) {
        match result {
            Ok(()) => {}
            Err(EntryError::HandleExpired) => expired += 1,
            Err(EntryError::Failed(reason)) => {
                request.tries += 1;
                if request.tries < TRIES {
                    request.due =
                        Instant::now() + BETWEEN_TRIES.delay(request.tries, chance::fraction());
                    again.push(request);
                } else {
                    tracing::warn!(
                        queue = queue.slug,
                        act,
                        reason = %chain(&reason),
                        "Gave up; the message will be delivered again"
                    );
                }
            }
        }
    }
    if expired > 0 {
        metrics.count(Metric::ExpiredHandles, &[queue.slug], expired);
    }
    again
}
