//! Group commit: the items that callers submit while a commit runs share the next commit.
//!
//! One task owns the queue of submitted items. It waits for the first item, takes all others that
//! are already there (up to `max`), and runs one commit for them. While that commit runs, new items
//! gather in the queue, so the duration of a commit is the gathering time of the next. A caller
//! that is alone is committed at once; under load the batches grow by themselves.
//!
//! `linger` is for commits that cost less per item when they are larger, such as transactions in
//! DynamoDB. After a batch of several items the task waits up to `linger` for the next batch to
//! grow. After a batch of one item it does not wait, because callers are rare.
//!
//! A panic or a missing answer drops the `oneshot` senders of that batch only. Its callers get
//! [`CommitLost`], and the task goes on with the next batch. Without this, one bad item would stop
//! all later commits of the process.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Gathers items of concurrent tasks and commits them together. Cheap to clone.
pub struct GroupCommit<T, R> {
    queue: mpsc::Sender<Submitted<T, R>>,
}

/// The commit ended without an answer for this item. The result is unknown, so the caller repeats
/// the item, which must be idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the commit ended without an answer")]
pub struct CommitLost;

struct Submitted<T, R> {
    item: T,
    answer: oneshot::Sender<R>,
}

impl<T: Send + 'static, R: Send + 'static> GroupCommit<T, R> {
    /// Starts a group commit. `commit` receives up to `max` items and returns one answer for each,
    /// in their order. One commit runs at a time. After a commit of several items, the next one
    /// waits up to `linger` for more items.
    ///
    /// At most `max` items wait for the running commit to end; further callers wait for room in the
    /// queue. The task ends when the last clone is dropped and all submitted items are committed.
    pub fn start<F, C>(max: usize, linger: Duration, commit: F) -> Self
    where
        F: Fn(Vec<T>) -> C + Send + Sync + 'static,
        C: Future<Output = Vec<R>> + Send + 'static,
    {
        let max = max.max(1);
        let (queue, mut submitted) = mpsc::channel::<Submitted<T, R>>(max);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(max);
            let mut company = false;
            while submitted.recv_many(&mut batch, max).await > 0 {
                if company && !linger.is_zero() {
                    let until = Instant::now() + linger;
                    while batch.len() < max
                        && let Ok(Some(another)) = timeout_at(until, submitted.recv()).await
                    {
                        batch.push(another);
                    }
                }
                company = batch.len() > 1;
                let (items, answers): (Vec<_>, Vec<_>) =
                    batch.drain(..).map(|s| (s.item, s.answer)).unzip();
                // A panic drops the senders of this batch, so its callers get `CommitLost`.
                let committed = AssertUnwindSafe(async { commit(items).await })
                    .catch_unwind()
                    .await;
                for (answer, result) in answers.into_iter().zip(committed.unwrap_or_default()) {
                    // The send fails only if the caller has stopped waiting.
                    let _ = answer.send(result);
                }
            }
        });
        Self { queue }
    }

    /// Submits an item and waits for the answer of its commit. If the caller stops waiting, the
    /// item may still be committed.
    ///
    /// # Errors
    /// Returns [`CommitLost`] when the commit panicked or returned no answer for the item.
    pub async fn submit(&self, item: T) -> Result<R, CommitLost> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .send(Submitted { item, answer })
            .await
            .map_err(|_| CommitLost)?;
        answered.await.map_err(|_| CommitLost)
    }
}

impl<T, R> Clone for GroupCommit<T, R> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::future::join_all;

    use super::*;

    type Sizes = Arc<Mutex<Vec<usize>>>;

    /// Doubles; takes 10 ms a commit; panics at 13 and forgets to answer 99.
    fn doubling(max: usize) -> (GroupCommit<u32, u32>, Sizes) {
        lingering(max, Duration::ZERO)
    }

    fn lingering(max: usize, linger: Duration) -> (GroupCommit<u32, u32>, Sizes) {
        let sizes = Sizes::default();
        let seen = sizes.clone();
        let commit = GroupCommit::start(max, linger, move |items: Vec<u32>| {
            seen.lock().expect("not poisoned").push(items.len());
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                assert!(!items.contains(&13), "unlucky");
                items
                    .into_iter()
                    .filter(|item| *item != 99)
                    .map(|item| item * 2)
                    .collect()
            }
        });
        (commit, sizes)
    }

    #[tokio::test(start_paused = true)]
    async fn items_that_arrive_during_a_commit_share_the_next_one() {
        let (commit, sizes) = doubling(50);
        let answers = join_all((100..220).map(|item| commit.submit(item))).await;
        let expected: Vec<_> = (100..220).map(|item| Ok(item * 2)).collect();
        assert_eq!(
            answers, expected,
            "everyone gets the answer to their own item"
        );
        let sizes = sizes.lock().expect("not poisoned").clone();
        assert!(
            sizes.len() <= 4 && sizes.iter().all(|size| *size <= 50),
            "{sizes:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_item_does_not_wait_for_others() {
        let (commit, _) = doubling(50);
        let started = tokio::time::Instant::now();
        assert_eq!(commit.submit(1).await, Ok(2));
        assert_eq!(started.elapsed(), Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_batch_of_several_the_next_one_waits_for_more() {
        let (commit, sizes) = lingering(50, Duration::from_millis(5));
        let alone = tokio::time::Instant::now();
        assert_eq!(commit.submit(1).await, Ok(2));
        assert_eq!(
            alone.elapsed(),
            Duration::from_millis(10),
            "nobody was there before"
        );
        // Every millisecond one, a commit takes ten.
        let stream = (0..40).map(|item| {
            let commit = commit.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(item)).await;
                commit.submit(100).await
            }
        });
        assert_eq!(join_all(stream).await, [Ok(200); 40]);
        let sizes = sizes.lock().expect("not poisoned").clone();
        assert_eq!(
            (sizes[1], sizes[2]),
            (1, 10),
            "what came meanwhile: {sizes:?}"
        );
        assert!(sizes[3] > 10, "and what came in a moment more: {sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_fails_only_its_own_batch() {
        let (commit, _) = doubling(1);
        assert_eq!(commit.submit(13).await, Err(CommitLost));
        assert_eq!(
            commit.submit(99).await,
            Err(CommitLost),
            "an item without an answer"
        );
        assert_eq!(commit.submit(2).await, Ok(4));
    }
}
