use contract::event::EventKind;
use contract::messages::{Message, Metadata, samples};
use domain::ids::EventId;
use domain::saga::State;
use futures::executor::block_on;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::fakes::stock::MemoryStock;
use crate::laws::orders::{new_order, step};
use crate::ports::orders::NewOrder;

struct Clock;

impl Source for Clock {
    fn now(&self) -> Timestamp {
        datetime!(2026-03-01 12:00 UTC)
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

fn about(new: &NewOrder, message: Message) -> Envelope {
    Envelope {
        event_id: EventId(Uuid::now_v7()),
        schema: message.kind().schema(),
        message,
        occurred_at: Clock.now(),
        order_id: Some(new.order.order_id),
        metadata: Metadata { source: "test".to_owned(), version: "0".to_owned(), traceparent: None },
    }
}

fn paid(new: &NewOrder) -> Envelope {
    let total = new.order.totals.total;
    let (amount_minor, currency) = (total.minor, total.currency.code().to_owned());
    about(
        new,
        Message::PaymentCompleted {
            payment_id: "ch".to_owned(),
            amount_minor,
            currency,
            status: "captured".to_owned(),
        },
    )
}

/// A placed order, and what becomes of a message.
struct World {
    orders: MemoryOrders,
    stock: MemoryStock,
    new: NewOrder,
}

impl World {
    fn new() -> World {
        let (orders, new) = (MemoryOrders::default(), new_order());
        block_on(orders.place(std::slice::from_ref(&new)));
        World { orders, stock: MemoryStock::default(), new }
    }

    fn foresee(&self, queue: &Queue, body: &str) -> Foreseen {
        block_on(rehearse(&self.orders, &self.stock, &Clock, queue, body))
    }

    fn state(&self) -> State {
        let stored = block_on(self.orders.load(self.new.order.order_id)).expect("read").expect("there");
        stored.order.state
    }
}

#[test]
fn what_is_impossible_now_is_done_once_the_order_has_come_that_far() {
    let world = World::new();
    let body = paid(&world.new).encode();
    let Foreseen::Parked { reason } = world.foresee(&ORDERS, &body) else { panic!("it cannot be paid yet") };
    assert!(reason.contains("PaymentCompleted cannot happen"), "{reason}");

    block_on(world.orders.apply(&[step(&world.new, 1, State::Charging)]));
    // Without a hold the stock is lost, and the money goes back: that, too, is what the code would do.
    let Foreseen::Done { what } = world.foresee(&ORDERS, &body) else { panic!("now it can") };
    assert!(what.starts_with("the order becomes refunding_to_fail"), "{what}");
    assert_eq!(world.state(), State::Charging, "nothing has happened");
    assert_eq!(world.foresee(&ORDERS, &body), Foreseen::Done { what }, "nor was the message taken in");
}

#[test]
fn what_was_applied_is_foreseen_to_be_dropped() {
    let world = World::new();
    let event_id = world.new.outbox[0].event_id;
    block_on(world.orders.apply(&[Change { event_id, ..step(&world.new, 1, State::Charging) }]));
    assert_eq!(world.foresee(&ORDERS, &world.new.outbox[0].encode()), Foreseen::Dropped);
    let repeat = about(&world.new, Message::ReserveStock {});
    assert_eq!(world.foresee(&ORDERS, &repeat.encode()), Foreseen::Dropped, "the state lies behind it");
}

#[test]
fn a_charge_is_foreseen_and_not_made() {
    let world = World::new();
    let total = world.new.order.totals.total;
    let ask = Message::ChargeCard { amount_minor: total.minor, currency: total.currency.code().to_owned() };
    let Foreseen::Done { what } = world.foresee(&PAYMENTS, &about(&world.new, ask).encode()) else { panic!("done") };
    assert!(what.contains("the gateway is asked for the charge"), "{what}");
}

#[test]
fn what_cannot_be_read_or_does_not_belong_is_foreseen_to_be_parked_again() {
    let world = World::new();
    let stray = samples::of(EventKind::ChargeCard);
    let body = paid(&world.new).encode();
    let newer = body.replace("\"schema\":1", "\"schema\":3");
    for (queue, body, part) in [
        (&ORDERS, "{not json", "not an envelope"),
        (&ORDERS, newer.as_str(), "schema version 3"),
        (&ORDERS, stray, "does not exist"),
        (&PAYMENTS, body.as_str(), "does not belong"),
        (&NOTIFICATIONS, body.as_str(), "does not belong"),
        (&NOTIFICATIONS, samples::of(EventKind::OrderStatusChanged), "does not exist"),
    ] {
        match world.foresee(queue, body) {
            Foreseen::Parked { reason } => assert!(reason.contains(part), "{reason}"),
            other => panic!("{part}: {other:?}"),
        }
    }
    let stock = samples::of(EventKind::StockLevelReached);
    assert_eq!(world.foresee(&NOTIFICATIONS, stock), Foreseen::Done { what: "somebody is told".to_owned() });
}
