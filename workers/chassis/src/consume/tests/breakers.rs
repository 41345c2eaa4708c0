//! The cost of an outage of a dependency: hardly any deliveries, and at most a minute of delay
//! afterwards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::dependency::Dependency;
use contract::queue::{ORDERS, PAYMENTS, Queue};
use contract::settlement::Settlement;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fake_queue::{Call, FakeQueue};
use super::{DRAIN, millis, retry, seconds};
use crate::breaker::Weight;
use crate::consume::{Handler, consume};
use crate::inbox::Delivery;
use crate::{Breaker, Health, Metrics, Process};

/// Duration of a call to the dependency, also of a failed one.
const CALL: Duration = millis(100);

/// A handler that makes one call to a gateway which is down between two moments.
struct Caller {
    needs: [Breaker; 1],
    down: (Instant, Instant),
    /// Fails for this message alone, whether the gateway is there or not.
    poison: Option<&'static str>,
    deliveries: Arc<Mutex<HashMap<String, u32>>>,
}

impl Handler for Caller {
    async fn handle(&self, delivery: &Delivery) -> Settlement {
        self.deliveries
            .lock()
            .expect("not poisoned")
            .insert(delivery.message_id.clone(), delivery.attempt);
        sleep(CALL).await;
        let now = Instant::now();
        let fails = now >= self.down.0 && now < self.down.1;
        if fails || self.poison == Some(delivery.message_id.as_str()) {
            self.needs[0].failure("connection refused");
            return retry("the gateway is away");
        }
        self.needs[0].success();
        Settlement::Done
    }

    fn needs(&self) -> &[Breaker] {
        &self.needs
    }
}

struct Outage {
    queue: Arc<FakeQueue>,
    health: Health,
    breaker: Breaker,
    ends: Instant,
    deliveries: Arc<Mutex<HashMap<String, u32>>>,
    consumer: JoinHandle<()>,
}

impl Outage {
    /// Starts an outage of this duration now.
    fn of(spec: &'static Queue, so_long: Duration, poison: Option<&'static str>) -> Outage {
        let queue = FakeQueue::new(spec);
        let (health, metrics) = (Health::new("test", "0"), Metrics::new());
        let breaker = Breaker::new(Dependency::Gateway, Weight::Hard, &health, &metrics);
        let (begins, deliveries) = (Instant::now(), Arc::<Mutex<HashMap<_, _>>>::default());
        let ends = begins + so_long;
        let handler = Caller {
            needs: [breaker.clone()],
            down: (begins, ends),
            poison,
            deliveries: deliveries.clone(),
        };
        let process = Process {
            metrics,
            health: health.clone(),
            shutdown: CancellationToken::new(),
            drain: DRAIN,
        };
        let consumer = tokio::spawn(consume(queue.clone(), spec, 20, Arc::new(handler), process));
        Outage {
            queue,
            health,
            breaker,
            ends,
            deliveries,
            consumer,
        }
    }

    /// As the payment worker has it: asked without a message.
    fn probed(self) -> Outage {
        let ends = self.ends;
        self.breaker
            .probe_with(CancellationToken::new(), move || async move {
                Instant::now() >= ends
            });
        self
    }

    fn receives(&self) -> usize {
        self.queue.calls(|call| matches!(call, Call::Receive))
    }

    /// The most deliveries of one message.
    fn most_deliveries(&self) -> u32 {
        self.deliveries
            .lock()
            .expect("not poisoned")
            .values()
            .copied()
            .max()
            .unwrap_or_default()
    }

    /// How long after the end of the outage everything was done.
    async fn recovered_after(&self) -> Duration {
        while !self.queue.is_empty() {
            assert!(self.ends.elapsed() < seconds(3_600), "never done");
            sleep(millis(10)).await;
        }
        self.ends.elapsed()
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.consumer.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_gateway_uses_few_deliveries_and_no_receives() {
    let outage = Outage::of(&PAYMENTS, seconds(3_600), None).probed();
    outage.queue.send_many(100);
    sleep(seconds(60)).await;
    assert!(!outage.health.is_ready());
    assert!(
        outage
            .health
            .describe()
            .to_string()
            .contains("calls to gateway"),
        "{}",
        outage.health.describe()
    );
    let (receives, deliveries) = (outage.receives(), outage.most_deliveries());
    sleep(seconds(3_500)).await;
    assert_eq!(
        outage.receives(),
        receives,
        "nothing is received that would have to fail"
    );
    assert!(
        deliveries <= 3 && outage.most_deliveries() == deliveries,
        "{}",
        outage.most_deliveries()
    );
    let took = outage.recovered_after().await;
    assert!(took < seconds(60), "{took:?}");
    assert!(
        outage.most_deliveries() <= 5,
        "{}",
        outage.most_deliveries()
    );
    assert!(outage.health.is_ready());
}

#[tokio::test(start_paused = true)]
async fn without_a_probe_one_message_at_a_time_tests_the_dependency() {
    let outage = Outage::of(&PAYMENTS, seconds(300), None);
    outage.queue.send_many(100);
    sleep(seconds(60)).await;
    let receives = outage.receives();
    sleep(seconds(240)).await;
    let tries = outage.receives() - receives;
    assert!((20..=60).contains(&tries), "{tries} tries in four minutes");
    let took = outage.recovered_after().await;
    assert!(took < seconds(60), "{took:?}");
    assert!(
        outage.most_deliveries() <= 30,
        "{}",
        outage.most_deliveries()
    );
}

#[tokio::test(start_paused = true)]
async fn received_messages_that_were_not_started_are_handed_back_in_order() {
    let outage = Outage::of(&ORDERS, seconds(30), None).probed();
    for group in 0..6 {
        for n in 0..5 {
            outage
                .queue
                .send(&format!("{group}-{n}"), Some(&group.to_string()));
        }
    }
    sleep(seconds(29)).await;
    assert!(
        outage.queue.visible().len() >= 24,
        "kept from others: {:?}",
        outage.queue.visible()
    );
    let took = outage.recovered_after().await;
    assert!(took < seconds(60), "{took:?}");
    assert_eq!(outage.queue.touched_after_deletion(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_for_its_own_reason_does_not_stop_the_others() {
    let outage = Outage::of(&PAYMENTS, Duration::ZERO, Some("m3"));
    outage.queue.send_many(200);
    sleep(seconds(10)).await;
    assert_eq!(outage.queue.deleted().len(), 199);
    // Alone, it opens the breaker in time; the next message closes it again.
    sleep(seconds(600)).await;
    let sent = Instant::now();
    outage.queue.send("next", None);
    while outage.queue.deleted().len() < 200 {
        assert!(sent.elapsed() < seconds(30), "kept back by another's fault");
        sleep(millis(10)).await;
    }
}
