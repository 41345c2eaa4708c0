//! Laws of `FulfilmentStore`. They take two stores on one migrated database, which stand for two
//! processes.

use contract::messages::Message;
use domain::ids::{EventId, OrderId};
use futures::future::join_all;
use time::macros::date;
use uuid::Uuid;

use crate::location::Location;
use crate::ports::fulfilment::{Fulfilment, FulfilmentStore, Shipment, Work};
use crate::ports::orders::{Applied, NewOrder, OrderStore, Outgoing};
use crate::ports::scope::Scope;
use crate::use_cases::Maker;

const MAKER: Maker = Maker {
    role: "fulfilment-worker",
    version: "0",
    traceparent: None,
};

/// Runs all laws, each on its own orders and days.
pub async fn all(
    store: &(impl OrderStore + FulfilmentStore),
    other: &(impl OrderStore + FulfilmentStore),
) {
    one_order_has_one_ticket(store, other).await;
    positions_of_a_day_have_no_gap(store, other).await;
    one_order_has_one_shipment_and_one_message(store, other).await;
}

async fn placed(store: &impl OrderStore) -> NewOrder {
    let new = super::orders::new_order();
    store
        .place(std::slice::from_ref(&new))
        .await
        .pop()
        .expect("an answer")
        .expect("placed");
    new
}

fn ticket(new: &NewOrder, day: time::Date) -> Fulfilment {
    let Location {
        tenant_id,
        location_id,
        ..
    } = Location::initial();
    Fulfilment {
        consumer: MAKER.role,
        event_id: EventId(Uuid::now_v7()),
        order_id: new.order.order_id,
        work: Work::Ticket {
            tenant_id,
            location_id,
            day,
        },
        outbox: Vec::new(),
        at: new.order.created_at,
    }
}

async fn one_order_has_one_ticket(
    store: &(impl OrderStore + FulfilmentStore),
    other: &impl FulfilmentStore,
) {
    let day = date!(2026 - 05 - 01);
    let new = placed(store).await;
    let first = ticket(&new, day);
    assert_eq!(store.fulfil(&first).await, Ok(Applied::Applied));
    assert_eq!(other.fulfil(&first).await, Ok(Applied::Duplicate));
    assert_eq!(
        other.fulfil(&ticket(&new, day)).await,
        Ok(Applied::Conflict),
        "another event, the same order"
    );
    let id = new.order.order_id;
    let [made] = other
        .tickets(&Scope::Everything, &[id, OrderId(Uuid::now_v7())])
        .await
        .expect("read")
        .try_into()
        .expect("one ticket");
    assert_eq!((made.order_id, made.day, made.position), (id, day, 1));
    assert_eq!(made.slot_at, new.slot.map(|slot| slot.starts_at));
}

/// Covers tickets that two processes create at the same time, and two tickets for one order.
async fn positions_of_a_day_have_no_gap(
    store: &(impl OrderStore + FulfilmentStore),
    other: &(impl OrderStore + FulfilmentStore),
) {
    let day = date!(2026 - 05 - 02);
    let mut orders = Vec::new();
    for _ in 0..16 {
        orders.push(placed(store).await);
    }
    let (here, there): (Vec<_>, Vec<_>) = orders
        .iter()
        .map(|new| (ticket(new, day), ticket(new, day)))
        .unzip();
    let (here, there) = futures::join!(
        join_all(here.iter().map(|ticket| store.fulfil(ticket))),
        join_all(there.iter().map(|ticket| other.fulfil(ticket))),
    );
    for (here, there) in here.into_iter().zip(there) {
        let mut both = [here.expect("there"), there.expect("there")];
        both.sort_by_key(|applied| *applied != Applied::Applied);
        assert_eq!(both, [Applied::Applied, Applied::Conflict]);
    }
    let ids: Vec<_> = orders.iter().map(|new| new.order.order_id).collect();
    let mut positions: Vec<_> = store
        .tickets(&Scope::Everything, &ids)
        .await
        .expect("read")
        .into_iter()
        .map(|ticket| ticket.position)
        .collect();
    positions.sort_unstable();
    assert_eq!(positions, (1..=16).collect::<Vec<_>>());
}

async fn one_order_has_one_shipment_and_one_message(
    store: &(impl OrderStore + FulfilmentStore),
    other: &(impl OrderStore + FulfilmentStore),
) {
    let new = placed(store).await;
    let id = new.order.order_id;
    let tracking_number = format!("BH{}", Uuid::now_v7().simple());
    let said = Message::OrderShipped {
        order_number: new.order.order_number.clone(),
        tracking_number: tracking_number.clone(),
        location_id: new.order.location_id.to_string(),
    };
    let shipment = || Fulfilment {
        work: Work::Shipment {
            tracking_number: tracking_number.clone(),
        },
        outbox: vec![MAKER.envelope_with(
            EventId(Uuid::now_v7()),
            new.order.created_at,
            Some(id),
            said.clone(),
        )],
        ..ticket(&new, date!(2026 - 05 - 03))
    };
    let (first, second) = (shipment(), shipment());
    let (here, there) = futures::join!(store.fulfil(&first), other.fulfil(&second));
    let mut both = [here.expect("there"), there.expect("there")];
    both.sort_by_key(|applied| *applied != Applied::Applied);
    assert_eq!(both, [Applied::Applied, Applied::Conflict]);
    let kept = other.shipment(&Scope::Everything, id).await.expect("read");
    assert_eq!(
        kept,
        Some(Shipment {
            order_id: id,
            tracking_number,
            shipped_at: new.order.created_at
        })
    );
    let mut told = 0;
    loop {
        let rows = store
            .take_outbox(Outgoing::All, new.order.created_at, 100)
            .await
            .expect("read");
        if rows.is_empty() {
            break;
        }
        let of_order = rows.iter().filter_map(|row| row.letter.as_ref().ok());
        told += of_order
            .filter(|letter| {
                letter.envelope.order_id == Some(id) && letter.envelope.message == said
            })
            .count();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        store
            .mark_published(&ids, new.order.created_at)
            .await
            .expect("marked");
    }
    assert_eq!(told, said.kind().routes().len(), "one row per route");
    assert_eq!(
        store
            .shipment(&Scope::Everything, OrderId(Uuid::now_v7()))
            .await,
        Ok(None)
    );
}
