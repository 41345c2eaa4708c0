use std::sync::Mutex;

use contract::event::Route;
use contract::queue::QueueId;
use contract::settlement::Settlement;
use domain::cart::{Line, Lines};
use domain::menu::{Product, ProductType};
use domain::order::Status;
use futures::executor::block_on;
use time::macros::datetime;

use super::*;
use crate::fakes::gateway::MemoryGateway;
use crate::fakes::orders::MemoryOrders;
use crate::fakes::stock::MemoryStock;
use crate::laws::orders::{new_order, step};
use crate::ports::Backend;
use crate::ports::orders::{NewOrder, Outgoing, PaymentKind, PaymentState};
use crate::ports::stock::Stock as _;
use crate::use_cases::pay::pay;
use crate::use_cases::progress::first_look;
use crate::use_cases::run_saga::{Apply, run_saga};
use crate::use_cases::sweep::{Swept, sweep_holds, sweep_orders};
use crate::use_cases::{HOLD, ORDER_DEADLINE};

const MAKER: Maker = Maker {
    role: "sweeper",
    version: "0",
    traceparent: None,
};
const NOON: Timestamp = datetime!(2026-03-01 12:00 UTC);

/// A clock that only the tests move.
struct Clock(Mutex<Timestamp>);

impl Source for Clock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no test panicked with it")
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl Clock {
    fn at(at: Timestamp) -> Clock {
        Clock(Mutex::new(at))
    }

    fn pass(&self, time: Duration) {
        *self.0.lock().expect("no test panicked with it") += time;
    }
}

async fn sweep(store: &MemoryOrders, clock: &Clock, timeouts: &Timeouts) -> Swept {
    sweep_orders(store, clock, &MAKER, timeouts)
        .await
        .expect("the store is there")
}

/// Places an order without a pickup time and moves it to this state.
async fn an_order(store: &MemoryOrders, order_type: OrderType, state: State) -> NewOrder {
    let mut new = new_order();
    (new.order.order_type, new.order.pickup_at) = (order_type, None);
    store
        .place(std::slice::from_ref(&new))
        .await
        .pop()
        .expect("an answer")
        .expect("placed");
    let mut change = step(&new, 1, state);
    if let Some(order) = &mut change.order {
        order.next_action_at = first_look(state).map(|after| NOON + after);
    }
    (change.at, change.outbox) = (NOON, Vec::new());
    store
        .apply(&[change])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
    new
}

/// Returns who was notified about which status.
fn told(store: &MemoryOrders) -> Vec<(Audience, String)> {
    let overdue = |envelope: contract::messages::Envelope| {
        let Message::OrderOverdue { tell, status, .. } = envelope.message else {
            return None;
        };
        Some((tell, status))
    };
    store.owed().into_iter().filter_map(overdue).collect()
}

/// Runs the sweeper every five seconds for this time.
async fn look_for(store: &MemoryOrders, clock: &Clock, timeouts: &Timeouts, time: Duration) {
    let until = clock.now() + time;
    while clock.now() < until {
        sweep(store, clock, timeouts).await;
        clock.pass(Duration::from_secs(5));
    }
}

#[test]
fn staff_are_notified_once_of_each_overdue_order() {
    for (state, status) in [
        (State::Confirmed, "confirmed"),
        (State::Preparing, "preparing"),
    ] {
        block_on(async {
            let (store, clock, timeouts) = (
                MemoryOrders::default(),
                Clock::at(NOON),
                Timeouts::default(),
            );
            an_order(&store, OrderType::Pickup, state).await;
            look_for(
                &store,
                &clock,
                &timeouts,
                timeouts.preparation - Duration::from_secs(1),
            )
            .await;
            assert_eq!(told(&store), [], "there is time");
            look_for(&store, &clock, &timeouts, Duration::from_secs(24 * 3600)).await;
            assert_eq!(told(&store), [(Audience::Staff, status.to_owned())]);
        });
    }
}

#[test]
fn an_uncollected_order_is_reported_once_and_closed() {
    block_on(async {
        let (store, clock, timeouts) = (
            MemoryOrders::default(),
            Clock::at(NOON),
            Timeouts::default(),
        );
        let new = an_order(&store, OrderType::Pickup, State::Ready).await;
        look_for(
            &store,
            &clock,
            &timeouts,
            timeouts.collection + Duration::from_secs(5),
        )
        .await;
        assert_eq!(told(&store), [(Audience::Customer, "ready".to_owned())]);
        look_for(
            &store,
            &clock,
            &timeouts,
            timeouts.uncollected - Duration::from_secs(10),
        )
        .await;
        let now = async || {
            store
                .load(new.order.order_id)
                .await
                .expect("read")
                .expect("there")
                .order
        };
        assert_eq!(now().await.status, Status::Ready, "the inbox row is kept");
        look_for(&store, &clock, &timeouts, Duration::from_secs(60)).await;
        let closed = now().await;
        assert_eq!(
            (closed.status, closed.reason.as_deref()),
            (Status::Completed, Some("not collected"))
        );
        assert_eq!(told(&store).len(), 1);
        look_for(&store, &clock, &timeouts, Duration::from_secs(3600)).await;
        assert_eq!(now().await, closed, "a closed order does not change");
    });
}

#[test]
fn deliveries_wait_for_staff_and_later_orders_are_not_late_early() {
    block_on(async {
        let (store, clock, timeouts) = (
            MemoryOrders::default(),
            Clock::at(NOON),
            Timeouts::default(),
        );
        an_order(&store, OrderType::Delivery, State::Ready).await;
        look_for(&store, &clock, &timeouts, Duration::from_secs(24 * 3600)).await;
        assert_eq!(told(&store), [(Audience::Staff, "ready".to_owned())]);

        let wait = |state, pickup_in: Duration, now_in: Duration| {
            let due = Due {
                order_id: new_order().order.order_id,
                state,
                version: 2,
                created_at: NOON,
                since: NOON,
                pickup_at: Some(NOON + pickup_in),
            };
            wait_of(&due, &timeouts, NOON + now_in)
        };
        let (hour, begun_by) = (
            Duration::from_secs(3600),
            Duration::from_secs(3600) - timeouts.preparation,
        );
        assert_eq!(
            wait(State::Confirmed, hour, Duration::ZERO),
            Some(Wait::Until(NOON + begun_by))
        );
        assert_eq!(
            wait(State::Confirmed, hour, begun_by),
            Some(Wait::TellStaff)
        );
        assert_eq!(
            wait(State::Preparing, hour, begun_by),
            Some(Wait::Until(NOON + hour))
        );
        assert_eq!(
            wait(State::Ready, hour, hour),
            Some(Wait::Until(NOON + hour + timeouts.collection))
        );
    });
}

#[test]
fn a_changed_timeout_applies_from_the_next_sweep() {
    block_on(async {
        let (store, clock) = (MemoryOrders::default(), Clock::at(NOON));
        an_order(&store, OrderType::Pickup, State::Confirmed).await;
        let patient = Timeouts {
            preparation: Duration::from_secs(60),
            ..Timeouts::default()
        };
        look_for(&store, &clock, &patient, Duration::from_secs(40)).await;
        let more = Timeouts {
            preparation: Duration::from_secs(120),
            ..patient
        };
        look_for(&store, &clock, &more, Duration::from_secs(70)).await;
        assert_eq!(
            told(&store),
            [],
            "the timeout was raised from 60 s before it was reached"
        );
        look_for(&store, &clock, &more, Duration::from_secs(30)).await;
        assert_eq!(told(&store).len(), 1);
        // The time until a command is sent again is a live parameter too.
        let new = new_order();
        store
            .place(std::slice::from_ref(&new))
            .await
            .pop()
            .expect("an answer")
            .expect("placed");
        let often = Timeouts {
            processing: Duration::from_secs(7),
            ..patient
        };
        assert_eq!(sweep(&store, &clock, &often).await.asked_again, 1);
        clock.pass(Duration::from_secs(6));
        assert_eq!(sweep(&store, &clock, &often).await.asked_again, 0);
        clock.pass(Duration::from_secs(1));
        assert_eq!(sweep(&store, &clock, &often).await.asked_again, 1);
    });
}

#[test]
fn every_state_that_waits_has_a_deadline() {
    for state in State::ALL {
        let ended = matches!(state, State::Completed | State::Cancelled | State::Failed);
        assert_eq!(first_look(state).is_none(), ended, "{state:?}");
    }
}

struct Straight<'a>(&'a MemoryOrders);

impl Apply for Straight<'_> {
    async fn apply_one(&self, change: Change) -> Result<Applied, StoreError> {
        self.0
            .apply(&[change])
            .await
            .pop()
            .unwrap_or_else(|| Err(StoreError::new(Backend::Orders, "no answer")))
    }
}

/// A shop with in-memory stores, whose messages are handled one after the other.
struct Shop {
    store: MemoryOrders,
    stock: MemoryStock,
    gateway: MemoryGateway,
    clock: Clock,
    product: domain::ids::ProductId,
}

impl Shop {
    async fn new() -> Shop {
        let product = Product {
            product_id: domain::ids::ProductId::parse("flat-white").expect("a slug"),
            name: "Flat white".to_owned(),
            description: "Good.".to_owned(),
            kind: ProductType::Coffee,
            price: domain::money::Money::new(420, domain::money::Currency::Usd),
            image_url: String::new(),
        };
        let stock = MemoryStock::default();
        assert!(
            stock
                .add_product(&product, 1, 0, NOON)
                .await
                .expect("added")
        );
        Shop {
            store: MemoryOrders::default(),
            stock,
            gateway: MemoryGateway::default(),
            clock: Clock::at(NOON),
            product: product.product_id,
        }
    }

    async fn place(&self) -> NewOrder {
        let mut new = new_order();
        new.order
            .items
            .retain(|item| item.product_id == self.product);
        self.store
            .place(std::slice::from_ref(&new))
            .await
            .pop()
            .expect("an answer")
            .expect("placed");
        new
    }

    /// Handles the outbox until it is empty. Messages to retry are dropped.
    async fn work(&self) {
        let (store, clock) = (&self.store, &self.clock);
        for _ in 0..50 {
            let rows = store
                .take_outbox(Outgoing::All, clock.now(), 100)
                .await
                .expect("read");
            if rows.is_empty() {
                return;
            }
            for row in rows {
                let letter = row.letter.expect("it can be read");
                let queue = if let [Route::Queue(queue)] = letter.routes {
                    Some(queue.id)
                } else {
                    None
                };
                let handled = match queue {
                    Some(QueueId::Payments) => {
                        pay(
                            store,
                            &Straight(store),
                            &self.gateway,
                            clock,
                            &MAKER,
                            &letter.envelope,
                        )
                        .await
                    }
                    Some(QueueId::Orders) => {
                        run_saga(
                            store,
                            &Straight(store),
                            &self.stock,
                            clock,
                            &MAKER,
                            &letter.envelope,
                        )
                        .await
                    }
                    Some(QueueId::Notifications | QueueId::Fulfilment | QueueId::Projections)
                    | None => crate::use_cases::Handled::done(),
                };
                assert!(
                    !matches!(handled.settlement, Settlement::Park { .. }),
                    "{handled:?}"
                );
                // A message to retry is dropped here: the sweeper sends the command again.
                store
                    .mark_published(&[row.id], clock.now())
                    .await
                    .expect("marked");
            }
        }
        panic!("the order does not settle");
    }

    async fn sweep(&self) {
        sweep_orders(&self.store, &self.clock, &MAKER, &Timeouts::default())
            .await
            .expect("swept");
        sweep_holds(&self.store, &self.stock, &self.clock)
            .await
            .expect("swept");
        self.work().await;
    }

    /// Checks that the order is charged and its stock sold, or neither. Returns its status.
    async fn settled(&self, new: &NewOrder) -> Status {
        let order = self
            .store
            .load(new.order.order_id)
            .await
            .expect("read")
            .expect("there")
            .order;
        let counters = self
            .stock
            .product(&self.product)
            .await
            .expect("read")
            .expect("there")
            .counters;
        let total = order.totals.total.minor;
        let (balance, sold, held) = (self.gateway.balance(), counters.sold, counters.reserved);
        assert!(counters.conserved());
        match order.status {
            Status::Confirmed => assert_eq!((balance, sold, held), (total, 1, 0), "paid and sold"),
            Status::Failed | Status::Cancelled => {
                assert_eq!(
                    (balance, sold, held),
                    (0, 0, 0),
                    "the cancelled order keeps no stock and no money"
                )
            }
            other => panic!("it is {other:?}"),
        }
        order.status
    }
}

/// The gateway charges the card and answers only after some time. For every length of that time,
/// the order is confirmed or the charge is refunded, never both and never neither.
#[test]
fn a_hold_that_expires_during_the_charge_has_two_outcomes() {
    let mut ends = Vec::new();
    for silent_for in [0, 30, 300, 590, 610, 890, 910, 1_800, 7_200] {
        block_on(async {
            let shop = Shop::new().await;
            let new = shop.place().await;
            shop.gateway.set_silent(true);
            shop.work().await;
            let charge = shop
                .store
                .payment(new.order.order_id, PaymentKind::Charge)
                .await
                .expect("read");
            assert_eq!(
                charge.map(|charge| charge.state),
                Some(PaymentState::Unknown)
            );
            let speaks_at = NOON + Duration::from_secs(silent_for);
            while shop.clock.now() < speaks_at {
                shop.sweep().await;
                shop.clock.pass(Duration::from_secs(5));
            }
            shop.gateway.set_silent(false);
            for _ in 0..30 {
                shop.sweep().await;
                shop.clock.pass(Duration::from_secs(5));
            }
            ends.push(shop.settled(&new).await);
            let (charges, refunds) = shop.gateway.entries();
            assert_eq!(
                (charges, refunds),
                (1, usize::from(ends.last() == Some(&Status::Failed)))
            );
        });
    }
    assert!(
        ends.contains(&Status::Confirmed) && ends.contains(&Status::Failed),
        "{ends:?}"
    );
}

/// The hold is gone although the order still waits, because a person released it or a clock was
/// wrong. Then the payment arrives.
#[test]
fn a_payment_after_the_hold_expired_is_refunded() {
    block_on(async {
        let shop = Shop::new().await;
        let new = shop.place().await;
        shop.gateway.set_silent(true);
        shop.work().await;
        shop.stock
            .release(new.order.order_id, shop.clock.now())
            .await
            .expect("released");
        // Another customer buys the last unit in the meantime.
        let lines = Lines::merge([Line {
            product_id: shop.product.clone(),
            quantity: new.order.items[0].quantity,
        }]);
        let other = domain::ids::OrderId(Uuid::now_v7());
        let (now, expires) = (shop.clock.now(), shop.clock.now() + HOLD);
        shop.stock
            .reserve(other, &lines.expect("lines"), now, expires)
            .await
            .expect("held");
        shop.gateway.set_silent(false);
        shop.clock.pass(ORDER_DEADLINE / 2);
        for _ in 0..20 {
            shop.sweep().await;
            shop.clock.pass(Duration::from_secs(5));
        }
        let order = shop
            .store
            .load(new.order.order_id)
            .await
            .expect("read")
            .expect("there")
            .order;
        assert_eq!(
            (order.status, shop.gateway.balance(), shop.gateway.entries()),
            (Status::Failed, 0, (1, 1))
        );
        let counters = shop
            .stock
            .product(&shop.product)
            .await
            .expect("read")
            .expect("there")
            .counters;
        assert_eq!(
            (counters.available, counters.reserved, counters.sold),
            (0, 1, 0),
            "it is the other's"
        );
    });
}
