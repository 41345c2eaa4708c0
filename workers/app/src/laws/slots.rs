//! Laws about locations and the places in their pickup slots. They take two stores on one migrated
//! database, which stand for two processes.

use domain::Timestamp;
use domain::saga::State;
use futures::future::join_all;
use time::macros::datetime;
use uuid::Uuid;

use super::orders::{new_order, step};
use crate::location::Location;
use crate::ports::locations::LocationStore;
use crate::ports::orders::{Applied, NewOrder, OrderStore, Placement, SlotClaim};
use crate::ports::scope::Scope;

/// Runs all laws, each on its own slots.
pub async fn all(
    store: &(impl OrderStore + LocationStore),
    other: &(impl OrderStore + LocationStore),
) {
    the_first_location_is_the_default_one(store).await;
    no_more_orders_than_places_get_a_slot(store, other).await;
    one_key_takes_one_place(store).await;
    a_failed_order_frees_its_place_once(store, other).await;
}

fn for_slot(starts_at: Timestamp, capacity: u32) -> NewOrder {
    let mut new = new_order();
    new.order.pickup_at = Some(starts_at);
    new.slot = Some(SlotClaim {
        starts_at,
        capacity,
    });
    new
}

async fn place(store: &impl OrderStore, new: &NewOrder) -> Placement {
    store
        .place(std::slice::from_ref(new))
        .await
        .pop()
        .expect("an answer")
        .expect("the store is there")
}

async fn taken(store: &impl LocationStore, starts_at: Timestamp) -> u32 {
    let Location {
        tenant_id,
        location_id,
        ..
    } = Location::initial();
    let minute = time::Duration::minutes(1);
    let slots = store
        .taken(&tenant_id, &location_id, starts_at, starts_at + minute)
        .await
        .expect("read");
    slots
        .iter()
        .filter(|(at, _)| *at == starts_at)
        .map(|(_, taken)| *taken)
        .sum()
}

async fn the_first_location_is_the_default_one(store: &impl LocationStore) {
    assert_eq!(
        store.locations().await.expect("read"),
        [Location::initial()]
    );
}

/// Places 64 orders at the same time from two processes.
async fn no_more_orders_than_places_get_a_slot(
    store: &impl OrderStore,
    other: &(impl OrderStore + LocationStore),
) {
    let at = datetime!(2026-06-01 12:00 UTC);
    assert_eq!(place(store, &for_slot(at, 4)).await, Placement::Placed);
    let orders: Vec<_> = (0..64).map(|_| for_slot(at, 4)).collect();
    let (here, there) = orders.split_at(32);
    let (here, there) = futures::join!(
        join_all(here.iter().map(|new| place(store, new))),
        join_all(there.iter().map(|new| place(other, new))),
    );
    let answers: Vec<_> = here.into_iter().chain(there).collect();
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Placement::Placed)
            .count(),
        3
    );
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Placement::SlotFull)
            .count(),
        61
    );
    assert_eq!(taken(other, at).await, 4);
    for (new, answer) in orders.iter().zip(answers) {
        let there = store
            .load(new.order.order_id)
            .await
            .expect("read")
            .is_some();
        assert_eq!(
            there,
            answer == Placement::Placed,
            "a refused order leaves no row"
        );
        let used = store
            .key_use(&Scope::Everything, &new.key_hash)
            .await
            .expect("read")
            .is_some();
        assert_eq!(used, there, "the key of a refused order can be used again");
    }
}

async fn one_key_takes_one_place(store: &(impl OrderStore + LocationStore)) {
    let at = datetime!(2026-06-01 13:00 UTC);
    let new = for_slot(at, 1);
    assert_eq!(place(store, &new).await, Placement::Placed);
    assert!(
        matches!(place(store, &new).await, Placement::KeyUsed(_)),
        "a repeat succeeds in a full slot"
    );
    // One batch: the first order takes the place, the second finds the slot full, and the third
    // needs no place.
    let later = at + time::Duration::minutes(15);
    let batch = [for_slot(later, 1), for_slot(later, 1), new_order()];
    let answers: Vec<_> = store
        .place(&batch)
        .await
        .into_iter()
        .map(|answer| answer.expect("there"))
        .collect();
    assert_eq!(
        answers,
        [Placement::Placed, Placement::SlotFull, Placement::Placed]
    );
    assert_eq!((taken(store, at).await, taken(store, later).await), (1, 1));
}

async fn a_failed_order_frees_its_place_once(
    store: &(impl OrderStore + LocationStore),
    other: &impl OrderStore,
) {
    let at = datetime!(2026-06-01 14:00 UTC);
    let (bad, good) = (for_slot(at, 2), for_slot(at, 2));
    assert_eq!(place(store, &bad).await, Placement::Placed);
    assert_eq!(place(store, &good).await, Placement::Placed);
    let apply = async |change| {
        store
            .apply(&[change])
            .await
            .pop()
            .expect("an answer")
            .expect("applied")
    };
    assert_eq!(
        apply(step(&bad, 1, State::ReleasingToCancel)).await,
        Applied::Applied
    );
    assert_eq!(
        taken(store, at).await,
        2,
        "an order before its end keeps its place"
    );
    let end = step(&bad, 2, State::Cancelled);
    let same = crate::ports::orders::Change {
        event_id: domain::ids::EventId(Uuid::now_v7()),
        ..end.clone()
    };
    let (here, there) = futures::join!(
        store.apply(std::slice::from_ref(&end)),
        other.apply(std::slice::from_ref(&same))
    );
    let applied: Vec<_> = here
        .into_iter()
        .chain(there)
        .map(|answer| answer.expect("there"))
        .collect();
    assert!(
        applied.contains(&Applied::Applied) && applied.contains(&Applied::Conflict),
        "{applied:?}"
    );
    assert_eq!(taken(store, at).await, 1, "the place is free once");
    assert_eq!(
        apply(step(&good, 1, State::Completed)).await,
        Applied::Applied
    );
    assert_eq!(
        taken(store, at).await,
        1,
        "a completed order keeps its place"
    );
    assert_eq!(place(store, &for_slot(at, 2)).await, Placement::Placed);
    assert_eq!(place(store, &for_slot(at, 2)).await, Placement::SlotFull);
}
