use std::collections::BTreeSet;

use domain::cart::Lines;
use domain::ids::OrderId;
use domain::stock::Counters;
use futures::executor::block_on;
use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::fakes::orders::MemoryOrders;
use crate::fakes::stock::MemoryStock;
use crate::laws;
use crate::ports::orders::{OrderStore as _, Outgoing};
use crate::ports::stock::{Adjustment, AdjustmentKind, Stock};

const NOW: domain::Timestamp = datetime!(2026-03-01 08:00 UTC);

struct Clock;

impl Source for Clock {
    fn now(&self) -> domain::Timestamp {
        NOW
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

fn maker() -> Maker {
    Maker {
        role: "inventory-worker",
        version: "0",
        traceparent: None,
    }
}

/// Returns the states of a product with these available units, one version for each.
fn states(available: &[i64], received: i64) -> Vec<StockedProduct> {
    let product = laws::stock::product("watched");
    let of = |(n, available): (usize, &i64)| StockedProduct {
        product: product.clone(),
        counters: Counters {
            available: *available,
            received,
            ..Counters::default()
        },
        low_stock_threshold: 2,
        version: n as i64 + 1,
        last_restocked: None,
    };
    available.iter().enumerate().map(of).collect()
}

/// The stream of those changes: the first record has no state before it.
fn records(states: &[StockedProduct]) -> Vec<StockChange> {
    let before = std::iter::once(None).chain(states.iter().cloned().map(Some));
    let change = |(before, after): (Option<StockedProduct>, &StockedProduct)| StockChange {
        before,
        after: Some(after.clone()),
    };
    before.zip(states).map(change).collect()
}

/// Returns all changes to a worse level, computed from the complete list of states.
fn crossings(states: &[StockedProduct]) -> Vec<(i64, Availability)> {
    let mut before = Availability::InStock;
    let mut found = Vec::new();
    for state in states {
        let now = state.availability();
        found.extend(before.worsened_to(now).map(|level| (state.version, level)));
        before = now;
    }
    found
}

/// Returns the alerts to staff by event id, in the order in which they were written.
fn told(store: &MemoryOrders) -> Vec<(EventId, Availability)> {
    let rows = block_on(store.take_outbox(Outgoing::All, NOW + time::Duration::HOUR, 10_000))
        .expect("taken");
    let mut events = Vec::new();
    for row in rows {
        let envelope = row.letter.expect("readable").envelope;
        let Message::StockLevelReached { level, .. } = envelope.message else {
            panic!("another message")
        };
        if !events.contains(&(envelope.event_id, level)) {
            events.push((envelope.event_id, level));
        }
    }
    events
}

fn levels(store: &MemoryOrders) -> Vec<&'static str> {
    told(store)
        .into_iter()
        .map(|(_, level)| level.code())
        .collect()
}

fn watch(store: &MemoryOrders, record: &StockChange) -> Option<Availability> {
    block_on(watch_record(store, &Clock, &maker(), record)).expect("answered")
}

#[test]
fn each_fall_below_a_level_sends_an_alert_and_a_rise_none() {
    let store = MemoryOrders::default();
    for record in records(&states(&[5, 2, 1, 0, 1, 0, 6, 2], 9)) {
        watch(&store, &record);
    }
    assert_eq!(
        levels(&store),
        ["low", "out", "out", "low"],
        "a second fall sends a second alert"
    );
}

proptest! {
    /// Two workers read one stream. Each sometimes returns to an earlier record, as after a crash
    /// before a checkpoint.
    #[test]
    fn a_record_that_is_read_again_sends_no_second_alert(
        available in prop::collection::vec(0i64..6, 1..30),
        steps in prop::collection::vec((0usize..2, 0usize..4), 0..80),
    ) {
        let states = states(&available, 9);
        let records = records(&states);
        let store = MemoryOrders::default();
        let mut positions = [0usize; 2];
        let rest = (0..records.len()).flat_map(|_| [(0, 0), (1, 0)]);
        for (who, back) in steps.into_iter().chain(rest) {
            let at = positions[who].saturating_sub(back);
            if let Some(record) = records.get(at) {
                watch(&store, record);
                positions[who] = at + 1;
            }
        }
        let expected = crossings(&states);
        prop_assert_eq!(levels(&store), expected.iter().map(|(_, level)| level.code()).collect::<Vec<_>>());
        let ids: BTreeSet<EventId> = told(&store).into_iter().map(|(id, _)| id).collect();
        prop_assert_eq!(ids.len(), expected.len(), "each alert has its own id");
        // All records once more, the last one first.
        for record in records.iter().rev() {
            prop_assert_eq!(watch(&store, record), None);
        }
    }
}

/// A product with this number of units and a threshold of two, and the observations of a worker.
struct Shop {
    stock: MemoryStock,
    store: MemoryOrders,
    product: domain::menu::Product,
    changes: std::cell::Cell<u32>,
}

impl Shop {
    fn new(units: u32) -> Shop {
        let shop = Shop {
            stock: MemoryStock::default(),
            store: MemoryOrders::default(),
            product: laws::stock::product("watched"),
            changes: std::cell::Cell::new(0),
        };
        block_on(shop.stock.add_product(&shop.product, units, 2, NOW)).expect("added");
        shop
    }

    fn state(&self) -> StockedProduct {
        block_on(Stock::product(&self.stock, &self.product.product_id))
            .expect("read")
            .expect("there")
    }

    /// Changes the stock; gives the record that the stream has of it.
    fn change(&self, change: AdjustmentKind) -> StockChange {
        let before = self.state();
        self.changes.set(self.changes.get() + 1);
        let adjustment = Adjustment {
            movement_id: self.changes.get().to_string(),
            product_id: self.product.product_id.clone(),
            change,
            actor: "ada".to_owned(),
            reason: "counted".to_owned(),
            at: NOW,
        };
        block_on(self.stock.adjust(&adjustment)).expect("adjusted");
        StockChange {
            before: Some(before),
            after: Some(self.state()),
        }
    }

    fn rebuild(&self) -> u64 {
        block_on(rebuild(&self.store, &self.stock, &Clock, &maker())).expect("rebuilt")
    }
}

#[test]
fn a_rebuild_followed_by_the_stream_sends_one_alert() {
    let shop = Shop::new(5);
    let crossing = shop.change(AdjustmentKind::Correct(-3));
    assert_eq!(shop.rebuild(), 1);
    assert_eq!(
        watch(&shop.store, &crossing),
        None,
        "the rebuild sent the alert"
    );
    assert_eq!(shop.rebuild(), 0);
    assert_eq!(levels(&shop.store), ["low"]);
}

#[test]
fn a_rebuild_sends_the_lost_alerts_once() {
    let shop = Shop::new(5);
    let crossing = shop.change(AdjustmentKind::Correct(-3));
    assert_eq!(watch(&shop.store, &crossing), Some(Availability::Low));
    let spilt = shop.change(AdjustmentKind::Correct(-1));
    assert_eq!(shop.rebuild(), 0, "the level was reported before");
    assert_eq!(watch(&shop.store, &spilt), None);
    // Lost records: a delivery, and then low again.
    shop.change(AdjustmentKind::Restock(5));
    shop.change(AdjustmentKind::Correct(-4));
    assert_eq!(shop.rebuild(), 1, "another crossing, after a delivery");
    assert_eq!(shop.rebuild(), 0);
    // Lost record: sold out.
    shop.change(AdjustmentKind::Correct(-2));
    assert_eq!(shop.rebuild(), 1);
    // Lost record: in stock again. Record that is read: low again.
    shop.change(AdjustmentKind::Restock(9));
    assert_eq!(shop.rebuild(), 0);
    assert_eq!(
        watch(&shop.store, &shop.change(AdjustmentKind::Correct(-8))),
        Some(Availability::Low)
    );
    assert_eq!(levels(&shop.store), ["low", "low", "out", "low"]);
}

#[test]
fn a_restored_table_is_watched_from_its_current_state() {
    let shop = Shop::new(5);
    for _ in 0..4 {
        shop.change(AdjustmentKind::Restock(1));
    }
    assert_eq!(
        watch(&shop.store, &shop.change(AdjustmentKind::Correct(-8))),
        Some(Availability::Low)
    );
    let restored = Shop {
        store: shop.store.another(),
        ..Shop::new(5)
    };
    let restored = Shop {
        product: shop.product.clone(),
        ..restored
    };
    block_on(restored.stock.add_product(&restored.product, 5, 2, NOW)).expect("added");
    assert_eq!(restored.rebuild(), 0, "a product in stock sends no alert");
    assert_eq!(
        watch(
            &restored.store,
            &restored.change(AdjustmentKind::Correct(-4))
        ),
        Some(Availability::Low)
    );
}

#[test]
fn units_reserved_by_orders_send_alerts_too() {
    let shop = Shop::new(3);
    let before = shop.state();
    let lines: Lines = laws::stock::lines(&[(&shop.product.product_id, 3)]);
    let order = OrderId(Uuid::now_v7());
    block_on(
        shop.stock
            .reserve(order, &lines, NOW, NOW + time::Duration::MINUTE),
    )
    .expect("held");
    let record = StockChange {
        before: Some(before),
        after: Some(shop.state()),
    };
    assert_eq!(watch(&shop.store, &record), Some(Availability::Out));
}
