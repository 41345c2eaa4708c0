use contract::event::EventKind;
use contract::messages::{Message, Metadata, samples};
use contract::queue::{FULFILMENT, NOTIFICATIONS, ORDERS, PAYMENTS, PROJECTIONS};
use domain::ids::EventId;
use domain::order::OrderType;
use domain::saga::State;
use futures::executor::block_on;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::fakes::stock::MemoryStock;
use crate::fakes::views::MemoryViews;
use crate::laws::orders::{new_order, step};
use crate::ports::orders::NewOrder;
use crate::use_cases::fulfil::fulfil;

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
        metadata: Metadata {
            source: "test".to_owned(),
            version: "0".to_owned(),
            traceparent: None,
        },
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

/// A placed order and the stores for a rehearsal.
struct Shop {
    orders: MemoryOrders,
    stock: MemoryStock,
    views: MemoryViews,
    new: NewOrder,
}

impl Shop {
    fn new() -> Shop {
        Shop::with(new_order())
    }

    fn with(new: NewOrder) -> Shop {
        let orders = MemoryOrders::default();
        block_on(orders.place(std::slice::from_ref(&new)));
        Shop {
            orders,
            stock: MemoryStock::default(),
            views: MemoryViews::default(),
            new,
        }
    }

    fn foresee(&self, queue: &Queue, body: &str) -> Foreseen {
        let world = RehearsalDeps {
            orders: &self.orders,
            stock: &self.stock,
            views: &self.views,
        };
        block_on(rehearse(world, &Clock, queue, body))
    }

    fn state(&self) -> State {
        let stored = block_on(self.orders.load(self.new.order.order_id))
            .expect("read")
            .expect("there");
        stored.order.state
    }
}

#[test]
fn an_early_message_is_accepted_when_the_order_reaches_the_state() {
    let world = Shop::new();
    let body = paid(&world.new).encode();
    let Foreseen::Parked { reason } = world.foresee(&ORDERS, &body) else {
        panic!("the payment is too early")
    };
    assert!(
        reason.contains("PaymentCompleted cannot happen"),
        "{reason}"
    );

    block_on(world.orders.apply(&[step(&world.new, 1, State::Charging)]));
    // Without a hold, the real code would refund the charge. The rehearsal must predict that.
    let Foreseen::Done { what } = world.foresee(&ORDERS, &body) else {
        panic!("the message is accepted now")
    };
    assert!(
        what.starts_with("the order becomes refunding_to_fail"),
        "{what}"
    );
    assert_eq!(world.state(), State::Charging, "nothing has happened");
    assert_eq!(
        world.foresee(&ORDERS, &body),
        Foreseen::Done { what },
        "the message was not applied"
    );
}

#[test]
fn an_applied_message_is_predicted_as_a_duplicate() {
    let world = Shop::new();
    let event_id = world.new.outbox[0].event_id;
    block_on(world.orders.apply(&[Change {
        event_id,
        ..step(&world.new, 1, State::Charging)
    }]));
    assert_eq!(
        world.foresee(&ORDERS, &world.new.outbox[0].encode()),
        Foreseen::Dropped
    );
    let repeat = about(&world.new, Message::ReserveStock {});
    assert_eq!(
        world.foresee(&ORDERS, &repeat.encode()),
        Foreseen::Dropped,
        "the order is past this state"
    );
}

#[test]
fn a_rehearsal_predicts_a_charge_and_makes_none() {
    let world = Shop::new();
    let total = world.new.order.totals.total;
    let ask = Message::ChargeCard {
        amount_minor: total.minor,
        currency: total.currency.code().to_owned(),
    };
    let Foreseen::Done { what } = world.foresee(&PAYMENTS, &about(&world.new, ask).encode()) else {
        panic!("done")
    };
    assert!(
        what.contains("the gateway is asked for the charge"),
        "{what}"
    );
}

#[test]
fn an_unreadable_or_misrouted_message_is_predicted_as_a_dead_letter() {
    let world = Shop::new();
    let stray = samples::of(EventKind::ChargeCard);
    let body = paid(&world.new).encode();
    let newer = body.replace("\"schema\":1", "\"schema\":3");
    for (queue, body, part) in [
        (&ORDERS, "{not json", "not an envelope"),
        (&ORDERS, newer.as_str(), "schema version 3"),
        (&ORDERS, stray, "does not exist"),
        (&PAYMENTS, body.as_str(), "does not belong"),
        (&NOTIFICATIONS, body.as_str(), "does not belong"),
        (
            &NOTIFICATIONS,
            samples::of(EventKind::OrderStatusChanged),
            "does not exist",
        ),
        (&FULFILMENT, body.as_str(), "does not belong"),
        (
            &FULFILMENT,
            samples::of(EventKind::OrderStatusChanged),
            "does not",
        ),
        (
            &PROJECTIONS,
            samples::of(EventKind::OrderStatusChanged),
            "does not exist",
        ),
    ] {
        match world.foresee(queue, body) {
            Foreseen::Parked { reason } => assert!(reason.contains(part), "{reason}"),
            other => panic!("{part}: {other:?}"),
        }
    }
    let stock = samples::of(EventKind::StockLevelReached);
    assert_eq!(
        world.foresee(&NOTIFICATIONS, stock),
        Foreseen::Done {
            what: "a notification is sent".to_owned()
        }
    );
}

fn confirmed(new: &NewOrder) -> Envelope {
    let message = Message::OrderStatusChanged {
        order_number: new.order.order_number.clone(),
        from: Some("pending".to_owned()),
        to: "confirmed".to_owned(),
        step: "fulfilment".to_owned(),
        reason: None,
    };
    about(new, message)
}

#[test]
fn a_rehearsal_predicts_tickets_and_parcels_and_makes_none() {
    for (order_type, expected) in [
        (
            OrderType::Pickup,
            "the order gets the next ticket of main-street on 2026-03-01",
        ),
        (OrderType::Delivery, "the order is sent as parcel"),
    ] {
        let mut new = new_order();
        new.order.order_type = order_type;
        let world = Shop::with(new);
        let news = confirmed(&world.new);
        let Foreseen::Parked { reason } = world.foresee(&FULFILMENT, &news.encode()) else {
            panic!("not confirmed")
        };
        assert!(reason.contains("never was confirmed"), "{reason}");

        block_on(world.orders.apply(&[step(&world.new, 1, State::Confirmed)]));
        let foreseen = world.foresee(&FULFILMENT, &news.encode());
        let Foreseen::Done { what } = &foreseen else {
            panic!("{foreseen:?}")
        };
        assert!(what.contains(expected), "{what}");
        assert_eq!(
            world.foresee(&FULFILMENT, &news.encode()),
            foreseen,
            "nothing was made"
        );

        let maker = Maker {
            role: "fulfilment-worker",
            version: "0",
            traceparent: None,
        };
        assert_eq!(
            block_on(fulfil(&world.orders, &Clock, &maker, &news)),
            Handled::done()
        );
        let told_otherwise = Envelope {
            event_id: EventId(Uuid::now_v7()),
            ..news
        };
        assert_eq!(
            world.foresee(&FULFILMENT, &told_otherwise.encode()),
            Foreseen::Dropped,
            "each order has one"
        );
    }
}

#[test]
fn a_rehearsal_predicts_a_view_by_its_version() {
    let world = Shop::new();
    let news = about(&world.new, Message::ReserveStock {}).encode();
    let first = Foreseen::Done {
        what: "the order view shows pending (version 1)".to_owned(),
    };
    assert_eq!(world.foresee(&PROJECTIONS, &news), first);
    assert_eq!(
        world.foresee(&PROJECTIONS, &news),
        first,
        "nothing was shown"
    );

    block_on(project(&world.orders, &world.views, &world.new.outbox[0]));
    assert_eq!(
        world.foresee(&PROJECTIONS, &news),
        Foreseen::Dropped,
        "the view shows the current state"
    );
    block_on(world.orders.apply(&[step(&world.new, 1, State::Confirmed)]));
    let second = Foreseen::Done {
        what: "the order view shows confirmed (version 2)".to_owned(),
    };
    assert_eq!(world.foresee(&PROJECTIONS, &news), second);

    world.views.set_out_of_reach(true);
    assert!(matches!(
        world.foresee(&PROJECTIONS, &news),
        Foreseen::Later { .. }
    ));
}
