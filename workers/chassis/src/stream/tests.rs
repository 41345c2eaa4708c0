use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::{Health, Metrics};

/// A stream of shards with numbered records, and everything that was done with it.
#[derive(Default)]
struct World {
    shards: Vec<(Shard, u32, bool)>,
    leases: BTreeMap<String, Lease>,
    handled: Vec<String>,
    rebuilt: usize,
    /// Errors that the next reads return.
    failures: Vec<StreamError>,
    /// Time that the handler needs for each record.
    slow: Duration,
    /// The number of a record, and how often the handler fails at it. `panics` is the same for
    /// panics.
    unavailable: (String, usize),
    panics: (String, usize),
    lease_writes: usize,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.0.lock().expect("not poisoned"))
    }

    fn shard(&self, id: &str, parent: Option<&str>, records: u32, closed: bool) {
        let shard = Shard {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
        };
        self.with(|world| world.shards.push((shard, records, closed)));
    }
}

impl ChangeStream for Shared {
    type Change = ();

    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        Ok(self.with(|world| {
            world
                .shards
                .iter()
                .map(|(shard, _, _)| shard.clone())
                .collect()
        }))
    }

    async fn open(&self, shard: &str, position: &Position) -> Result<String, StreamError> {
        let from = match position {
            Position::Oldest => 0,
            Position::After(sequence) => sequence
                .rsplit('/')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
        };
        Ok(format!("{shard}/{from}"))
    }

    async fn read(&self, iterator: &str, _limit: u32) -> Result<Page<()>, StreamError> {
        let (id, from) = iterator.rsplit_once('/').expect("an iterator of ours");
        let from: u32 = from.parse().expect("a number");
        self.with(|world| {
            if let Some(failure) = world.failures.pop() {
                return Err(failure);
            }
            let (_, records, closed) = world
                .shards
                .iter()
                .find(|(shard, _, _)| shard.id == id)
                .expect("a known shard");
            let page = (from + 1..=*records).take(2).map(|n| Record {
                sequence: format!("{id}/{n}"),
                at: None,
                change: (),
            });
            let page: Vec<_> = page.collect();
            let next = from + page.len() as u32;
            let ended = *closed && next >= *records;
            Ok(Page {
                records: page,
                next: (!ended).then(|| format!("{id}/{next}")),
            })
        })
    }
}

impl LeaseStore for Shared {
    async fn leases(&self) -> Result<Vec<Lease>, BoxError> {
        Ok(self.with(|world| world.leases.values().cloned().collect()))
    }

    async fn write(&self, lease: &Lease, expected_counter: Option<i64>) -> Result<bool, BoxError> {
        Ok(self.with(|world| {
            world.lease_writes += 1;
            let fits =
                world.leases.get(&lease.shard).map(|there| there.counter) == expected_counter;
            if fits {
                world.leases.insert(lease.shard.clone(), lease.clone());
            }
            fits
        }))
    }
}

impl RecordHandler<()> for Shared {
    async fn record(&self, record: &Record<()>) -> Result<(), BoxError> {
        let take = |(sequence, times): &mut (String, usize)| {
            let now = *sequence == record.sequence && *times > 0;
            *times -= usize::from(now);
            now
        };
        let slow = self.with(|world| world.slow);
        sleep(slow).await;
        assert!(
            !self.with(|world| take(&mut world.panics)),
            "a defect of the handler"
        );
        if self.with(|world| take(&mut world.unavailable)) {
            return Err("orders is unavailable: down".into());
        }
        self.with(|world| world.handled.push(record.sequence.clone()));
        Ok(())
    }

    async fn rebuild(&self) -> Result<(), BoxError> {
        self.with(|world| world.rebuilt += 1);
        Ok(())
    }
}

fn process() -> Process {
    Process {
        metrics: Metrics::new(),
        health: Health::new("test", "0"),
        shutdown: CancellationToken::new(),
        drain: Duration::from_secs(10),
    }
}

/// Follows the stream for some seconds, and then stops cleanly.
async fn follow_for(world: &Shared, seconds: u64) {
    let process = process();
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
    assert_eq!(
        handled,
        ["parent/1", "parent/2", "parent/3", "child/1", "child/2"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_worker_continues_after_the_checkpoint() {
    let world = Shared::default();
    world.shard("a", None, 3, false);
    follow_for(&world, 5).await;
    world.with(|world| world.shards[0].1 = 5);
    follow_for(&world, 5).await;
    let handled = world.with(|world| world.handled.clone());
    assert_eq!(
        handled,
        ["a/1", "a/2", "a/3", "a/4", "a/5"],
        "nothing twice, nothing left out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_taken_from_another_worker_only_after_its_lease_has_expired() {
    let world = Shared::default();
    world.shard("a", None, 1, false);
    let lease = Lease {
        shard: "a".to_owned(),
        owner: "other".to_owned(),
        counter: 7,
        checkpoint: None,
        finished: false,
    };
    world.with(|world| world.leases.insert("a".to_owned(), lease));
    follow_for(&world, 8).await;
    assert!(
        world.with(|world| world.handled.is_empty()),
        "it was somebody else's"
    );
    follow_for(&world, 40).await;
    assert_eq!(
        world.with(|world| world.handled.clone()),
        ["a/1"],
        "it was taken over"
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_is_renewed_and_lost_records_cause_a_rebuild() {
    let world = Shared::default();
    world.shard("a", None, 2, false);
    world.with(|world| world.failures = vec![StreamError::Trimmed, StreamError::IteratorExpired]);
    follow_for(&world, 5).await;
    world.with(|world| {
        assert_eq!(
            (world.handled.len(), world.rebuilt),
            (2, 2),
            "once at first sight, once for the loss"
        )
    });
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_replaced_stream_cause_a_rebuild() {
    let world = Shared::default();
    world.shard("old", None, 1, false);
    follow_for(&world, 3).await;
    world.with(|world| world.shards.clear());
    world.shard("new", None, 1, false);
    follow_for(&world, 3).await;
    world.with(|world| {
        assert_eq!(
            (world.handled.clone(), world.rebuilt),
            (vec!["old/1".to_owned(), "new/1".to_owned()], 2)
        )
    });
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|number| format!("a/{number}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_page_of_slow_records_does_not_lose_the_lease() {
    let world = Shared::default();
    world.shard("a", None, 6, false);
    // A page of two takes 20 s, longer than a lease lasts.
    world.with(|world| world.slow = Duration::from_secs(10));
    let (first, second) = (tokio::spawn(follow_for_owned(world.clone(), 70)), async {
        sleep(Duration::from_secs(1)).await;
        follow_for(&world, 68).await;
    });
    let (first, ()) = tokio::join!(first, second);
    first.expect("it ends by itself");
    assert_eq!(
        world.with(|world| world.handled.clone()),
        numbers(1..=6),
        "each once, by the one that began"
    );
}

async fn follow_for_owned(world: Shared, seconds: u64) {
    follow_for(&world, seconds).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_between_two_records_writes_the_checkpoint() {
    let world = Shared::default();
    world.shard("a", None, 100, false);
    world.with(|world| world.slow = Duration::from_millis(700));
    let begun = Instant::now();
    follow_for(&world, 3).await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it does not finish the shard first"
    );
    let (handled, lease) = world.with(|world| (world.handled.clone(), world.leases["a"].clone()));
    assert_eq!(lease.checkpoint.as_ref(), handled.last());
    assert_eq!(lease.owner, "", "the next one need not wait");
}

#[tokio::test(start_paused = true)]
async fn records_of_a_killed_worker_are_handled_again_and_none_is_skipped() {
    let world = Shared::default();
    world.shard("a", None, 40, false);
    world.with(|world| world.slow = Duration::from_millis(300));
    // Its future is dropped with everything in it: that is all a SIGKILL leaves.
    let killed = tokio::time::timeout(Duration::from_secs(5), follow_alone(world.clone()));
    assert!(killed.await.is_err(), "killed");
    let done = world.with(|world| world.handled.len());
    let begun = Instant::now();
    follow_for(&world, 50).await;
    let handled = world.with(|world| world.handled.clone());
    let mut distinct = handled.clone();
    distinct.dedup();
    let again = handled.len() - 40;
    assert!(
        again <= 5,
        "a second's worth is done again, {again} records after {done}"
    );
    assert!(
        numbers(1..=40)
            .iter()
            .all(|number| handled.contains(number)),
        "{handled:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "a fault is recovered from within a minute"
    );
}

/// One shard, read in this very task, so that dropping it is a kill.
async fn follow_alone(world: Shared) {
    let follower = Follower {
        stream: world.clone(),
        leases: world.clone(),
        handler: world.clone(),
        owner: "killed".to_owned(),
        process: process(),
    };
    let taken = follower
        .to_take(&HashSet::new(), &mut HashMap::new())
        .await
        .expect("taken");
    for lease in taken {
        follower.read_shard(lease).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_blocks_the_records_behind_it() {
    let world = Shared::default();
    world.shard("a", None, 5, false);
    world.with(|world| world.unavailable = ("a/2".to_owned(), 7));
    follow_for(&world, 20).await;
    assert_eq!(
        world.with(|world| world.handled.clone()),
        numbers(1..=5),
        "each once and in order"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_panics_is_started_again() {
    let world = Shared::default();
    world.shard("a", None, 5, false);
    world.with(|world| world.panics = ("a/4".to_owned(), 1));
    follow_for(&world, 10).await;
    let handled = world.with(|world| world.handled.clone());
    assert_eq!(
        handled.last().map(String::as_str),
        Some("a/5"),
        "{handled:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_disappears_before_its_end_causes_a_rebuild() {
    let world = Shared::default();
    world.shard("other", None, 1, false);
    world.shard("parent", None, 3, false);
    follow_for(&world, 3).await;
    let before = world.with(|world| world.rebuilt);
    // A day later: the parent is trimmed, unread to its end, and its child is there; the other
    // shard still is.
    world.with(|world| world.shards.retain(|(shard, _, _)| shard.id != "parent"));
    world.shard("child", Some("parent"), 2, false);
    follow_for(&world, 3).await;
    follow_for(&world, 3).await;
    world.with(|world| {
        assert_eq!(world.rebuilt, before + 1, "once");
        assert!(world.leases["parent"].finished);
        assert!(world.handled.contains(&"child/2".to_owned()));
    });
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_no_longer_exists_is_not_read_forever() {
    let world = Shared::default();
    world.shard("a", None, 2, false);
    world.with(|world| {
        world.failures = std::iter::repeat_with(|| StreamError::Trimmed)
            .take(6)
            .collect();
    });
    follow_for(&world, 35).await;
    world.with(|world| {
        assert!(
            world.rebuilt <= 5,
            "{} looks at the table in 35 s",
            world.rebuilt
        );
        assert_eq!(world.handled, numbers(1..=2));
    });
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_written_once_a_second_at_most_and_an_idle_lease_every_five() {
    let world = Shared::default();
    world.shard("a", None, 1_000, false);
    world.with(|world| world.slow = Duration::from_millis(10));
    follow_for(&world, 10).await;
    let busy = world.with(|world| std::mem::take(&mut world.lease_writes));
    assert!((9..=13).contains(&busy), "{busy} writes in 10 s");
    follow_for(&world, 30).await;
    let idle = world.with(|world| world.lease_writes);
    assert!((6..=10).contains(&idle), "{idle} writes in 30 s");
}
