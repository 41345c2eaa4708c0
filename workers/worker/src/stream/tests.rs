use std::collections::BTreeMap;
use std::sync::Mutex;

use app::ports::stream::Page;
use chassis::{Health, Metrics};

use super::*;

/// A stream of shards with numbered records, and everything that was done with it.
#[derive(Default)]
struct World {
    shards: Vec<(Shard, u32, bool)>,
    leases: BTreeMap<String, Lease>,
    handled: Vec<String>,
    rebuilt: usize,
    /// Answers of the next reads, before the real ones.
    failures: Vec<StreamError>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.0.lock().expect("not poisoned"))
    }

    fn shard(&self, id: &str, parent: Option<&str>, records: u32, closed: bool) {
        let shard = Shard { id: id.to_owned(), parent: parent.map(str::to_owned) };
        self.with(|world| world.shards.push((shard, records, closed)));
    }
}

impl StockStream for Shared {
    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        Ok(self.with(|world| world.shards.iter().map(|(shard, _, _)| shard.clone()).collect()))
    }

    async fn open(&self, shard: &str, position: &Position) -> Result<String, StreamError> {
        let from = match position {
            Position::Oldest => 0,
            Position::After(sequence) => sequence.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0),
        };
        Ok(format!("{shard}/{from}"))
    }

    async fn read(&self, iterator: &str, _limit: u32) -> Result<Page, StreamError> {
        let (id, from) = iterator.rsplit_once('/').expect("an iterator of ours");
        let from: u32 = from.parse().expect("a number");
        self.with(|world| {
            if let Some(failure) = world.failures.pop() {
                return Err(failure);
            }
            let (_, records, closed) = world.shards.iter().find(|(shard, _, _)| shard.id == id).expect("a known shard");
            let page = (from + 1..=*records).take(2).map(|n| StockRecord {
                sequence: format!("{id}/{n}"),
                before: None,
                after: None,
                at: None,
            });
            let page: Vec<_> = page.collect();
            let next = from + page.len() as u32;
            let ended = *closed && next >= *records;
            Ok(Page { records: page, next: (!ended).then(|| format!("{id}/{next}")) })
        })
    }
}

impl LeaseStore for Shared {
    async fn leases(&self) -> Result<Vec<Lease>, Unavailable> {
        Ok(self.with(|world| world.leases.values().cloned().collect()))
    }

    async fn write(&self, lease: &Lease, expected_counter: Option<i64>) -> Result<bool, Unavailable> {
        Ok(self.with(|world| {
            let fits = world.leases.get(&lease.shard).map(|there| there.counter) == expected_counter;
            if fits {
                world.leases.insert(lease.shard.clone(), lease.clone());
            }
            fits
        }))
    }
}

impl RecordHandler for Shared {
    async fn record(&self, record: &StockRecord) -> Result<(), Unavailable> {
        self.with(|world| world.handled.push(record.sequence.clone()));
        Ok(())
    }

    async fn rebuild(&self) -> Result<(), Unavailable> {
        self.with(|world| world.rebuilt += 1);
        Ok(())
    }
}

/// Follows for so long, then stops cleanly.
async fn follow_for(world: &Shared, seconds: u64) {
    let process = Process {
        metrics: Metrics::new(),
        health: Health::new("test", "0"),
        shutdown: CancellationToken::new(),
        drain: Duration::from_secs(10),
    };
    let shutdown = process.shutdown.clone();
    let following = tokio::spawn(follow(world.clone(), world.clone(), world.clone(), process));
    sleep(Duration::from_secs(seconds)).await;
    shutdown.cancel();
    following.await.expect("it ends by itself");
}

#[tokio::test(start_paused = true)]
async fn a_parent_is_read_to_its_end_before_its_child() {
    let world = Shared::default();
    world.shard("child", Some("parent"), 2, false);
    world.shard("parent", None, 3, true);
    follow_for(&world, 5).await;
    let handled = world.with(|world| world.handled.clone());
    assert_eq!(handled, ["parent/1", "parent/2", "parent/3", "child/1", "child/2"]);
}

#[tokio::test(start_paused = true)]
async fn who_starts_again_goes_on_after_the_checkpoint() {
    let world = Shared::default();
    world.shard("a", None, 3, false);
    follow_for(&world, 5).await;
    world.with(|world| world.shards[0].1 = 5);
    follow_for(&world, 5).await;
    let handled = world.with(|world| world.handled.clone());
    assert_eq!(handled, ["a/1", "a/2", "a/3", "a/4", "a/5"], "nothing twice, nothing left out");
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_another_is_left_alone_until_its_lease_stands_still() {
    let world = Shared::default();
    world.shard("a", None, 1, false);
    let lease =
        Lease { shard: "a".to_owned(), owner: "other".to_owned(), counter: 7, checkpoint: None, finished: false };
    world.with(|world| world.leases.insert("a".to_owned(), lease));
    follow_for(&world, 8).await;
    assert!(world.with(|world| world.handled.is_empty()), "it was somebody else's");
    follow_for(&world, 40).await;
    assert_eq!(world.with(|world| world.handled.clone()), ["a/1"], "it was taken over");
}

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_costs_nothing_and_lost_records_cost_a_look_at_the_table() {
    let world = Shared::default();
    world.shard("a", None, 2, false);
    world.with(|world| world.failures = vec![StreamError::Trimmed, StreamError::IteratorExpired]);
    follow_for(&world, 5).await;
    world.with(|world| {
        assert_eq!((world.handled.len(), world.rebuilt), (2, 2), "once at first sight, once for the loss")
    });
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_stream_that_is_gone_mean_that_records_were_lost() {
    let world = Shared::default();
    world.shard("old", None, 1, false);
    follow_for(&world, 3).await;
    world.with(|world| world.shards.clear());
    world.shard("new", None, 1, false);
    follow_for(&world, 3).await;
    world.with(|world| {
        assert_eq!((world.handled.clone(), world.rebuilt), (vec!["old/1".to_owned(), "new/1".to_owned()], 2))
    });
}
