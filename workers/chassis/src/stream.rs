//! The stream loop, as the Kinesis Client Library does it: leases say who reads which shard, a
//! checkpoint says how far, a parent is read to its end before its children, and what was lost is
//! read from the table itself.

mod ports;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

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

/// How [`crate::Health`] knows the stream.
pub const DEPENDENCY: &str = "stream";
/// A lease whose counter stands still for so long is anybody's. Two renewals may fail before it is
/// lost.
const LEASE: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// A crash costs so much work done twice; each checkpoint costs a write.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// New shards appear about every four hours; one that ends is noticed at once.
const LOOK_FOR_SHARDS_EVERY: Duration = Duration::from_secs(10);
/// The wait after the first empty page doubles up to the longest: an idle shard is asked once a
/// second, because four times would be 10 million billable reads a month.
const IDLE_MIN: Duration = Duration::from_millis(250);
const IDLE_MAX: Duration = Duration::from_secs(1);
const _: () = assert!(
    3 * RENEW_EVERY.as_secs() <= LEASE.as_secs(),
    "one lost renewal must not lose the lease"
);
/// DynamoDB gives at most 1,000 records a read.
const PAGE: u32 = 1_000;

/// Does what one change of an item asks for. Must be safe to repeat: a checkpoint follows its
/// effects.
pub trait RecordHandler<C>: Send + Sync + 'static {
    fn record(&self, record: &Record<C>) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Records were lost: reads the whole table instead.
    fn rebuild(&self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Follows the stream until shutdown. Errors never end it.
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
    // What each reader reads: of one that panicked, nothing but its id is left.
    let mut read_now: HashMap<task::Id, String> = HashMap::new();
    // When a lease of somebody else was last seen to move.
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
            Err(error) => follower.process.health.down(DEPENDENCY, error.to_string()),
        }
        tokio::select! {
            () = sleep(LOOK_FOR_SHARDS_EVERY) => {}
            () = shutdown.cancelled() => {}
            // A shard was read to its end or lost: its children may be read now.
            Some(ended) = readers.join_next_with_id() => match ended {
                Ok((reader, ())) => drop(read_now.remove(&reader)),
                Err(error) => {
                    let shard = read_now.remove(&error.id());
                    tracing::error!(shard, error = %error, "The reader of a shard broke off");
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
    /// When the lease was last written.
    written: Instant,
    iterator: Option<String>,
    /// The last record whose effects are durable; ahead of the lease's checkpoint until that is
    /// written.
    handled: Option<String>,
}

impl<S: ChangeStream, L: LeaseStore, H: RecordHandler<S::Change>> Follower<S, L, H> {
    /// Takes the leases of all shards that nobody reads and whose parents have been read.
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
        // Without a lease on any of its shards, nothing is known of what this stream told us: it is
        // new, or the one that we read is gone.
        let unknown =
            !shards.is_empty() && !shards.iter().any(|shard| leases.contains_key(&shard.id));
        // A shard that was never read to its end and is no longer there took records along.
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
                "A shard is gone that was not read to its end"
            );
            let finished = Lease {
                counter: lease.counter + 1,
                finished: true,
                ..lease.clone()
            };
            self.leases.write(&finished, Some(lease.counter)).await?;
        }
        // A stream has new shards every few hours, for as long as we run.
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
        // A parent that is no longer listed has been trimmed.
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
                // Twice without a record in between: the shard itself is gone. Those that are there
                // now are looked up.
                Err(StreamError::Trimmed) if trimmed_before => {
                    return pause(LOOK_FOR_SHARDS_EVERY, shutdown).await;
                }
                Err(StreamError::Trimmed) => match self.handler.rebuild().await {
                    Ok(()) => {
                        (reading.iterator, reading.handled, trimmed_before) = (None, None, true)
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "Cannot read the table");
                        pause(IDLE_MAX, shutdown).await;
                    }
                },
                Err(StreamError::Unavailable(error)) => {
                    tracing::warn!(shard = reading.lease.shard, error = %error, "Cannot read a shard");
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
        // Before they are handled: who cannot handle them falls behind, and that must show.
        self.show_lag(page.records.first());
        for record in &page.records {
            if self.process.shutdown.is_cancelled() {
                return Ok(Step::More);
            }
            // A failure leaves the iterator unset: the shard is opened again after the last record
            // that was handled.
            self.handler.record(record).await?;
            reading.handled = Some(record.sequence.clone());
            // A page of slow records may take longer than a lease.
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

    /// Writes the lease when it is time to. False when it is somebody else's now.
    async fn keep(&self, reading: &mut Reading) -> bool {
        let since = reading.written.elapsed();
        let news = reading.handled != reading.lease.checkpoint;
        if since >= RENEW_EVERY || (news && since >= CHECKPOINT_EVERY) {
            return self.write(reading, Finished::No).await;
        }
        true
    }

    /// Writes how far the shard was read, and shows that we are alive. False when the lease is
    /// somebody else's now.
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
            // It stays ours until somebody sees it stand still for long enough.
            Err(error) => {
                tracing::warn!(shard = reading.lease.shard, error = %error, "A lease could not be renewed");
                true
            }
        }
    }

    /// So that the next worker goes on where we stopped, and need not wait for the lease to end.
    async fn give_back(&self, reading: Reading) {
        let counter = reading.lease.counter;
        let free = Lease {
            owner: String::new(),
            counter: counter + 1,
            checkpoint: reading.handled,
            ..reading.lease
        };
        if let Err(error) = self.leases.write(&free, Some(counter)).await {
            tracing::warn!(shard = free.shard, error = %error, "A lease could not be given back");
        }
    }
}

enum Step {
    More,
    Idle,
    End,
    /// The lease is somebody else's.
    Lost,
}

enum Finished {
    Yes,
    No,
}

async fn pause(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = sleep(time) => {}
        () = shutdown.cancelled() => {}
    }
}
