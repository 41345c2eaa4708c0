//! Tests on the in-memory store, with destinations and a clock that the tests control.

use std::sync::Mutex;

use contract::cause::{Cause, chain};
use domain::Timestamp;
use domain::ids::EventId;
use futures::executor::block_on;
use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::laws::orders::new_order;
use crate::ports::orders::{NewOrder, OutboxRow, Outgoing};

const NOON: Timestamp = datetime!(2026-03-01 12:00 UTC);

struct Clock(Mutex<Timestamp>);

impl Source for Clock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no test panicked")
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The messages at each destination in order of arrival, and the route that rejects messages.
#[derive(Default)]
struct World {
    arrived: Mutex<Vec<(String, EventId)>>,
    refuses: Mutex<Option<&'static str>>,
}

impl Publisher for World {
    async fn publish(&self, route: Route, messages: &[Envelope]) -> Vec<Result<(), PublishError>> {
        let refused =
            *self.refuses.lock().expect("no test panicked") == Some(route.code().as_str());
        let mut arrived = self.arrived.lock().expect("no test panicked");
        let take = |message: &Envelope| {
            if refused {
                return Err(PublishError {
                    route,
                    cause: Cause::new("out of order"),
                });
            }
            arrived.push((route.code(), message.event_id));
            Ok(())
        };
        messages.iter().map(take).collect()
    }
}

struct Shop {
    orders: MemoryOrders,
    world: World,
    clock: Clock,
}

impl Shop {
    fn new() -> Shop {
        Shop {
            orders: MemoryOrders::default(),
            world: World::default(),
            clock: Clock(Mutex::new(NOON)),
        }
    }

    fn place(&self) -> NewOrder {
        let new = new_order();
        assert!(block_on(self.orders.place(std::slice::from_ref(&new)))[0].is_ok());
        new
    }

    fn refuse(&self, route: Option<&'static str>) {
        *self.world.refuses.lock().expect("no test panicked") = route;
    }

    fn after(&self, seconds: i64) -> &Shop {
        *self.clock.0.lock().expect("no test panicked") = NOON + Duration::seconds(seconds);
        self
    }

    /// Runs one round with the longest back-off.
    fn relay(&self) -> Relayed {
        block_on(relay_some(
            &self.orders,
            &self.world,
            &self.clock,
            &|| 1.0,
            Outgoing::All,
        ))
        .expect("the store is there")
    }

    fn arrived(&self) -> Vec<(String, EventId)> {
        let mut arrived =
            std::mem::take(&mut *self.world.arrived.lock().expect("no test panicked"));
        arrived.sort();
        arrived
    }
}

fn at(route: &str, new: &NewOrder, message: usize) -> (String, EventId) {
    (route.to_owned(), new.outbox[message].event_id)
}

#[test]
fn a_refusing_destination_is_retried_alone_with_back_off() {
    let shop = Shop::new();
    shop.refuse(Some("bus"));
    let new = shop.place();
    let relayed = shop.relay();
    assert_eq!((relayed.sent, relayed.failed), (2, 1));
    let why = relayed.why.map(|error| chain(&error));
    assert_eq!(why.as_deref(), Some("bus: out of order"));
    assert_eq!(
        shop.arrived(),
        [
            at("queue/orders", &new, 0),
            at("topic/order-created", &new, 1)
        ]
    );

    // The pauses are one second, two, four and so on, up to a minute.
    let mut now = 0;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(
            shop.after(now + wait - 1).relay().idle(),
            "before the end of {wait} s"
        );
        now += wait;
        assert_eq!(shop.after(now).relay().failed, 1, "after {wait} s");
    }
    shop.refuse(None);
    assert_eq!(shop.after(now + 60).relay().sent, 1);
    assert_eq!(
        shop.arrived(),
        [at("bus", &new, 1)],
        "the others were not sent again"
    );
    assert!(shop.after(now + 600).relay().idle());
}

#[test]
fn other_orders_continue_while_one_waits() {
    let shop = Shop::new();
    shop.refuse(Some("queue/orders"));
    let waiting = shop.place();
    shop.relay();
    shop.arrived();
    shop.refuse(None);
    let next = shop.place();
    assert_eq!(shop.relay().sent, 3);
    let all = [
        at("bus", &next, 1),
        at("queue/orders", &next, 0),
        at("topic/order-created", &next, 1),
    ];
    assert_eq!(shop.arrived(), all);
    shop.after(1).relay();
    assert_eq!(shop.arrived(), [at("queue/orders", &waiting, 0)]);
}

#[test]
fn a_row_without_a_route_goes_to_all_routes_and_an_unknown_route_is_unreadable() {
    let created = &new_order().outbox[1];
    let read = |route| OutboxRow::read(1, 0, route, &created.encode()).letter;
    let codes = |route| {
        read(route).map_err(|why| why.to_string()).map(|letter| {
            letter
                .routes
                .iter()
                .map(|route| route.code())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(
        codes(None),
        Ok(vec!["topic/order-created".to_owned(), "bus".to_owned()])
    );
    assert_eq!(codes(Some("bus")), Ok(vec!["bus".to_owned()]));
    assert_eq!(
        codes(Some("queue/payments")),
        Err("OrderCreated does not go to queue/payments".to_owned())
    );
}
