//! Measures several ways to reserve units of one popular product. The decision is in
//! `docs/adr/0011-stock-in-transactions.md`. The test prints the figures: `cargo test -p
//! adapter-aws hot_product -- --nocapture`.
//!
//! The speeds are those of the local AWS on this machine. They compare the ways with each other and
//! do not predict DynamoDB's. Write units follow DynamoDB's rules: one for an item of up to 1 KB,
//! two in a transaction.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use adapter_aws::{Clients, DynamoStock};
use app::laws;
use app::ports::stock::{Reserved, Stock};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use domain::Timestamp;
use domain::ids::{OrderId, ProductId};
use uuid::Uuid;

const NOW: Timestamp = time::macros::datetime!(2026-03-01 08:00 UTC);
const CLIENTS: u32 = 16;
const ORDERS: u32 = 240;
/// Orders in one transaction, with a record and a ledger entry each, and one update of the
/// counters. DynamoDB accepts 100 actions.
const GROUP: u32 = 24;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Record, counters and ledger entry in one transaction, as the adapter does.
    Transaction,
    /// The same without the ledger entry.
    WithoutLedger,
    /// First the record, then the counters: two calls. A crash between them leaves a record without
    /// units.
    TwoCalls,
    /// Only the counters: a redelivered message takes another unit.
    CountersAlone,
    /// Many orders in one transaction, with one update of the counters for all.
    Grouped,
}

impl Way {
    /// Returns calls and write units per order.
    fn cost(self) -> (f64, f64) {
        let group = f64::from(GROUP);
        match self {
            Way::Transaction => (1.0, 6.0),
            Way::WithoutLedger => (1.0, 4.0),
            Way::TwoCalls => (2.0, 2.0),
            Way::CountersAlone => (1.0, 1.0),
            Way::Grouped => (1.0 / group, 4.0 + 2.0 / group),
        }
    }
}

#[tokio::test]
async fn hot_product() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    println!("{CLIENTS} clients hold {ORDERS} units of one product");
    for way in [
        Way::CountersAlone,
        Way::TwoCalls,
        Way::WithoutLedger,
        Way::Transaction,
        Way::Grouped,
    ] {
        let (stock, tables, _) = super::stock(&clients).await;
        let product = laws::stock::product("hot");
        assert!(
            stock
                .add_product(&product, ORDERS, 0, NOW)
                .await
                .expect("added")
        );
        let shop = Shop {
            clients: clients.clone(),
            stock,
            tables,
            product_id: product.product_id,
        };
        let began = Instant::now();
        let mut times = shop.sell_out(way).await;
        let seconds = began.elapsed().as_secs_f64();
        let left = shop
            .stock
            .product(&shop.product_id)
            .await
            .expect("read")
            .expect("there")
            .counters;
        assert_eq!(
            (left.available, left.reserved),
            (0, i64::from(ORDERS)),
            "{way:?}"
        );
        times.sort();
        let (calls, units) = way.cost();
        println!(
            "{:>14}: {:4.0} orders/s, p50 {:3} ms, p95 {:3} ms, {calls:.2} calls and {units:.2} write units an order",
            format!("{way:?}"),
            f64::from(ORDERS) / seconds,
            times[times.len() / 2].as_millis(),
            times[times.len() * 95 / 100].as_millis(),
        );
    }
}

struct Shop {
    clients: Clients,
    stock: DynamoStock,
    tables: super::StockNames,
    product_id: ProductId,
}

impl Shop {
    /// Sells all units and returns the duration of each call.
    async fn sell_out(&self, way: Way) -> Vec<Duration> {
        let each = if way == Way::Grouped { GROUP } else { 1 };
        let next = AtomicU32::new(0);
        let client = async || {
            let mut times = Vec::new();
            while next.fetch_add(each, Ordering::Relaxed) < ORDERS {
                let began = Instant::now();
                self.hold(way).await;
                times.push(began.elapsed());
            }
            times
        };
        futures::future::join_all((0..CLIENTS).map(|_| client()))
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    async fn hold(&self, way: Way) {
        let order_id = OrderId(Uuid::now_v7());
        let dynamodb = self.clients.dynamodb();
        match way {
            Way::Transaction => {
                let lines = laws::stock::lines(&[(&self.product_id, 1)]);
                // Retries until the reservation succeeds, as a queue would.
                while self
                    .stock
                    .reserve(order_id, &lines, NOW, NOW + Duration::from_secs(60))
                    .await
                    != Ok(Reserved::Held)
                {}
            }
            Way::WithoutLedger => {
                let actions = vec![self.record(order_id), self.take(1)];
                let call = dynamodb
                    .transact_write_items()
                    .set_transact_items(Some(actions));
                call.send().await.expect("held");
            }
            Way::TwoCalls => {
                let put = self.record(order_id).put.expect("a record");
                let call = dynamodb
                    .put_item()
                    .table_name(put.table_name)
                    .set_item(Some(put.item));
                call.condition_expression("attribute_not_exists(reservation_id)")
                    .send()
                    .await
                    .expect("written");
                self.take_alone().await;
            }
            Way::CountersAlone => self.take_alone().await,
            Way::Grouped => {
                let orders: Vec<OrderId> = (0..GROUP).map(|_| OrderId(Uuid::now_v7())).collect();
                let mut actions = vec![self.take(GROUP)];
                for order_id in orders {
                    actions.extend([self.record(order_id), self.entry(order_id)]);
                }
                let call = dynamodb
                    .transact_write_items()
                    .set_transact_items(Some(actions));
                call.send().await.expect("held");
            }
        }
    }

    async fn take_alone(&self) {
        let update = self.take(1).update.expect("an update");
        self.clients
            .dynamodb()
            .update_item()
            .table_name(update.table_name)
            .set_key(Some(update.key))
            .update_expression(update.update_expression)
            .set_condition_expression(update.condition_expression)
            .set_expression_attribute_values(update.expression_attribute_values)
            .send()
            .await
            .expect("taken");
    }

    fn take(&self, units: u32) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.tables.products)
            .key("product_id", text(self.product_id.as_str()))
            .update_expression(
                "SET available = available - :units, reserved = reserved + :units, version = version + :one",
            )
            .condition_expression("available >= :units")
            .expression_attribute_values(":units", AttributeValue::N(units.to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        TransactWriteItem::builder()
            .update(update.build().expect("an update"))
            .build()
    }

    fn record(&self, order_id: OrderId) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.tables.reservations)
            .item("reservation_id", text(&order_id.to_string()))
            .item("state", text("held"))
            .condition_expression("attribute_not_exists(reservation_id)");
        TransactWriteItem::builder()
            .put(put.build().expect("a record"))
            .build()
    }

    fn entry(&self, order_id: OrderId) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.tables.movements)
            .item("product_id", text(self.product_id.as_str()))
            .item(
                "movement_id",
                text(&format!("2026-03-01T08:00:00.000000Z#reserve#{order_id}")),
            );
        TransactWriteItem::builder()
            .put(put.build().expect("an entry"))
            .build()
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}
