use std::collections::BTreeSet;
use std::time::Instant;

use adapter_aws::{Clients, DynamoShopStock, DynamoStock, LocalAccess, ReadTable};
use app::laws;
use app::ports::ledger::{HoldState, Ledger as _};
use app::ports::stock::{
    Adjusted, Adjustment, AdjustmentKind, Confirmed, Reservations as _, Reserved, Stock,
};
use aws_sdk_dynamodb::types::AttributeValue;
use contract::cause::chain;
use domain::Timestamp;
use domain::ids::{OrderId, ProductId};
use time::Duration;
use uuid::Uuid;

use super::lossy::Lossy;

const NOW: Timestamp = time::macros::datetime!(2026-03-01 08:00 UTC);

#[tokio::test]
async fn the_adapter_passes_the_laws_of_stock() {
    let aws = servers::local_aws().await;
    let (stock, ..) = super::stock(&super::clients(&aws.access)).await;
    laws::stock::all(&stock).await;
}

#[tokio::test]
async fn a_race_for_a_hundred_units_sells_a_hundred() {
    let aws = servers::local_aws().await;
    let (stock, ..) = super::stock(&super::clients(&aws.access)).await;
    for _ in 0..3 {
        let begun = Instant::now();
        let race = laws::stock::race(&stock).await;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{race:?}: {seconds:.2} s, {:.0} transactions/s",
            race.calls as f64 / seconds
        );
    }
}

/// Returns the same tables through a proxy, and one product.
async fn behind_a_proxy(access: &LocalAccess, units: u32) -> (Lossy, DynamoStock, ProductId) {
    let (direct, names, _) = super::stock(&super::clients(access)).await;
    let lossy = Lossy::before(access).await;
    let stock = names.stock(&super::clients(&lossy.access));
    let product = laws::stock::product("lost");
    assert!(
        direct
            .add_product(&product, units, 0, NOW)
            .await
            .expect("added")
    );
    (lossy, stock, product.product_id)
}

const TRANSACTION: &str = "TransactWriteItems";

#[tokio::test]
async fn a_lost_response_loses_no_unit() {
    let aws = servers::local_aws().await;
    let (lossy, stock, id) = behind_a_proxy(&aws.access, 3).await;
    let lines = laws::stock::lines(&[(&id, 1)]);
    let units = async || {
        let counters = stock
            .product(&id)
            .await
            .expect("read")
            .expect("there")
            .counters;
        (counters.available, counters.reserved, counters.sold)
    };
    // One lost answer: the SDK retries.
    let order = OrderId(Uuid::now_v7());
    lossy.lose(TRANSACTION, 1);
    assert_eq!(
        stock
            .reserve(order, &lines, NOW, NOW + Duration::MINUTE)
            .await,
        Ok(Reserved::Held)
    );
    assert_eq!(units().await, (2, 1, 0));
    // All answers are lost: the message is delivered again, long after DynamoDB has forgotten the
    // call.
    for held in [(1, 2, 0), (0, 3, 0)] {
        let order = OrderId(Uuid::now_v7());
        lossy.lose(TRANSACTION, 3);
        assert!(
            stock
                .reserve(order, &lines, NOW, NOW + Duration::MINUTE)
                .await
                .is_err()
        );
        assert_eq!(
            stock
                .reserve(order, &lines, NOW, NOW + Duration::MINUTE)
                .await,
            Ok(Reserved::Held)
        );
        assert_eq!(units().await, held, "the last one too");
    }
    lossy.lose(TRANSACTION, 3);
    assert!(stock.confirm(order, NOW).await.is_err());
    assert_eq!(stock.confirm(order, NOW).await, Ok(Confirmed::Sold));
    assert_eq!(units().await, (0, 2, 1));
    lossy.lose(TRANSACTION, 3);
    assert!(stock.release(order, NOW).await.is_err());
    assert_eq!(stock.release(order, NOW).await, Ok(()));
    assert_eq!(units().await, (1, 2, 0));
}

#[tokio::test]
async fn items_have_the_attributes_of_the_public_contract() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (stock, tables, _) = super::stock(&clients).await;
    let product = laws::stock::product("item");
    stock.add_product(&product, 5, 2, NOW).await.expect("added");
    let item = item(
        &clients,
        &tables.products,
        "product_id",
        product.product_id.as_str(),
    )
    .await;
    let names: BTreeSet<&str> = item.keys().map(String::as_str).collect();
    let documented = "product_id name description price_minor currency type image_url available reserved sold \
        written_off received low_stock_threshold last_restocked version created_at updated_at";
    assert_eq!(names, documented.split_whitespace().collect());
    assert_eq!(item["price_minor"], AttributeValue::N("350".to_owned()));

    let order = OrderId(Uuid::now_v7());
    let lines = laws::stock::lines(&[(&product.product_id, 2)]);
    stock
        .reserve(order, &lines, NOW, NOW + Duration::MINUTE)
        .await
        .expect("held");
    let reservation = async |tables: &super::StockNames| {
        self::item(
            &clients,
            &tables.reservations,
            "reservation_id",
            &order.to_string(),
        )
        .await
    };
    let held = reservation(&tables).await;
    assert_eq!(held["state"], AttributeValue::S("held".to_owned()));
    assert_eq!(
        held["expires_at"],
        AttributeValue::S("2026-03-01T08:01:00.000000Z".to_owned())
    );
    let entry = item_of(
        &clients,
        &tables.movements,
        &[
            ("product_id", product.product_id.as_str()),
            (
                "movement_id",
                &format!("2026-03-01T08:00:00.000000Z#reserve#{order}"),
            ),
        ],
    )
    .await;
    let names: BTreeSet<&str> = entry.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        "product_id movement_id kind units reference actor at"
            .split_whitespace()
            .collect()
    );
    assert_eq!(
        (&entry["units"], &entry["actor"]),
        (
            &AttributeValue::N("2".to_owned()),
            &AttributeValue::S("test".to_owned())
        )
    );
    assert!(
        held.contains_key("lines")
            && held.contains_key("held_shard")
            && !held.contains_key("forget_at")
    );
    stock.confirm(order, NOW).await.expect("sold");
    let sold = reservation(&tables).await;
    assert_eq!(sold["state"], AttributeValue::S("confirmed".to_owned()));
    assert!(
        !sold.contains_key("held_shard"),
        "out of the index of holds"
    );
    let forget_at = (NOW + Duration::days(30)).unix_timestamp();
    assert_eq!(sold["forget_at"], AttributeValue::N(forget_at.to_string()));
}

#[tokio::test]
async fn a_manual_change_of_the_table_does_not_stop_the_shop() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (stock, tables, _) = super::stock(&clients).await;
    let product = laws::stock::product("sound");
    stock.add_product(&product, 5, 2, NOW).await.expect("added");
    let broken = AttributeValue::S("broken".to_owned());
    let put = clients
        .dynamodb()
        .put_item()
        .table_name(&tables.products)
        .item("product_id", broken);
    put.send().await.expect("put");
    let products = stock.products().await.expect("listed");
    assert_eq!(products.len(), 1, "what can be read is sold");

    // A hostile name from a supplier's list: it reverses text, moves a terminal's cursor and adds a
    // mail header.
    let name = domain::menu::Product {
        name: "Lat\u{202e}te\r\nBcc: x".to_owned(),
        ..laws::stock::product("hostile")
    };
    stock.add_product(&name, 5, 2, NOW).await.expect("added");
    let unseen = domain::menu::Product {
        name: "\u{202e}\u{200b}".to_owned(),
        ..laws::stock::product("unseen")
    };
    stock.add_product(&unseen, 5, 2, NOW).await.expect("added");
    let shown = stock
        .product(&name.product_id)
        .await
        .expect("read")
        .expect("there")
        .product;
    assert_eq!(shown.name, "Latte Bcc: x");
    assert_eq!(
        stock.products().await.expect("listed").len(),
        2,
        "what nobody can see is not sold"
    );

    // Counters below a reservation: the adapter does not retry forever, and names the product.
    let order = OrderId(Uuid::now_v7());
    let lines = laws::stock::lines(&[(&product.product_id, 2)]);
    stock
        .reserve(order, &lines, NOW, NOW + Duration::MINUTE)
        .await
        .expect("held");
    let set = clients
        .dynamodb()
        .update_item()
        .table_name(&tables.products);
    set.key(
        "product_id",
        AttributeValue::S(product.product_id.to_string()),
    )
    .update_expression("SET reserved = :one")
    .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
    .send()
    .await
    .expect("set");
    let refused = stock
        .confirm(order, NOW)
        .await
        .expect_err("two cannot be sold of one");
    assert!(
        chain(&refused).contains(product.product_id.as_str()),
        "{refused:?}"
    );
}

/// The storefront has this stock, and may read but not write the reservations.
#[tokio::test]
async fn stock_with_reservations_that_can_only_be_read_is_adjusted_and_read() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (stock, names, _) = super::stock(&clients).await;
    let tables = names.tables(ReadTable::named(&names.reservations));
    let shop: DynamoShopStock = DynamoStock::new(&clients, tables, "test");
    let product = laws::stock::product("adjusted");
    assert!(stock.add_product(&product, 5, 0, NOW).await.expect("added"));
    let order = OrderId(Uuid::now_v7());
    let lines = laws::stock::lines(&[(&product.product_id, 2)]);
    stock
        .reserve(order, &lines, NOW, NOW + Duration::MINUTE)
        .await
        .expect("held");

    let adjustment = Adjustment {
        movement_id: "a-delivery".to_owned(),
        product_id: product.product_id.clone(),
        change: AdjustmentKind::Restock(1),
        actor: "ada".to_owned(),
        reason: "delivered".to_owned(),
        at: NOW + Duration::HOUR,
    };
    // Called through the trait, because `Stock` has methods of the same name.
    let after = match app::ports::stock::Adjustments::adjust(&shop, &adjustment)
        .await
        .expect("an answer")
    {
        Adjusted::Now(after) => after,
        other => panic!("{other:?}"),
    };
    assert_eq!((after.counters.available, after.counters.reserved), (4, 2));
    let read = app::ports::stock::Catalogue::product(&shop, &product.product_id).await;
    assert_eq!(read, Ok(Some(after)));
    let held = shop.reservation(order).await.expect("read").expect("there");
    assert_eq!(held.state, HoldState::Held);
    let entries = shop
        .entries(&product.product_id, None, 10)
        .await
        .expect("read");
    assert_eq!(
        entries.len(),
        3,
        "the first units, the hold and the delivery: {entries:?}"
    );
}

async fn item(
    clients: &Clients,
    table: &str,
    key: &str,
    value: &str,
) -> std::collections::HashMap<String, AttributeValue> {
    item_of(clients, table, &[(key, value)]).await
}

async fn item_of(
    clients: &Clients,
    table: &str,
    key: &[(&str, &str)],
) -> std::collections::HashMap<String, AttributeValue> {
    let mut call = clients
        .dynamodb()
        .get_item()
        .table_name(table)
        .consistent_read(true);
    for (name, value) in key {
        call = call.key(*name, AttributeValue::S((*value).to_owned()));
    }
    call.send().await.expect("read").item.expect("there")
}
