//! The stream loop: reads all shards of a table's change stream, shared between the workers of a
//! role, as the Kinesis Client Library does. No maintained Rust crate does this.
//!
//! - Each shard has a lease in a table. The worker that owns the lease reads the shard and
//!   increments the lease's counter at every renewal. If a counter does not change for `LEASE`,
//!   another worker takes the lease. Each write of a lease is conditional on the counter that was
//!   read, so only one worker can win. Clocks of different machines are never compared.
//! - The lease also has the checkpoint, the last record whose effects are stored. After a crash,
//!   the next owner starts behind the checkpoint and handles some records a second time, so
//!   handlers must be idempotent.
//! - A parent shard is read to its end before its children. Otherwise an old change of an item
//!   could be handled after a newer one.
//! - DynamoDB keeps records for 24 hours. If records were lost (a shard disappeared before it was
//!   read to its end, or the stream is new), the handler reads the whole table instead (`rebuild`).
//!   Without this, the lost changes would stay unnoticed.

mod ports;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use contract::cause::chain;
use contract::metric::Metric;
use time::OffsetDateTime;
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Process;

pub use ports::{
    BoxError, ChangeStream, Lease, LeaseStore, Page, Position, Record, Shard, StreamError,
};

/// The name of the stream in [`crate::Health`].
pub const DEPENDENCY: &str = "stream";
/// The time after which another worker may take a lease whose counter has not changed. Two renewals
/// may fail before the lease is lost.
const LEASE: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// The pause between checkpoints. A crash repeats the work since the last one, and each one costs a
/// write.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// The pause between two listings of the shards. New shards appear about every four hours, and the
/// end of a shard starts a listing at once.
const LOOK_FOR_SHARDS_EVERY: Duration = Duration::from_secs(10);
/// The pause after an empty page. It doubles up to the maximum, so an idle shard is read once per
/// second; four reads per second would be 10 million billable reads per month.
const IDLE_MIN: Duration = Duration::from_millis(250);
const IDLE_MAX: Duration = Duration::from_secs(1);
const _: () = assert!(
    3 * RENEW_EVERY.as_secs() <= LEASE.as_secs(),
    "one lost renewal must not lose the lease"
);
/// The maximum of records in a page (DynamoDB API Reference, `GetRecords`).
const PAGE: u32 = 1_000;

/// Handles the changes of items. Handlers must be idempotent, because the checkpoint is written
/// after the effects.
pub trait RecordHandler<C>: Send + Sync + 'static {
    /// Handles one change. After an error the loop reads the record again.
    fn record(&self, record: &Record<C>) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Reads the whole table, because records were lost.
    fn rebuild(&self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Follows the stream until shutdown. Errors never end the loop; the loop logs them and tries
/// again.
pub async fn follow<S, L, H>(stream: S, leases: L, handler: H, process: Process)
where
    S: ChangeStream + 'static,
    L: LeaseStore + 'static,
    H: RecordHandler<S::Change>,
{
    process.health.expect(DEPENDENCY);
    let follower = Arc::new(Follower {
        stream,
        leases,
        handler,
        owner: Uuid::now_v7().to_string(),
        process,
    });
    let shutdown = follower.process.shutdown.clone();
    let mut readers = JoinSet::new();
    // The shard of each reader, because a reader that panicked leaves only its task id.
    let mut read_now: HashMap<task::Id, String> = HashMap::new();
    // The counters of other workers' leases, and the times of their last changes.
    let mut seen: HashMap<String, (i64, Instant)> = HashMap::new();
    while !shutdown.is_cancelled() {
        match follower
            .to_take(&read_now.values().cloned().collect(), &mut seen)
            .await
        {
            Ok(taken) => {
                follower.process.health.up(DEPENDENCY);
                for lease in taken {
                    let (follower, shard) = (follower.clone(), lease.shard.clone());
                    let reader = readers.spawn(async move { follower.read_shard(lease).await });
                    read_now.insert(reader.id(), shard);
                }
            }
            Err(error) => follower.process.health.down(DEPENDENCY, chain(&*error)),
        }
        tokio::select! {
            () = sleep(LOOK_FOR_SHARDS_EVERY) => {}
            () = shutdown.cancelled() => {}
            // The shard was read to its end or lost, so its children may be readable now.
            Some(ended) = readers.join_next_with_id() => match ended {
                Ok((reader, ())) => drop(read_now.remove(&reader)),
                Err(error) => {
                    let shard = read_now.remove(&error.id());
                    tracing::error!(shard, error = %error, "The reader of a shard failed");
                    pause(IDLE_MAX, &shutdown).await;
                }
            },
        }
    }
    while readers.join_next().await.is_some() {}
}

struct Follower<S, L, H> {
    stream: S,
    leases: L,
    handler: H,
    owner: String,
    process: Process,
}

/// A shard that is being read.
struct Reading {
    lease: Lease,
    /// The time of the last write of the lease.
    written: Instant,
    iterator: Option<String>,
    /// The last record whose effects are stored. Ahead of the checkpoint in the lease until the
    /// next write.
    handled: Option<String>,
}

impl<S: ChangeStream, L: LeaseStore, H: RecordHandler<S::Change>> Follower<S, L, H> {
    /// Takes the leases of all shards that no worker reads and whose parents were read to their
    /// ends.
    ///
    /// First the method looks for lost records, and asks the handler to rebuild if there are any. A
    /// shard whose lease was not finished and that is no longer listed had records that no worker
    /// read. If no listed shard has a lease, then the stream is new, or replaced the one that was
    /// read. The rebuild happens before the leases of lost shards are marked as finished: after a
    /// crash between the two, the next worker finds the same shards and rebuilds again.
    ///
    /// Then each listed shard is taken if its lease is missing, is free (no owner), is this
    /// worker's own, or has a counter that stood still for `LEASE`. The write is conditional on the
    /// counter, so a worker that renewed in between keeps its lease, and of two workers only one
    /// succeeds.
    async fn to_take(
        &self,
        read_now: &HashSet<String>,
        seen: &mut HashMap<String, (i64, Instant)>,
    ) -> Result<Vec<Lease>, BoxError> {
        let shards = self.stream.shards().await?;
        let leases: HashMap<String, Lease> = self
            .leases
            .leases()
            .await?
            .into_iter()
            .map(|lease| (lease.shard.clone(), lease))
            .collect();
        // No listed shard has a lease: the stream is new, or replaced the one that was read.
        let unknown =
            !shards.is_empty() && !shards.iter().any(|shard| leases.contains_key(&shard.id));
        // Shards that are no longer listed and were not read to their ends: their records are lost.
        let listed = |id: &String| shards.iter().any(|shard| shard.id == *id);
        let gone: Vec<&Lease> = leases
            .values()
            .filter(|lease| {
                !lease.finished && !listed(&lease.shard) && !read_now.contains(&lease.shard)
            })
            .collect();
        if unknown || !gone.is_empty() {
            self.handler.rebuild().await?;
        }
        for lease in gone {
            tracing::warn!(
                shard = lease.shard,
                "A shard disappeared before it was read to its end"
            );
            let finished = Lease {
                counter: lease.counter + 1,
                finished: true,
                ..lease.clone()
            };
            self.leases.write(&finished, Some(lease.counter)).await?;
        }
        // A stream gets new shards every few hours, so the map would grow without end.
        seen.retain(|shard, _| listed(shard));
        let mut taken = Vec::new();
        for shard in &shards {
            if read_now.contains(&shard.id) || !self.parent_is_read(shard, &shards, &leases) {
                continue;
            }
            let there = leases.get(&shard.id);
            if let Some(lease) = there {
                if lease.finished {
                    continue;
                }
                let (counter, since) = seen
                    .entry(shard.id.clone())
                    .or_insert((lease.counter, Instant::now()));
                if *counter != lease.counter {
                    (*counter, *since) = (lease.counter, Instant::now());
                }
                if since.elapsed() < LEASE && lease.owner != self.owner && !lease.owner.is_empty() {
                    continue;
                }
            }
            let mine = Lease {
                shard: shard.id.clone(),
                owner: self.owner.clone(),
                counter: there.map_or(0, |lease| lease.counter) + 1,
                checkpoint: there.and_then(|lease| lease.checkpoint.clone()),
                finished: false,
            };
            if self
                .leases
                .write(&mine, there.map(|lease| lease.counter))
                .await?
            {
                tracing::info!(
                    shard = shard.id,
                    checkpoint = mine.checkpoint,
                    "Reading a shard"
                );
                taken.push(mine);
            }
        }
        Ok(taken)
    }

    fn parent_is_read(
        &self,
        shard: &Shard,
        shards: &[Shard],
        leases: &HashMap<String, Lease>,
    ) -> bool {
        let Some(parent) = &shard.parent else {
            return true;
        };
        // A parent that is no longer listed was trimmed.
        !shards.iter().any(|other| other.id == *parent)
            || leases.get(parent).is_some_and(|lease| lease.finished)
    }

    /// Reads one shard until its end, the loss of its lease, or shutdown.
    async fn read_shard(&self, lease: Lease) {
        let shutdown = &self.process.shutdown;
        let handled = lease.checkpoint.clone();
        let mut reading = Reading {
            lease,
            written: Instant::now(),
            iterator: None,
            handled,
        };
        let mut idle = IDLE_MIN;
        let mut trimmed_before = false;
        loop {
            if shutdown.is_cancelled() {
                return self.give_back(reading).await;
            }
            if !self.keep(&mut reading).await {
                return;
            }
            match self.step(&mut reading).await {
                Ok(Step::More) => (idle, trimmed_before) = (IDLE_MIN, false),
                Ok(Step::Idle) => {
                    pause(idle, shutdown).await;
                    (idle, trimmed_before) = ((idle * 2).min(IDLE_MAX), false);
                }
                Ok(Step::End) => {
                    self.write(&mut reading, Finished::Yes).await;
                    tracing::info!(shard = reading.lease.shard, "A shard was read to its end");
                    return;
                }
                Ok(Step::Lost) => return,
                Err(StreamError::IteratorExpired) => reading.iterator = None,
                // Trimmed again although nothing was read in between: the shard itself no longer
                // exists. The next listing shows the present shards.
                Err(StreamError::Trimmed) if trimmed_before => {
                    return pause(LOOK_FOR_SHARDS_EVERY, shutdown).await;
                }
                Err(StreamError::Trimmed) => match self.handler.rebuild().await {
                    Ok(()) => {
                        (reading.iterator, reading.handled, trimmed_before) = (None, None, true)
                    }
                    Err(error) => {
                        tracing::warn!(error = %chain(&*error), "Cannot read the table");
                        pause(IDLE_MAX, shutdown).await;
                    }
                },
                Err(StreamError::Unavailable(error)) => {
                    tracing::warn!(shard = reading.lease.shard, error = %chain(&*error), "Cannot read a shard");
                    reading.iterator = None;
                    pause(IDLE_MAX, shutdown).await;
                }
            }
        }
    }

    /// Reads one page and handles it.
    async fn step(&self, reading: &mut Reading) -> Result<Step, StreamError> {
        let at = match reading.iterator.take() {
            Some(at) => at,
            None => {
                let position = reading
                    .handled
                    .clone()
                    .map_or(Position::Oldest, Position::After);
                self.stream.open(&reading.lease.shard, &position).await?
            }
        };
        let page = self.stream.read(&at, PAGE).await?;
        // Reported before the records are handled, so that a failing handler shows as growing lag.
        self.show_lag(page.records.first());
        for record in &page.records {
            if self.process.shutdown.is_cancelled() {
                return Ok(Step::More);
            }
            // After an error the iterator stays unset, so the next step opens the shard behind the
            // last handled record.
            self.handler.record(record).await?;
            reading.handled = Some(record.sequence.clone());
            // The records of a page can take longer than a lease.
            if !self.keep(reading).await {
                return Ok(Step::Lost);
            }
        }
        self.show_lag(page.records.last());
        reading.iterator = page.next;
        Ok(
            match (reading.iterator.is_some(), page.records.is_empty()) {
                (false, _) => Step::End,
                (true, false) => Step::More,
                (true, true) => Step::Idle,
            },
        )
    }

    fn show_lag(&self, record: Option<&Record<S::Change>>) {
        let lag = record.and_then(|record| record.at);
        let lag = lag.map_or(0.0, |at| {
            (OffsetDateTime::now_utc() - at).as_seconds_f64().max(0.0)
        });
        self.process.metrics.set(Metric::StreamLag, &[], lag);
    }

    /// Writes the lease if a renewal or a checkpoint is due. Returns false if another worker has
    /// the lease.
    async fn keep(&self, reading: &mut Reading) -> bool {
        let since = reading.written.elapsed();
        let news = reading.handled != reading.lease.checkpoint;
        if since >= RENEW_EVERY || (news && since >= CHECKPOINT_EVERY) {
            return self.write(reading, Finished::No).await;
        }
        true
    }

    /// Writes the checkpoint and a new counter. Returns false if another worker has the lease.
    async fn write(&self, reading: &mut Reading, finished: Finished) -> bool {
        let next = Lease {
            counter: reading.lease.counter + 1,
            checkpoint: reading.handled.clone(),
            finished: matches!(finished, Finished::Yes),
            ..reading.lease.clone()
        };
        reading.written = Instant::now();
        match self.leases.write(&next, Some(reading.lease.counter)).await {
            Ok(true) => {
                reading.lease = next;
                true
            }
            Ok(false) => {
                tracing::warn!(shard = reading.lease.shard, "The lease of a shard was lost");
                false
            }
            // The lease stays ours until another worker sees no change of its counter for `LEASE`.
            Err(error) => {
                tracing::warn!(shard = reading.lease.shard, error = %chain(&*error), "A lease could not be renewed");
                true
            }
        }
    }

    /// Frees the lease with its checkpoint, so that the next worker continues at once.
    async fn give_back(&self, reading: Reading) {
        let counter = reading.lease.counter;
        let free = Lease {
            owner: String::new(),
            counter: counter + 1,
            checkpoint: reading.handled,
            ..reading.lease
        };
        if let Err(error) = self.leases.write(&free, Some(counter)).await {
            tracing::warn!(shard = free.shard, error = %chain(&*error), "A lease could not be freed");
        }
    }
}

enum Step {
    More,
    Idle,
    End,
    /// Another worker has the lease.
    Lost,
}

enum Finished {
    Yes,
    No,
}

async fn pause(time: Duration, shutdown: &CancellationToken) {
    shutdown.run_until_cancelled(sleep(time)).await;
}
