//! Laws about the scope of every query that a person can cause. They take a store whose database
//! has two tenants, with the same two location ids each.

use contract::messages::Message;
use domain::ids::{EventId, LocationId, OrderId, OrderNumber, TenantId};
use domain::order::Status;
use time::macros::date;
use uuid::Uuid;

use super::orders::new_order;
use crate::location::Location;
use crate::ports::fulfilment::{Fulfilment, FulfilmentStore, Work};
use crate::ports::journey::{JourneyStore, Records};
use crate::ports::orders::{Applied, NewOrder, OrderFilter, OrderStore, PaymentKind, Placement};
use crate::ports::scope::Scope;
use crate::use_cases::Maker;

const MAKER: Maker = Maker {
    role: "fulfilment-worker",
    version: "0",
    traceparent: None,
};

/// The second tenant. The owner of the store adds it before the laws run.
pub const OTHER_TENANT: &str = "other-house";
/// The second location of both tenants.
pub const OTHER_LOCATION: &str = "airport";

/// Returns two locations of two tenants. The first is the one of a new installation.
pub fn shops() -> [Location; 4] {
    let (tenant, location) = (
        TenantId::parse(OTHER_TENANT),
        LocationId::parse(OTHER_LOCATION),
    );
    let (tenant, location) = (tenant.expect("a slug"), location.expect("a slug"));
    let of = |tenant_id: &TenantId, location_id: &LocationId| Location {
        tenant_id: tenant_id.clone(),
        location_id: location_id.clone(),
        ..Location::initial()
    };
    let home = Location::initial();
    [
        of(&home.tenant_id, &home.location_id),
        of(&home.tenant_id, &location),
        of(&tenant, &home.location_id),
        of(&tenant, &location),
    ]
}

/// Returns SQL statements for both databases that insert the rows which a new installation lacks.
pub fn rows() -> [String; 3] {
    let row = |tenant: &str, location: &str| {
        format!(
            "INSERT INTO locations (tenant_id, location_id, name, currency, tax_basis_points)
             VALUES ('{tenant}', '{location}', 'Another shop', 'USD', 888)"
        )
    };
    let home = Location::initial();
    [
        format!("INSERT INTO tenants (tenant_id, name) VALUES ('{OTHER_TENANT}', 'Another house')"),
        format!(
            "{}, ('{OTHER_TENANT}', '{}', 'Another shop', 'USD', 888)",
            row(OTHER_TENANT, OTHER_LOCATION),
            home.location_id
        ),
        row(home.tenant_id.as_str(), OTHER_LOCATION),
    ]
}

/// Checks that every order of a location is found in the scope of its location, and by no method in
/// another scope.
pub async fn all(store: &(impl OrderStore + FulfilmentStore + JourneyStore)) {
    let session = Uuid::now_v7().to_string();
    let number = OrderNumber::of(9_001);
    let shops = shops();
    let mut orders = Vec::new();
    for shop in &shops {
        orders.push(fulfilled(store, shop, &session, number).await);
    }
    for (shop, own) in shops.iter().zip(&orders) {
        let scope = Scope::of(shop);
        for (of, order_id) in shops.iter().zip(&orders) {
            let seen = sees(store, &scope, *order_id).await;
            let expected = if order_id == own { SEEN } else { [false; 7] };
            assert_eq!(
                seen,
                expected,
                "{:?} asks for an order of {:?}",
                scope,
                Scope::of(of)
            );
        }
        assert_eq!(
            store.newest_with_number(&scope, number).await,
            Ok(Some(*own)),
            "{scope:?}"
        );
        for (filter, expected) in [
            (
                OrderFilter {
                    session_hashes: vec![session.clone()],
                    limit: 10,
                    ..OrderFilter::default()
                },
                true,
            ),
            (
                OrderFilter {
                    statuses: vec![Status::Pending],
                    limit: 200,
                    ..OrderFilter::default()
                },
                true,
            ),
            (
                OrderFilter {
                    limit: 200,
                    ..OrderFilter::default()
                },
                true,
            ),
            (
                OrderFilter {
                    statuses: vec![Status::Ready],
                    limit: 200,
                    ..OrderFilter::default()
                },
                false,
            ),
        ] {
            let listed = store.list(&scope, &filter).await.expect("read");
            assert!(
                listed.iter().all(|order| scope.has(order)),
                "{scope:?} {filter:?}"
            );
            assert_eq!(
                listed.iter().any(|order| order.order_id == *own),
                expected,
                "{scope:?} {filter:?}"
            );
        }
    }
    a_scope_with_two_locations_has_the_orders_of_both(store, &shops, &orders, &session).await;
    numbers_and_pending_orders_are_counted_by_location(store, &shops).await;
}

async fn a_scope_with_two_locations_has_the_orders_of_both(
    store: &impl OrderStore,
    shops: &[Location; 4],
    orders: &[OrderId],
    session: &str,
) {
    let location_ids = vec![shops[0].location_id.clone(), shops[1].location_id.clone()];
    let both = Scope::Shops {
        tenant_id: shops[0].tenant_id.clone(),
        location_ids,
    };
    for statuses in [vec![], vec![Status::Pending, Status::Ready]] {
        for session_hashes in [
            vec![],
            vec![session.to_owned()],
            vec![Uuid::now_v7().to_string(), session.to_owned()],
        ] {
            let filter = OrderFilter {
                limit: 200,
                statuses: statuses.clone(),
                session_hashes,
                before: None,
            };
            let listed: Vec<_> = store
                .list(&both, &filter)
                .await
                .expect("read")
                .into_iter()
                .map(|one| one.order_id)
                .collect();
            assert!(
                listed.contains(&orders[0]) && listed.contains(&orders[1]),
                "{filter:?}"
            );
            assert!(
                !listed.contains(&orders[2]) && !listed.contains(&orders[3]),
                "{filter:?}"
            );
            assert!(
                listed.is_sorted_by(|one, next| one > next),
                "newest first: {filter:?}"
            );
        }
    }
}

async fn numbers_and_pending_orders_are_counted_by_location(
    store: &impl OrderStore,
    shops: &[Location; 4],
) {
    let mut before = Vec::new();
    for shop in shops {
        let number = store
            .next_number(&shop.tenant_id, &shop.location_id, date!(2033 - 05 - 05))
            .await;
        assert_eq!(number, Ok(0), "each location has its own numbers");
        before.push(
            store
                .pending_orders(&Scope::of(shop))
                .await
                .expect("counted"),
        );
    }
    place(store, &order_of(&shops[3], "")).await;
    for (index, shop) in shops.iter().enumerate() {
        let now = store
            .pending_orders(&Scope::of(shop))
            .await
            .expect("counted");
        assert_eq!(now, before[index] + u64::from(index == 3), "{index}");
    }
}

/// The results of the methods for a fulfilled order: the order, its history, ticket, shipment,
/// records, charge and idempotency key.
const SEEN: [bool; 7] = [true; 7];

async fn sees(
    store: &(impl OrderStore + FulfilmentStore + JourneyStore),
    scope: &Scope,
    id: OrderId,
) -> [bool; 7] {
    [
        store.load_in(scope, id).await.expect("read").is_some(),
        !store.history(scope, id, 0).await.expect("read").is_empty(),
        !store.tickets(scope, &[id]).await.expect("read").is_empty(),
        store.shipment(scope, id).await.expect("read").is_some(),
        store.records(scope, id).await.expect("read") != Records::default(),
        store
            .payment_in(scope, id, PaymentKind::Charge)
            .await
            .expect("read")
            .is_some(),
        store
            .key_use(scope, &key_of(id))
            .await
            .expect("read")
            .is_some(),
    ]
}

fn key_of(order_id: OrderId) -> String {
    format!("the key of {order_id}")
}

fn order_of(shop: &Location, session: &str) -> NewOrder {
    let mut new = new_order();
    (new.order.tenant_id, new.order.location_id) =
        (shop.tenant_id.clone(), shop.location_id.clone());
    new.session_hash = Some(session.to_owned());
    new
}

async fn place(store: &impl OrderStore, new: &NewOrder) {
    assert_eq!(
        store.place(std::slice::from_ref(new)).await,
        [Ok(Placement::Placed)]
    );
}

/// Returns an order of the location with everything that people can query.
async fn fulfilled(
    store: &(impl OrderStore + FulfilmentStore),
    shop: &Location,
    session: &str,
    number: OrderNumber,
) -> OrderId {
    let mut new = order_of(shop, session);
    new.order.order_number = number.to_string();
    new.key_hash = key_of(new.order.order_id);
    place(store, &new).await;
    let order_id = new.order.order_id;
    let ticket = Work::Ticket {
        tenant_id: shop.tenant_id.clone(),
        location_id: shop.location_id.clone(),
        day: date!(2033 - 05 - 05),
    };
    let shipment = Work::Shipment {
        tracking_number: order_id.to_string(),
    };
    for work in [ticket, shipment] {
        let at = new.order.created_at;
        let message = Message::OrderShipped {
            order_number: number.to_string(),
            tracking_number: order_id.to_string(),
            location_id: shop.location_id.to_string(),
        };
        let fulfilment = Fulfilment {
            consumer: MAKER.role,
            event_id: EventId(Uuid::now_v7()),
            order_id,
            work,
            outbox: vec![MAKER.envelope_with(EventId(Uuid::now_v7()), at, Some(order_id), message)],
            at,
        };
        assert_eq!(store.fulfil(&fulfilment).await, Ok(Applied::Applied));
    }
    order_id
}
