//! The simulated processes. They run the product's use cases, wired as in `workers/worker`. Their
//! consume loop has no heartbeat, unlike the real one, so that more messages are delivered twice.

use std::sync::Arc;
use std::time::Duration;

use app::ports::Source as _;
use app::ports::orders::{OrderStore as _, Outgoing};
use app::ports::stock::Stock as _;
use app::use_cases::notify::{Post, Switches, notify};
use app::use_cases::pay::pay;
use app::use_cases::relay::relay_some;
use app::use_cases::run_saga::run_saga;
use app::use_cases::sweep::{sweep_holds, sweep_messages, sweep_orders};
use app::use_cases::time_out::Timeouts;
use app::use_cases::watch_stock::{rebuild, watch_record};
use app::use_cases::{Handled, Maker};
use contract::queue::{NOTIFICATIONS, ORDERS, PAYMENTS, Queue};
use contract::retry::BETWEEN_ATTEMPTS;
use contract::role;
use contract::settlement::Settlement;
use domain::saga::State;
use futures::future::join_all;

use super::engine::SimSource;
use super::gateway::SimGateway;
use super::hits::Hit;
use super::mail::{NoTexts, SimMailer, Words};
use super::mistake::Mistake;
use super::orders::{SimOrders, at_once};
use super::port::Port;
use super::queues::{Delivery, SimPublisher};
use super::shop::SimulatedShop;
use super::stock::{Page, SimStock};
use super::task::{Job, Who};

/// Messages in one receive call.
const RECEIVED_AT_ONCE: usize = 3;
const AFTER_FAILURE_MS: u64 = 500;
const LOOK_MS: u64 = 500;
const SWEEP_ORDERS_MS: u64 = 5_000;
/// Number of sweeps of orders for each sweep of stock holds.
const ROUNDS_A_HOLD_SWEEP: u64 = 12;

/// Runs a process until it crashes.
pub async fn run(shop: Arc<SimulatedShop>, who: Who, job: Job) {
    let process = Process::start(shop, who, job);
    match job {
        Job::Orders => process.consume(&ORDERS).await,
        Job::Payments => process.consume(&PAYMENTS).await,
        Job::Notifications => process.consume(&NOTIFICATIONS).await,
        Job::Relay => process.relay().await,
        Job::Sweeper => process.sweep().await,
        Job::Inventory => process.watch_stock().await,
    }
}

struct Process {
    shop: Arc<SimulatedShop>,
    who: Who,
    job: Job,
    orders: SimOrders,
    stock: SimStock,
    source: SimSource,
    maker: Maker,
}

impl Process {
    fn start(shop: Arc<SimulatedShop>, who: Who, job: Job) -> Process {
        let engine = &shop.engine;
        let role = match job {
            Job::Orders => role::ORDER_WORKER.slug,
            Job::Payments => role::PAYMENT_WORKER.slug,
            Job::Notifications => role::NOTIFICATION_WORKER.slug,
            Job::Relay => role::OUTBOX_RELAY.slug,
            Job::Sweeper => role::SWEEPER.slug,
            Job::Inventory => role::INVENTORY_WORKER.slug,
        };
        Process {
            orders: SimOrders::connect(engine, &shop.database, who),
            stock: SimStock {
                engine: Arc::clone(engine),
                table: Arc::clone(&shop.table),
                who,
            },
            source: SimSource {
                engine: Arc::clone(engine),
                who,
            },
            maker: Maker {
                role,
                version: "simulated",
                traceparent: None,
            },
            shop,
            who,
            job,
        }
    }

    async fn consume(&self, queue: &'static Queue) {
        let (engine, broker) = (&*self.shop.engine, &*self.shop.broker);
        loop {
            let signal = broker.arrived(queue);
            let seen = signal.count();
            let now = engine.now_ms();
            match broker.next_visible_ms(queue) {
                Some(visible) if visible <= now => {}
                later => {
                    // As a long poll.
                    engine
                        .wait(signal, seen, later.map_or(5_000, |at| at - now))
                        .await;
                    continue;
                }
            }
            let effect = || broker.receive(engine, queue, RECEIVED_AT_ONCE);
            match engine
                .call(self.who, Port::Queues, "receive", None, effect)
                .await
            {
                // Messages of the groups are in flight elsewhere.
                Ok(deliveries) if deliveries.is_empty() => engine.wait(signal, seen, 1_000).await,
                Ok(deliveries) => {
                    join_all(deliveries.iter().map(|delivery| self.take(queue, delivery))).await;
                }
                Err(_) => engine.sleep(AFTER_FAILURE_MS).await,
            }
        }
    }

    /// Handles one message and settles it.
    async fn take(&self, queue: &'static Queue, delivery: &Delivery) {
        let (engine, broker) = (&*self.shop.engine, &*self.shop.broker);
        if engine.now_ms() >= delivery.lease_ends_ms {
            return;
        }
        if engine.is_mistaken(Mistake::DeleteBeforeCommit) {
            broker.delete(queue, delivery);
        }
        let order = delivery.envelope.order_id;
        engine.note(
            self.who,
            delivery.envelope.message.kind().name(),
            "begins",
            order,
        );
        let handling = self.handle(delivery);
        let settlement = match engine
            .within(queue.handler_timeout.as_millis() as u64, handling)
            .await
        {
            Some(handled) => {
                if handled.duplicate {
                    engine.hit(Hit::DuplicateDelivery);
                }
                handled.settlement
            }
            None => {
                engine.hit(Hit::HandlerCut);
                engine.note(self.who, "handler", "cut", order);
                Settlement::Retry {
                    reason: "it took too long".to_owned(),
                    after: None,
                }
            }
        };
        let called = match settlement {
            Settlement::Done => {
                engine
                    .call(self.who, Port::Queues, "delete", order, || {
                        if !engine.strikes(engine.plan.lost_delete, Hit::LostDelete) {
                            broker.delete(queue, delivery);
                        }
                    })
                    .await
            }
            Settlement::Retry { after, .. } => {
                let chance = engine.dice(|dice| dice.fraction());
                let pause =
                    after.unwrap_or_else(|| BETWEEN_ATTEMPTS.delay(delivery.attempt, chance));
                let until = engine.now_ms() + pause.as_millis() as u64;
                engine
                    .call(self.who, Port::Queues, "hide", order, || {
                        broker.hide(queue, delivery, until)
                    })
                    .await
            }
            Settlement::Park { reason } => {
                engine
                    .call(self.who, Port::Queues, "park", order, || {
                        broker.park(delivery, &reason);
                        broker.delete(queue, delivery);
                    })
                    .await
            }
        };
        // A message that was not settled is delivered again when its visibility timeout ends.
        let (Ok(()) | Err(_)) = called;
    }

    async fn handle(&self, delivery: &Delivery) -> Handled {
        let Process {
            orders,
            stock,
            source,
            maker,
            ..
        } = self;
        let envelope = &delivery.envelope;
        match self.job {
            Job::Orders => run_saga(orders, orders, stock, source, maker, envelope).await,
            Job::Payments => {
                let (engine, ledger) =
                    (Arc::clone(&self.shop.engine), Arc::clone(&self.shop.ledger));
                let gateway = SimGateway {
                    engine,
                    ledger,
                    who: self.who,
                };
                pay(orders, orders, &gateway, source, maker, envelope).await
            }
            Job::Notifications => {
                let (engine, sink) = (Arc::clone(&self.shop.engine), Arc::clone(&self.shop.sink));
                let mailer = SimMailer {
                    engine,
                    sink,
                    who: self.who,
                };
                let switches = Switches {
                    email: true,
                    sms: false,
                };
                let post = Post {
                    mailer: &mailer,
                    texter: &NoTexts,
                    composer: &Words,
                    switches,
                };
                notify(orders, &post, source, envelope).await.handled
            }
            Job::Relay | Job::Sweeper | Job::Inventory => {
                Handled::park("this process reads no queue")
            }
        }
    }

    async fn relay(&self) {
        let engine = &*self.shop.engine;
        let publisher = SimPublisher {
            engine: Arc::clone(&self.shop.engine),
            broker: Arc::clone(&self.shop.broker),
            who: self.who,
        };
        let chance = || engine.dice(|dice| dice.fraction());
        loop {
            match relay_some(
                &self.orders,
                &publisher,
                &self.source,
                &chance,
                Outgoing::All,
            )
            .await
            {
                Ok(relayed) if relayed.idle() => {
                    self.orders
                        .outbox_changed(Duration::from_millis(LOOK_MS))
                        .await
                }
                Ok(_) => {}
                Err(_) => engine.sleep(AFTER_FAILURE_MS).await,
            }
        }
    }

    async fn sweep(&self) {
        let engine = &*self.shop.engine;
        let mut round = 0;
        loop {
            engine.sleep(SWEEP_ORDERS_MS).await;
            if let Ok(swept) = sweep_orders(
                &self.orders,
                &self.source,
                &self.maker,
                &Timeouts::default(),
            )
            .await
                && swept.timed_out > 0
            {
                engine.hit(Hit::TimedOutOrder);
            }
            round += 1;
            if round % ROUNDS_A_HOLD_SWEEP == 0 {
                self.look_for_unpaid_holds();
                // A failed sweep is repeated in the next round.
                let _ = sweep_holds(&self.orders, &self.stock, &self.source).await;
                let _ = sweep_messages(&self.orders, &self.source).await;
            }
        }
    }

    /// Counts stock holds that have expired while their order's payment is in flight.
    fn look_for_unpaid_holds(&self) {
        let (table, store) = (&self.shop.table, &self.shop.database.store);
        let holds =
            at_once(table.stock.expired_holds(self.source.now(), u32::MAX)).unwrap_or_default();
        for hold in holds {
            let stored = at_once(store.load(hold.order_id)).ok().flatten();
            let paying = [
                State::Charging,
                State::AbandoningToCancel,
                State::AbandoningToFail,
            ];
            if stored.is_some_and(|stored| paying.contains(&stored.order.state)) {
                self.shop.engine.hit(Hit::HoldExpiredUnpaid);
            }
        }
    }

    async fn watch_stock(&self) {
        let (engine, table) = (&*self.shop.engine, &*self.shop.table);
        let mut position = table.checkpoint();
        loop {
            let seen = table.stream_moved.count();
            if engine.storms()
                && engine.dice(|dice| dice.permille(engine.plan.lost_stream))
                && table.trim()
            {
                engine.hit(Hit::StreamLost);
            }
            let Ok(page) = engine
                .call(self.who, Port::Stream, "read stream", None, || {
                    table.read(position)
                })
                .await
            else {
                engine.sleep(AFTER_FAILURE_MS).await;
                continue;
            };
            let done = match page {
                Page::Records(records) if records.is_empty() && position <= table.checkpoint() => {
                    engine.wait(&table.stream_moved, seen, 2_000).await;
                    continue;
                }
                // An earlier checkpoint was lost.
                Page::Records(records) if records.is_empty() => position,
                Page::Records(records) => {
                    let mut done = position;
                    for record in &records {
                        if table.was_read(done) {
                            engine.hit(Hit::StreamReplayed);
                        }
                        if watch_record(&self.orders, &self.source, &self.maker, record)
                            .await
                            .is_err()
                        {
                            break;
                        }
                        done += 1;
                    }
                    done
                }
                Page::Trimmed => {
                    table.count_rebuild();
                    if rebuild(&self.orders, &self.stock, &self.source, &self.maker)
                        .await
                        .is_err()
                    {
                        engine.sleep(AFTER_FAILURE_MS).await;
                        continue;
                    }
                    table.oldest()
                }
            };
            if done == position && position <= table.checkpoint() {
                engine.sleep(AFTER_FAILURE_MS).await;
                continue;
            }
            position = done;
            let checkpoint = || table.set_checkpoint(position);
            // A lost checkpoint costs a second read.
            let _ = engine
                .call(self.who, Port::Stream, "write checkpoint", None, checkpoint)
                .await;
        }
    }
}
