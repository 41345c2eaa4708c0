use domain::saga::State;
use futures::executor::block_on;
use time::macros::date;

use super::*;
use crate::fakes::Noon;
use crate::fakes::orders::MemoryOrders;
use crate::laws::orders::{new_order, step};
use crate::ports::orders::NewOrder;
use crate::ports::scope::Scope;
use crate::use_cases::change_order::{Move, move_by_staff};

const MAKER: Maker = Maker {
    role: "fulfilment-worker",
    version: "0",
    traceparent: None,
};

/// Returns an order of this type in this state, and the message that it was confirmed.
async fn an_order(
    store: &MemoryOrders,
    order_type: OrderType,
    state: State,
) -> (NewOrder, Envelope) {
    let mut new = new_order();
    new.order.order_type = order_type;
    store
        .place(std::slice::from_ref(&new))
        .await
        .pop()
        .expect("an answer")
        .expect("placed");
    store
        .apply(&[step(&new, 1, state)])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
    let message = Message::OrderStatusChanged {
        order_number: new.order.order_number.clone(),
        from: Some("pending".to_owned()),
        to: "confirmed".to_owned(),
        step: "fulfilment".to_owned(),
        reason: None,
    };
    let envelope = MAKER.envelope(&Noon, Some(new.order.order_id), message);
    (new, envelope)
}

#[test]
fn each_pickup_order_gets_one_ticket_and_the_next_position() {
    block_on(async {
        let store = MemoryOrders::default();
        let mut positions = Vec::new();
        for order_type in [OrderType::Pickup, OrderType::DineIn] {
            let (new, envelope) = an_order(&store, order_type, State::Confirmed).await;
            assert_eq!(
                fulfil(&store, &Noon, &MAKER, &envelope).await,
                Handled::done()
            );
            assert_eq!(
                fulfil(&store, &Noon, &MAKER, &envelope).await,
                Handled::duplicate()
            );
            let told_otherwise = Envelope {
                event_id: EventId(Uuid::now_v7()),
                ..envelope
            };
            assert_eq!(
                fulfil(&store, &Noon, &MAKER, &told_otherwise).await,
                Handled::duplicate()
            );
            let [ticket] = store
                .tickets(&Scope::Everything, &[new.order.order_id])
                .await
                .expect("read")
                .try_into()
                .expect("one ticket");
            assert_eq!(ticket.day, date!(2026 - 03 - 01));
            positions.push(ticket.position);
        }
        assert_eq!(positions, [1, 2]);
    });
}

#[test]
fn a_delivery_gets_one_tracking_number_and_is_shipped_at_completion() {
    block_on(async {
        let store = MemoryOrders::default();
        let (new, envelope) = an_order(&store, OrderType::Delivery, State::Ready).await;
        for _ in 0..2 {
            let told_otherwise = Envelope {
                event_id: EventId(Uuid::now_v7()),
                ..envelope.clone()
            };
            let _ = fulfil(&store, &Noon, &MAKER, &told_otherwise).await;
        }
        let id = new.order.order_id;
        let shipment = store
            .shipment(&Scope::Everything, id)
            .await
            .expect("read")
            .expect("it has a number");
        assert!(
            store
                .tickets(&Scope::Everything, &[id])
                .await
                .expect("read")
                .is_empty(),
            "a cancelled order has no ticket"
        );
        let said = || {
            let shipped = store.owed().into_iter().filter_map(|envelope| {
                let Message::OrderShipped {
                    tracking_number, ..
                } = envelope.message
                else {
                    return None;
                };
                Some(tracking_number)
            });
            shipped.collect::<Vec<_>>()
        };
        assert!(said().is_empty(), "the parcel has not left");
        let handed_over = Move {
            scope: Scope::Everything,
            order_id: id,
            expected_version: 2,
            to: Status::Completed,
            actor: "Ana".to_owned(),
            note: None,
        };
        move_by_staff(&store, &Noon, &MAKER, handed_over)
            .await
            .expect("moved");
        assert_eq!(said(), [shipment.tracking_number]);
    });
}

#[test]
fn a_cancelled_order_gets_no_ticket_and_an_unconfirmed_one_is_a_dead_letter() {
    block_on(async {
        let store = MemoryOrders::default();
        let (new, envelope) = an_order(&store, OrderType::Pickup, State::Cancelled).await;
        assert_eq!(
            fulfil(&store, &Noon, &MAKER, &envelope).await,
            Handled::done()
        );
        assert!(
            store
                .tickets(&Scope::Everything, &[new.order.order_id])
                .await
                .expect("read")
                .is_empty()
        );
        let (_, early) = an_order(&store, OrderType::Pickup, State::Charging).await;
        assert_ne!(fulfil(&store, &Noon, &MAKER, &early).await, Handled::done());
        let stray = MAKER.envelope(&Noon, Some(new.order.order_id), Message::ReserveStock {});
        assert!(matches!(
            fulfil(&store, &Noon, &MAKER, &stray).await.settlement,
            contract::settlement::Settlement::Park { .. }
        ));
    });
}

/// The row of another location is invalid. Only its own orders wait, and they need no redrive after
/// it is corrected.
#[test]
fn an_invalid_location_stops_only_its_own_tickets() {
    block_on(async {
        let store = MemoryOrders::default();
        let airport = domain::ids::LocationId::parse("airport").expect("an id");
        let elsewhere = crate::location::Location {
            location_id: airport,
            ..crate::location::Location::initial()
        };
        let (_, envelope) = an_order(&store, OrderType::Pickup, State::Confirmed).await;
        store.set_locations(vec![elsewhere.clone()]);
        let waits = fulfil(&store, &Noon, &MAKER, &envelope).await.settlement;
        assert!(
            matches!(waits, contract::settlement::Settlement::Retry { .. }),
            "{waits:?}"
        );
        store.set_locations(vec![elsewhere, crate::location::Location::initial()]);
        assert_eq!(
            fulfil(&store, &Noon, &MAKER, &envelope).await,
            Handled::done()
        );
    });
}
