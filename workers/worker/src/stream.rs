//! The stream loop, as the Kinesis Client Library does it: leases say who reads which shard, a checkpoint says how far,
//! a parent is read to its end before its children, and what was lost is read from the table itself.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use app::ports::Source as _;
use app::ports::Unavailable;
use app::ports::stream::{Lease, LeaseStore, Position, Shard, StockRecord, StockStream, StreamError};
use chassis::Process;
use contract::metric::Metric;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::stores::SystemSource;

/// A lease whose counter stands still for so long is anybody's. Three renewals may fail before it is lost.
const LEASE: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// New shards appear about every four hours; one that ends is noticed at once.
const LOOK_FOR_SHARDS_EVERY: Duration = Duration::from_secs(10);
/// An idle shard is asked once a second: four times would be 10 million billable reads a month.
const IDLE: Duration = Duration::from_secs(1);
/// DynamoDB gives at most 1,000 records a read.
const PAGE: u32 = 1_000;

/// Does what one change of a product asks for. Must be safe to repeat: a checkpoint follows its effects.
pub trait RecordHandler: Send + Sync + 'static {
    fn record(&self, record: &StockRecord) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Records were lost: reads the whole table instead.
    fn rebuild(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// Follows the stream until shutdown. Errors never end it.
pub async fn follow<S, L, H>(stream: S, leases: L, handler: H, process: Process)
where
    S: StockStream + 'static,
    L: LeaseStore + 'static,
    H: RecordHandler,
{
    process.health.expect("stream");
    let follower = Arc::new(Follower { stream, leases, handler, owner: Uuid::now_v7().to_string(), process });
    let shutdown = follower.process.shutdown.clone();
    let mut reading: JoinSet<String> = JoinSet::new();
    let mut read_now: HashMap<String, ()> = HashMap::new();
    // When a lease of somebody else was last seen to move.
    let mut seen: HashMap<String, (i64, Instant)> = HashMap::new();
    while !shutdown.is_cancelled() {
        match follower.to_take(&read_now, &mut seen).await {
            Ok(taken) => {
                follower.process.health.up("stream");
                for lease in taken {
                    read_now.insert(lease.shard.clone(), ());
                    let follower = follower.clone();
                    reading.spawn(async move {
                        let shard = lease.shard.clone();
                        follower.read_shard(lease).await;
                        shard
                    });
                }
            }
            Err(error) => follower.process.health.down("stream", error.to_string()),
        }
        tokio::select! {
            () = sleep(LOOK_FOR_SHARDS_EVERY) => {}
            () = shutdown.cancelled() => {}
            // A shard was read to its end or lost: its children may be read now.
            Some(ended) = reading.join_next() => {
                if let Ok(shard) = ended {
                    read_now.remove(&shard);
                }
            }
        }
    }
    while reading.join_next().await.is_some() {}
}

struct Follower<S, L, H> {
    stream: S,
    leases: L,
    handler: H,
    owner: String,
    process: Process,
}

impl<S: StockStream, L: LeaseStore, H: RecordHandler> Follower<S, L, H> {
    /// Takes the leases of all shards that nobody reads and whose parents have been read.
    async fn to_take(
        &self,
        read_now: &HashMap<String, ()>,
        seen: &mut HashMap<String, (i64, Instant)>,
    ) -> Result<Vec<Lease>, StreamError> {
        let shards = self.stream.shards().await?;
        let leases: HashMap<String, Lease> =
            self.leases.leases().await?.into_iter().map(|lease| (lease.shard.clone(), lease)).collect();
        // Without a lease on any of its shards, nothing is known of what this stream told us: it is new, or the one
        // that we read is gone.
        let unknown = !shards.iter().any(|shard| leases.contains_key(&shard.id));
        if unknown && !shards.is_empty() {
            self.handler.rebuild().await?;
        }
        let mut taken = Vec::new();
        for shard in &shards {
            if read_now.contains_key(&shard.id) || !self.parent_is_read(shard, &shards, &leases) {
                continue;
            }
            let there = leases.get(&shard.id);
            if let Some(lease) = there {
                if lease.finished {
                    continue;
                }
                let (counter, since) = seen.entry(shard.id.clone()).or_insert((lease.counter, Instant::now()));
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
            if self.leases.write(&mine, there.map(|lease| lease.counter)).await? {
                tracing::info!(shard = shard.id, checkpoint = mine.checkpoint, "Reading a shard");
                taken.push(mine);
            }
        }
        Ok(taken)
    }

    fn parent_is_read(&self, shard: &Shard, shards: &[Shard], leases: &HashMap<String, Lease>) -> bool {
        let Some(parent) = &shard.parent else { return true };
        // A parent that is no longer listed has been trimmed.
        !shards.iter().any(|other| other.id == *parent) || leases.get(parent).is_some_and(|lease| lease.finished)
    }

    /// Reads one shard until its end, the loss of its lease, or shutdown.
    async fn read_shard(&self, mut lease: Lease) {
        let shutdown = &self.process.shutdown;
        let mut iterator: Option<String> = None;
        // The last record whose effects are durable; ahead of the lease's checkpoint until that is written.
        let mut handled = lease.checkpoint.clone();
        let mut renewed = Instant::now();
        loop {
            let due = renewed.elapsed() >= RENEW_EVERY;
            if due || shutdown.is_cancelled() {
                if !self.renew(&mut lease, &handled, false).await {
                    return;
                }
                renewed = Instant::now();
            }
            if shutdown.is_cancelled() {
                self.give_back(lease).await;
                return;
            }
            match self.step(&lease.shard, &mut iterator, &mut handled).await {
                Ok(Step::More) => {}
                Ok(Step::Idle) => pause(IDLE, shutdown).await,
                Ok(Step::End) => {
                    self.renew(&mut lease, &handled, true).await;
                    tracing::info!(shard = lease.shard, "A shard was read to its end");
                    return;
                }
                Err(StreamError::IteratorExpired) => iterator = None,
                Err(StreamError::Trimmed) => match self.handler.rebuild().await {
                    Ok(()) => (iterator, handled) = (None, None),
                    Err(error) => {
                        tracing::warn!(error = %error, "Cannot read the table");
                        pause(IDLE, shutdown).await;
                    }
                },
                Err(StreamError::Unavailable(error)) => {
                    tracing::warn!(shard = lease.shard, error = %error, "Cannot read a shard");
                    iterator = None;
                    pause(IDLE, shutdown).await;
                }
            }
        }
    }

    /// Reads one page and handles it.
    async fn step(
        &self,
        shard: &str,
        iterator: &mut Option<String>,
        handled: &mut Option<String>,
    ) -> Result<Step, StreamError> {
        let at = match iterator.take() {
            Some(at) => at,
            None => {
                let position = handled.clone().map_or(Position::Oldest, Position::After);
                self.stream.open(shard, &position).await?
            }
        };
        let page = self.stream.read(&at, PAGE).await?;
        for record in &page.records {
            // A failure leaves the iterator unset: the shard is opened again after the last record that was handled.
            self.handler.record(record).await?;
            *handled = Some(record.sequence.clone());
        }
        let lag = page.records.last().and_then(|record| record.at);
        let lag = lag.map_or(0.0, |at| (SystemSource.now() - at).as_seconds_f64().max(0.0));
        self.process.metrics.set(Metric::StreamLag, &[], lag);
        *iterator = page.next;
        Ok(match (iterator.is_some(), page.records.is_empty()) {
            (false, _) => Step::End,
            (true, false) => Step::More,
            (true, true) => Step::Idle,
        })
    }

    /// Writes how far the shard was read, and shows that we are alive. False when the lease is somebody else's now.
    async fn renew(&self, lease: &mut Lease, handled: &Option<String>, finished: bool) -> bool {
        let next = Lease { counter: lease.counter + 1, checkpoint: handled.clone(), finished, ..lease.clone() };
        match self.leases.write(&next, Some(lease.counter)).await {
            Ok(true) => {
                *lease = next;
                true
            }
            Ok(false) => {
                tracing::warn!(shard = lease.shard, "The lease of a shard was lost");
                false
            }
            // It stays ours until somebody sees it stand still for long enough.
            Err(error) => {
                tracing::warn!(shard = lease.shard, error = %error, "A lease could not be renewed");
                true
            }
        }
    }

    /// So that the next worker need not wait for the lease to end.
    async fn give_back(&self, lease: Lease) {
        let free = Lease { owner: String::new(), counter: lease.counter + 1, ..lease.clone() };
        let _ = self.leases.write(&free, Some(lease.counter)).await;
    }
}

enum Step {
    More,
    Idle,
    End,
}

async fn pause(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = sleep(time) => {}
        () = shutdown.cancelled() => {}
    }
}

#[cfg(test)]
mod tests;
