//! The consume loop on a queue in memory that behaves as SQS does, in paused time: an hour takes
//! milliseconds.

mod breakers;
mod fake_queue;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::queue::{LONG_POLL, ORDERS, PAYMENTS, Queue};
use contract::settlement::Settlement;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Handler, consume};
use crate::inbox::Delivery;
use crate::{Health, Metrics, Process, trace};
use fake_queue::{Call, FakeQueue};

const DRAIN: Duration = Duration::from_secs(25);
const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(start_paused = true)]
async fn at_most_concurrency_messages_are_in_flight() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send_many(30);
    let running = Arc::new(Gauge::default());
    let seen = running.clone();
    let worker = Worker::start(&queue, 3, move |_| {
        let seen = seen.clone();
        async move {
            seen.enter();
            sleep(seconds(1)).await;
            seen.leave();
            Settlement::Done
        }
    });
    let took = worker.until_empty().await;
    assert_eq!(running.most(), 3);
    let done_but_not_yet_deleted = 3;
    assert!(
        queue.most_in_flight() <= 3 + done_but_not_yet_deleted,
        "{} taken from others",
        queue.most_in_flight()
    );
    assert!(
        (10.0..11.0).contains(&took.as_secs_f64()),
        "30 messages of a second, three at a time: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_its_order_and_does_not_block_other_groups() {
    let queue = FakeQueue::new(&ORDERS);
    for (id, group) in [
        ("a1", "a"),
        ("b1", "b"),
        ("a2", "a"),
        ("b2", "b"),
        ("a3", "a"),
        ("c1", "c"),
    ] {
        queue.send(id, Some(group));
    }
    let worker = Worker::start(&queue, 10, |delivery| async move {
        sleep(if delivery.group.as_deref() == Some("a") {
            seconds(5)
        } else {
            millis(100)
        })
        .await;
        Settlement::Done
    });
    worker.until_empty().await;
    assert_eq!(worker.began("a"), ["a1", "a2", "a3"]);
    assert_eq!(worker.began("b"), ["b1", "b2"]);
    assert!(
        worker.at("b2") < millis(300) && worker.at("c1") < millis(300),
        "nobody waited for the slow group"
    );
    assert_eq!(worker.at("a3").as_secs(), 10, "one at a time in a group");
}

#[tokio::test(start_paused = true)]
async fn a_failure_blocks_only_its_own_group() {
    let queue = FakeQueue::new(&ORDERS);
    for (id, group) in [
        ("a1", "a"),
        ("a2", "a"),
        ("a3", "a"),
        ("b1", "b"),
        ("b2", "b"),
    ] {
        queue.send(id, Some(group));
    }
    let worker = Worker::start(&queue, 10, |delivery| async move {
        if delivery.message_id == "a1" && delivery.attempt < 3 {
            retry("not yet")
        } else {
            Settlement::Done
        }
    });
    worker.until_empty().await;
    assert_eq!(
        worker.began("a"),
        ["a1", "a1", "a1", "a2", "a3"],
        "in order in spite of the failures"
    );
    assert_eq!(worker.began("b"), ["b1", "b2"]);
    assert!(worker.at("b2") < millis(100), "{:?}", worker.at("b2"));
    assert!(
        worker.at("a2") < seconds(4),
        "given back at once, not after a lease: {:?}",
        worker.at("a2")
    );
    let hidden: Vec<_> = queue
        .hides()
        .into_iter()
        .take(3)
        .map(|(handle, time)| (handle, time.is_zero()))
        .collect();
    let expected = [("a1#1", false), ("a2#1", true), ("a3#1", true)];
    assert_eq!(
        hidden,
        expected.map(|(handle, zero)| (handle.to_owned(), zero)),
        "the failed one first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_is_handed_back_only_after_the_queue_has_confirmed_the_back_off() {
    let queue = FakeQueue::new(&ORDERS);
    queue.send("a1", Some("a"));
    queue.send("a2", Some("a"));
    queue.fail_hides_until(millis(60));
    let worker = Worker::start(&queue, 10, |delivery| async move {
        if delivery.attempt == 1 && delivery.message_id == "a1" {
            retry("once")
        } else {
            Settlement::Done
        }
    });
    worker.until_empty().await;
    let hidden: Vec<_> = queue
        .hides()
        .into_iter()
        .map(|(handle, _)| handle)
        .collect();
    assert_eq!(
        hidden,
        ["a1#1", "a1#1", "a2#1"],
        "the first call was refused"
    );
    assert_eq!(worker.began("a"), ["a1", "a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn leases_of_waiting_messages_are_renewed() {
    let queue = FakeQueue::new(&ORDERS);
    for n in 0..10 {
        queue.send(&format!("a{n}"), Some("a"));
    }
    let worker = Worker::start(&queue, 10, |_| async {
        sleep(seconds(12)).await;
        Settlement::Done
    });
    let took = worker.until_empty().await;
    assert_eq!(
        took.as_secs(),
        120,
        "ten messages of twelve seconds, on a lease of twenty"
    );
    assert_eq!(worker.began("a").len(), 10, "none was delivered twice");
    assert_eq!(
        queue.touched_after_deletion(),
        [""; 0],
        "the heartbeat stops before the delete"
    );
    let calls = queue.calls(|call| matches!(call, Call::Hide(_)));
    assert!(
        calls <= 120 / 6,
        "ten leases are renewed by one call, not by ten: {calls} calls"
    );
}

#[tokio::test(start_paused = true)]
async fn a_quickly_handled_message_needs_no_renewal() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send_many(200);
    let worker = Worker::start(&queue, 10, |_| async {
        sleep(millis(300)).await;
        Settlement::Done
    });
    worker.until_empty().await;
    assert_eq!(queue.calls(|call| matches!(call, Call::Hide(_))), 0);
}

#[tokio::test(start_paused = true)]
async fn a_running_renewal_does_not_undo_a_back_off() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    queue.answer_renewals_after(millis(1_300));
    // The lease is renewed after ten seconds; the handler fails while that call is under way.
    let worker = Worker::start(&queue, 10, |delivery| async move {
        sleep(seconds(if delivery.attempt == 1 { 11 } else { 0 })).await;
        if delivery.attempt == 1 {
            retry("once")
        } else {
            Settlement::Done
        }
    });
    worker.until_empty().await;
    let (first, second) = (&queue.hides()[0], &queue.hides()[1]);
    assert_eq!(
        (first.1, second.1 <= seconds(1)),
        (PAYMENTS.lease, true),
        "renewed, then backed off"
    );
    assert!(worker.at("p1") < seconds(16), "{:?}", worker.at("p1"));
}

#[tokio::test(start_paused = true)]
async fn a_message_with_an_expired_handle_is_not_renewed_again() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    let worker = Worker::start(&queue, 10, |delivery| async move {
        sleep(seconds(if delivery.attempt == 1 { 14 } else { 0 })).await;
        Settlement::Done
    });
    sleep(seconds(1)).await;
    queue.end_lease("p1");
    sleep(seconds(20)).await;
    assert_eq!(
        queue.hides(),
        [("p1#1".to_owned(), PAYMENTS.lease)],
        "refused once, not asked again"
    );
    assert_eq!(
        worker.number("brewhaven_expired_handles_total{queue=\"payments\"}"),
        2.0,
        "the renewal and the delete"
    );
    assert_eq!(worker.attempts("p1"), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_message_whose_lease_has_ended_is_not_handled() {
    let queue = FakeQueue::new(&ORDERS);
    for id in ["a1", "a2", "a3"] {
        queue.send(id, Some("a"));
    }
    // The queue refuses every renewal for a while: the leases of those that wait end after twenty
    // seconds.
    queue.fail_hides_until(seconds(25));
    let worker = Worker::start(&queue, 10, |delivery| async move {
        sleep(if delivery.attempt == 1 {
            seconds(14)
        } else {
            millis(1)
        })
        .await;
        Settlement::Done
    });
    worker.until_empty().await;
    assert_eq!(
        worker.began("a"),
        ["a1", "a2", "a2", "a3"],
        "a2 lost its lease while it was handled"
    );
    assert!(
        !worker.attempts("a3").contains(&1),
        "a3 while it waited: {:?}",
        worker.attempts("a3")
    );
}

#[tokio::test(start_paused = true)]
async fn deletes_share_a_call_and_a_failed_one_is_retried() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send_many(10);
    queue.fail_delete("m3", 2);
    let worker = Worker::start(&queue, 10, |_| async { Settlement::Done });
    worker.until_empty().await;
    let deletes = queue.deletes();
    assert_eq!(deletes[0].len(), 10, "{deletes:?}");
    assert_eq!(
        deletes[1..],
        [["m3#1".to_owned()], ["m3#1".to_owned()]],
        "alone, and no more often than needed"
    );
    assert_eq!(worker.attempts("m3"), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_always_fails_is_given_up_and_the_loop_continues() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("stuck", None);
    queue.fail_delete("stuck", 5);
    let worker = Worker::start(&queue, 10, |_| async { Settlement::Done });
    sleep(millis(100)).await;
    queue.send("next", None);
    worker.until_empty().await;
    assert_eq!(worker.attempts("next"), [1]);
    assert_eq!(
        worker.attempts("stuck"),
        [1, 2],
        "it came again after its lease"
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_handle_is_counted_and_its_delete_is_not_repeated() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    queue.expire_at_delete("p1");
    let worker = Worker::start(&queue, 10, |_| async { Settlement::Done });
    worker.until_empty().await;
    assert_eq!(worker.attempts("p1"), [1, 2], "it came again");
    assert_eq!(
        worker.number("brewhaven_expired_handles_total{queue=\"payments\"}"),
        1.0
    );
    assert_eq!(
        queue.deletes().len(),
        2,
        "the refused delete was not repeated"
    );
}

#[tokio::test(start_paused = true)]
async fn the_back_off_grows_with_each_attempt() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    let worker = Worker::start(&queue, 10, |delivery| async move {
        if delivery.attempt < 9 {
            retry("gateway is down")
        } else {
            Settlement::Done
        }
    });
    worker.until_empty().await;
    let waits: Vec<f64> = queue
        .hides()
        .iter()
        .map(|(_, wait)| wait.as_secs_f64())
        .collect();
    for (wait, longest) in waits
        .iter()
        .zip([1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0])
    {
        assert!(
            (longest / 2.0..=longest).contains(wait),
            "{wait} is not in the upper half of {longest}: {waits:?}"
        );
    }
    assert_eq!(
        worker.number("brewhaven_messages_handled_total{outcome=\"retry\",queue=\"payments\"}"),
        8.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_set_the_time_of_the_retry() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    let worker = Worker::start(&queue, 10, |delivery| async move {
        let after = Some(seconds(90));
        if delivery.attempt == 1 {
            Settlement::Retry {
                reason: "busy".into(),
                after,
            }
        } else {
            Settlement::Done
        }
    });
    worker.until_empty().await;
    assert_eq!(queue.hides(), [("p1#1".to_owned(), seconds(90))]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_handled_becomes_a_dead_letter_and_the_group_continues() {
    let queue = FakeQueue::new(&ORDERS);
    queue.send("bad", Some("a"));
    queue.send("good", Some("a"));
    queue.fail_parks(1);
    let worker = Worker::start(&queue, 10, |delivery| async move {
        let reason = "not JSON".to_owned();
        if delivery.message_id == "bad" {
            Settlement::Park { reason }
        } else {
            Settlement::Done
        }
    });
    worker.until_empty().await;
    assert_eq!(queue.parked(), [("bad".to_owned(), "not JSON".to_owned())]);
    assert_eq!(
        worker.began("a"),
        ["bad", "bad", "good"],
        "not lost when it could not be parked at first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_becomes_a_dead_letter_after_its_last_delivery() {
    let queue = FakeQueue::new(&ORDERS);
    queue.send("a1", Some("a"));
    let worker = Worker::start(&queue, 10, |delivery| async move {
        retry(&format!("try {}", delivery.attempt))
    });
    worker.until_empty().await;
    let most = ORDERS.deliveries_max;
    assert_eq!(worker.attempts("a1"), (1..=most).collect::<Vec<_>>());
    assert_eq!(
        queue.parked(),
        [(
            "a1".to_owned(),
            format!("gave up after {most} deliveries: try {most}")
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_always_crashes_its_handler_becomes_a_dead_letter_early() {
    let queue = FakeQueue::new(&ORDERS);
    queue.send("a1", Some("a"));
    queue.send("a2", Some("a"));
    let worker = Worker::start(&queue, 10, |delivery| async move {
        assert!(delivery.message_id != "a1", "a bug");
        Settlement::Done
    });
    worker.until_empty().await;
    let most = ORDERS.crashes_max;
    assert_eq!(worker.attempts("a1"), (1..=most).collect::<Vec<_>>());
    let reason = format!("gave up after {most} deliveries: the handler panicked: a bug");
    assert_eq!(queue.parked(), [("a1".to_owned(), reason)]);
    assert_eq!(worker.attempts("a2").len(), 1, "its group goes on");
}

#[tokio::test(start_paused = true)]
async fn a_panic_or_a_timeout_causes_one_retry() {
    let queue = FakeQueue::new(&PAYMENTS);
    for id in ["panics", "hangs", "p1", "p2"] {
        queue.send(id, None);
    }
    let worker = Worker::start(&queue, 2, |delivery| async move {
        match (delivery.message_id.as_str(), delivery.attempt) {
            ("panics", 1) => panic!("a bug"),
            ("hangs", 1) => std::future::pending().await,
            _ => Settlement::Done,
        }
    });
    worker.until_empty().await;
    assert_eq!(
        (worker.attempts("panics"), worker.attempts("hangs")),
        (vec![1, 2], vec![1, 2])
    );
    assert!(worker.at("p2") < seconds(1), "the others did not wait");
    assert!(
        (15..18).contains(&worker.at("hangs").as_secs()),
        "after its timeout and back-off: {:?}",
        worker.at("hangs")
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_continues_the_trace_of_its_message() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    let seen = Arc::new(Mutex::new(None));
    let noted = seen.clone();
    let worker = Worker::start(&queue, 1, move |_| {
        let noted = noted.clone();
        async move {
            *noted.lock().expect("not poisoned") = trace::current();
            Settlement::Done
        }
    });
    worker.until_empty().await;
    let seen = seen
        .lock()
        .expect("not poisoned")
        .clone()
        .expect("in a trace");
    let sent = fake_queue::TRACEPARENT;
    assert!(
        seen[..35] == sent[..35] && seen[36..52] != sent[36..52],
        "{seen} is no child of {sent}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_started_messages_and_hands_back_the_others() {
    let queue = FakeQueue::new(&ORDERS);
    for id in ["a1", "a2", "a3"] {
        queue.send(id, Some("a"));
    }
    queue.send("b1", Some("b"));
    let worker = Worker::start(&queue, 20, |_| async {
        sleep(seconds(3)).await;
        Settlement::Done
    });
    sleep(seconds(1)).await;
    let stopping = worker.stop();
    // Arrives in the poll that is still under way.
    sleep(millis(500)).await;
    queue.send("late", Some("c"));
    let took = stopping.await;
    assert_eq!(queue.deleted(), ["a1", "b1"]);
    assert_eq!(
        queue.visible(),
        ["a2", "a3", "late"],
        "the next worker need not wait for a lease"
    );
    assert_eq!(
        queue.receives_dropped(),
        0,
        "what a dropped receive had taken would be hidden for a lease"
    );
    assert!(took < seconds(4), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_messages_waits_only_for_the_poll() {
    let queue = FakeQueue::new(&ORDERS);
    let worker = Worker::start(&queue, 20, |_| async { Settlement::Done });
    sleep(LONG_POLL / 3).await;
    let took = worker.stop().await;
    assert_eq!(queue.receives_dropped(), 0);
    assert!(took <= LONG_POLL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_in_time_even_if_calls_hang() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    let worker = Worker::start_with(&queue, 10, seconds(8), |_| std::future::pending());
    sleep(millis(100)).await;
    let took = worker.stop().await;
    assert!((5..=8).contains(&took.as_secs()), "{took:?}");
    assert_eq!(
        queue.visible(),
        ["p1"],
        "the unfinished one was handed back"
    );

    // Nothing at all answers any more.
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send("p1", None);
    let worker = Worker::start_with(&queue, 10, seconds(8), |_| std::future::pending());
    sleep(millis(100)).await;
    queue.hang();
    let took = worker.stop().await;
    assert!(took <= seconds(8), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn queued_deletes_are_sent_before_the_drain_ends() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send_many(3);
    queue.fail_delete("m1", 1);
    let worker = Worker::start(&queue, 10, |_| async {
        sleep(millis(500)).await;
        Settlement::Done
    });
    sleep(millis(300)).await;
    worker.stop().await;
    assert_eq!(queue.deleted(), ["m0", "m1", "m2"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_is_polled_by_one_poller() {
    let queue = FakeQueue::new(&PAYMENTS);
    let worker = Worker::start(&queue, 50, |_| async { Settlement::Done });
    sleep(seconds(3_600)).await;
    let receives = queue.calls(|call| matches!(call, Call::Receive));
    let polls = seconds(3_600).div_duration_f64(LONG_POLL);
    assert!(
        receives as f64 <= polls + 2.0,
        "{receives} receives in an hour"
    );
    assert_eq!(queue.most_receives_at_once(), 1);
    assert!(worker.number("brewhaven_empty_receives_total{queue=\"payments\"}") >= polls - 5.0);
}

#[tokio::test(start_paused = true)]
async fn pollers_join_under_a_backlog_and_leave_after_it() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.send_many(2_000);
    let worker = Worker::start(&queue, 50, |_| async {
        sleep(millis(20)).await;
        Settlement::Done
    });
    worker.until_empty().await;
    let busy = queue.calls(|call| matches!(call, Call::Receive));
    assert!(
        (3..=5).contains(&queue.most_receives_at_once()),
        "{} at once",
        queue.most_receives_at_once()
    );
    assert!(
        busy <= 260,
        "receives come back full: {busy} for 2,000 messages"
    );
    sleep(seconds(60)).await;
    assert_eq!(worker.number("brewhaven_pollers{queue=\"payments\"}"), 1.0);
    let before = queue.calls(|call| matches!(call, Call::Receive));
    sleep(LONG_POLL * 10).await;
    assert!(queue.calls(|call| matches!(call, Call::Receive)) - before <= 11);
}

#[tokio::test(start_paused = true)]
async fn single_messages_are_received_by_one_poller_without_delay() {
    let queue = FakeQueue::new(&PAYMENTS);
    let worker = Worker::start(&queue, 50, |_| async { Settlement::Done });
    sleep(seconds(1)).await;
    for n in 0..50 {
        let sent = worker.now();
        let id = format!("p{n}");
        queue.send(&id, None);
        sleep(millis(200)).await;
        assert!(
            worker.at(&id) - sent < millis(60),
            "{:?}",
            worker.at(&id) - sent
        );
    }
    assert_eq!(queue.most_receives_at_once(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_steady_stream_is_received_in_batches_with_a_short_delay() {
    let queue = FakeQueue::new(&PAYMENTS);
    let worker = Worker::start(&queue, 20, |_| async { Settlement::Done });
    let mut sent = HashMap::new();
    for n in 0..1_000 {
        let id = format!("p{n}");
        queue.send(&id, None);
        sent.insert(id, worker.now());
        sleep(millis(10)).await;
    }
    worker.until_empty().await;
    let longest = sent.iter().map(|(id, sent)| worker.at(id) - *sent).max();
    assert!(longest < Some(millis(150)), "{longest:?}");
    let receives = queue.calls(|call| matches!(call, Call::Receive));
    let deletes = queue.calls(|call| matches!(call, Call::Delete(_)));
    assert!(
        (100..250).contains(&receives),
        "{receives} receives of 100 messages a second for ten seconds"
    );
    assert!((100..250).contains(&deletes), "{deletes} deletes");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_queue_is_polled_rarely_and_shows_in_readiness() {
    let queue = FakeQueue::new(&PAYMENTS);
    let worker = Worker::start(&queue, 50, |_| async { Settlement::Done });
    assert!(!worker.health.is_ready(), "not reached yet");
    sleep(seconds(1)).await;
    assert!(
        worker.health.is_ready(),
        "known without waiting for a long poll"
    );
    queue.fail_receives_for(seconds(120));
    sleep(seconds(30)).await;
    assert!(!worker.health.is_ready());
    let receives = queue.calls(|call| matches!(call, Call::Receive));
    sleep(seconds(60)).await;
    let asked = queue.calls(|call| matches!(call, Call::Receive)) - receives;
    assert!((11..=25).contains(&asked), "{asked} receives in a minute");
    queue.send("p1", None);
    sleep(seconds(36)).await;
    assert!(worker.health.is_ready(), "soon after it is back");
    assert_eq!(worker.attempts("p1"), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_returns_empty_at_once_is_not_polled_in_a_busy_loop() {
    let queue = FakeQueue::new(&PAYMENTS);
    queue.never_wait();
    let worker = Worker::start(&queue, 50, |_| async { Settlement::Done });
    sleep(seconds(60)).await;
    let receives = queue.calls(|call| matches!(call, Call::Receive));
    assert!(
        (100..=260).contains(&receives),
        "{receives} receives in a minute"
    );
    queue.send("p1", None);
    worker.until_empty().await;
    assert_eq!(worker.attempts("p1"), [1]);
}

#[tokio::test(start_paused = true)]
async fn two_workers_with_random_faults_lose_nothing_and_keep_every_group_in_order() {
    for seed in 0..20 {
        let queue = FakeQueue::new(&ORDERS);
        for n in 0..10 {
            for group in 0..12 {
                queue.send(&format!("{group}-{n}"), Some(&group.to_string()));
            }
        }
        let book = Arc::new(Book::default());
        let workers: Vec<_> = (0..2).map(|_| storm_worker(&queue, &book, seed)).collect();
        for n in [3, 20, 41, 57] {
            queue.fail_delete(&format!("{}-{}", n % 12, n % 10), n % 4);
        }
        sleep(millis(1_300)).await;
        // A deployment in the middle of it: one worker is replaced.
        let mut workers = workers.into_iter();
        let (stops, stays) = (workers.next().expect("one"), workers.next().expect("two"));
        let stopping = stops.stop();
        let _new = storm_worker(&queue, &book, seed);
        stopping.await;
        stays.until_empty().await;
        let done = book.done.lock().expect("not poisoned").clone();
        for group in 0..12 {
            let mut first = Vec::new();
            for id in done
                .iter()
                .filter(|id| id.starts_with(&format!("{group}-")))
            {
                if !first.contains(id) {
                    first.push(id.clone());
                }
            }
            let expected: Vec<_> = (0..10).map(|n| format!("{group}-{n}")).collect();
            assert_eq!(first, expected, "seed {seed}");
        }
        assert_eq!(
            *book.at_once.lock().expect("not poisoned"),
            Vec::<String>::new(),
            "seed {seed}: two of one group"
        );
        assert_eq!(queue.touched_after_deletion(), [""; 0], "seed {seed}");
    }
}

/// The record of the handlers of all workers.
#[derive(Default)]
struct Book {
    done: Mutex<Vec<String>>,
    busy: Mutex<HashSet<String>>,
    at_once: Mutex<Vec<String>>,
}

/// A handler that is quick, slow, failing or panicking by the dice; never for good.
fn storm_worker(queue: &Arc<FakeQueue>, book: &Arc<Book>, seed: u64) -> Worker {
    let book = book.clone();
    Worker::start(queue, 20, move |delivery| {
        let book = book.clone();
        async move {
            let group = delivery.group.clone().unwrap_or_default();
            if !book
                .busy
                .lock()
                .expect("not poisoned")
                .insert(group.clone())
            {
                book.at_once
                    .lock()
                    .expect("not poisoned")
                    .push(delivery.message_id.clone());
            }
            let _leaves = Leaves { group, book: &book };
            let mut dice = DefaultHasher::new();
            (seed, &delivery.message_id, delivery.attempt).hash(&mut dice);
            let dice = dice.finish();
            sleep(millis(dice % 400)).await;
            match dice >> 32 & 15 {
                0 if delivery.attempt < 4 => retry("unlucky"),
                1 if delivery.attempt < 4 => panic!("very unlucky"),
                2 if delivery.attempt < 3 => std::future::pending().await,
                _ => {
                    book.done
                        .lock()
                        .expect("not poisoned")
                        .push(delivery.message_id.clone());
                    Settlement::Done
                }
            }
        }
    })
}

struct Leaves<'a> {
    group: String,
    book: &'a Book,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.book
            .busy
            .lock()
            .expect("not poisoned")
            .remove(&self.group);
    }
}

fn retry(reason: &str) -> Settlement {
    Settlement::Retry {
        reason: reason.to_owned(),
        after: None,
    }
}

/// A running consumer and what its handler saw.
struct Worker {
    queue: Arc<FakeQueue>,
    started: Instant,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
    consumer: Option<JoinHandle<()>>,
    /// Message, group, attempt, and when, in the order in which handling began.
    began: Began,
}

type Began = Arc<Mutex<Vec<(String, Option<String>, u32, Duration)>>>;

impl Worker {
    fn start<F: Future<Output = Settlement> + Send + 'static>(
        queue: &Arc<FakeQueue>,
        concurrency: usize,
        handle: impl Fn(Delivery) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(queue, concurrency, DRAIN, handle)
    }

    fn start_with<F: Future<Output = Settlement> + Send + 'static>(
        queue: &Arc<FakeQueue>,
        concurrency: usize,
        drain: Duration,
        handle: impl Fn(Delivery) -> F + Send + Sync + 'static,
    ) -> Self {
        let started = Instant::now();
        let began = Began::default();
        let metrics = Metrics::new();
        let health = Health::new("test", "0");
        let shutdown = CancellationToken::new();
        let handler = Arc::new(Noting {
            handle,
            began: began.clone(),
            started,
        });
        let process = Process {
            metrics: metrics.clone(),
            health: health.clone(),
            shutdown: shutdown.clone(),
            drain,
        };
        health.expect("queue payments");
        if queue.spec() != &PAYMENTS {
            health.up("queue payments");
        }
        let spec: &'static Queue = queue.spec();
        let consumer = Some(tokio::spawn(consume(
            queue.clone(),
            spec,
            concurrency,
            handler,
            process,
        )));
        Self {
            queue: queue.clone(),
            started,
            metrics,
            health,
            shutdown,
            consumer,
            began,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long it took until every message was deleted.
    async fn until_empty(&self) -> Duration {
        while !self.queue.is_empty() {
            assert!(self.now() < seconds(3_600), "never done");
            sleep(millis(10)).await;
        }
        self.now()
    }

    /// Asks it to stop now; resolves when it has stopped, to how long that took.
    fn stop(mut self) -> impl Future<Output = Duration> {
        let asked = Instant::now();
        self.shutdown.cancel();
        let consumer = self.consumer.take();
        async move {
            consumer.expect("running").await.expect("no panic");
            asked.elapsed()
        }
    }

    /// The messages of a group, as often as handling began.
    fn began(&self, group: &str) -> Vec<String> {
        let began = self.began.lock().expect("not poisoned");
        began
            .iter()
            .filter(|(_, g, ..)| g.as_deref() == Some(group))
            .map(|(id, ..)| id.clone())
            .collect()
    }

    fn attempts(&self, id: &str) -> Vec<u32> {
        let began = self.began.lock().expect("not poisoned");
        began
            .iter()
            .filter(|(began, ..)| began == id)
            .map(|(.., attempt, _)| *attempt)
            .collect()
    }

    /// When its last handling began.
    fn at(&self, id: &str) -> Duration {
        let began = self.began.lock().expect("not poisoned");
        let last: HashMap<_, _> = began
            .iter()
            .map(|(id, .., at)| (id.as_str(), *at))
            .collect();
        *last
            .get(id)
            .unwrap_or_else(|| panic!("{id} was never handled"))
    }

    /// A line of `/metrics`.
    fn number(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
            .trim()
            .parse()
            .expect("a number")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(consumer) = &self.consumer {
            consumer.abort();
        }
    }
}

struct Noting<H> {
    handle: H,
    began: Began,
    started: Instant,
}

impl<F, H> Handler for Noting<H>
where
    F: Future<Output = Settlement> + Send + 'static,
    H: Fn(Delivery) -> F + Send + Sync + 'static,
{
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        let Delivery {
            message_id,
            group,
            attempt,
            ..
        } = delivery.clone();
        let at = self.started.elapsed();
        self.began
            .lock()
            .expect("not poisoned")
            .push((message_id, group, attempt, at));
        (self.handle)(delivery.clone()).await
    }
}

#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }
    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}
