//! A table or a database that never answers. Pages are shown from their last copy within a second,
//! and an uncertain write is reported as uncertain. The tests run with paused time.

use std::time::Duration;

use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::scope::Scope;
use app::ports::stock::Stock as _;
use axum::http::StatusCode;
use domain::ids::ProductId;
use serde_json::json;
use tokio::time::Instant;

use crate::pages::{hidden, open, submit};
use crate::{Answer, Client, NOON, an_espresso, token};

const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until every copy is out of date.
async fn later() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

async fn timed(answer: impl Future<Output = Answer>) -> (Answer, Duration) {
    let begun = Instant::now();
    let answer = answer.await;
    (answer, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_menu_that_was_read_once_is_shown_within_a_second() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    for path in ["/", "/cart", "/checkout"] {
        assert_eq!(
            open(&client, &cookie, path).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    client.world.0.stock.set_silent(true);
    client.world.0.orders.set_silent(true);
    for path in [
        "/",
        "/cart",
        "/checkout",
        "/api/v1/menu",
        "/api/v1/menu/espresso",
        "/api/v1/pickup-slots",
        "/",
    ] {
        later().await;
        let (answer, waited) = timed(open(&client, &cookie, path)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        assert!(waited < PATIENCE, "{path} took {waited:?}");
        match path {
            "/" => assert!(
                answer.text.contains("availability are as of"),
                "{}",
                answer.text
            ),
            "/api/v1/menu" | "/api/v1/menu/espresso" | "/api/v1/pickup-slots" => {
                assert_eq!(answer.json()["as_of"], "2026-03-01T12:00:00Z", "{path}");
            }
            _ => {}
        }
    }
    // After the dependency answers again, the page shows no age.
    client.world.0.stock.set_silent(false);
    client.world.0.orders.set_silent(false);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(
        client.get("/api/v1/menu", &[]).await.json().get("as_of"),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn all_visitors_see_the_last_menu_while_the_table_hangs() {
    let client = Client::new().await;
    open(&client, "", "/").await;
    client.world.0.stock.set_silent(true);
    later().await;
    let visits = futures::future::join_all((0..50).map(|_| timed(open(&client, "", "/")))).await;
    for (answer, waited) in visits {
        assert_eq!(answer.status, StatusCode::OK);
        assert!(waited < PATIENCE, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_restock_is_reported_and_counts_once() {
    let client = Client::new().await;
    let staff = format!("staff={}", token("Ana", NOON + time::Duration::hours(1)));
    let page = open(&client, &staff, "/staff/stock").await.text;
    client.world.0.stock.set_silent(true);
    let form = |id: &str| format!("units=5&reason=delivery&movement_id={id}");
    let path = "/staff/stock/espresso/restock";
    let unsure = submit(&client, &staff, path, &form(&hidden(&page, "movement_id"))).await;
    assert_eq!(unsure.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        unsure
            .text
            .contains("We do not know yet whether this change was saved"),
        "{}",
        unsure.text
    );
    assert!(!unsure.text.contains("try again"), "{}", unsure.text);
    assert_eq!(
        hidden(&unsure.text, "movement_id"),
        hidden(&page, "movement_id")
    );
    client.world.0.stock.set_silent(false);
    let done = submit(
        &client,
        &staff,
        path,
        &form(&hidden(&unsure.text, "movement_id")),
    )
    .await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let espresso = ProductId::parse("espresso").expect("a slug");
    let stocked = client
        .world
        .0
        .stock
        .product(&espresso)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(stocked.counters.available, 15, "once");
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_movement_id_receives_one_for_the_repeat() {
    let client = Client::new().await;
    client.world.0.stock.set_silent(true);
    let path = "/api/v1/admin/inventory/espresso/write-off";
    let mut change = json!({ "quantity": 2, "reason": "spilt" });
    let unsure = client.as_staff("POST", path, &[], Some(&change)).await;
    assert_eq!(unsure.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        unsure.json()["type"],
        "https://brewhaven.example/problems/uncertain"
    );
    client.world.0.stock.set_silent(false);
    change["movement_id"] = unsure.json()["movement_id"].clone();
    let done = client.as_staff("POST", path, &[], Some(&change)).await;
    assert_eq!(
        (done.status, done.json()["available"].as_i64()),
        (StatusCode::OK, Some(8)),
        "once"
    );
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_order_is_reported_and_placed_once() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let page = open(&client, &cookie, "/checkout").await.text;
    client.world.0.orders.set_silent(true);
    let form = |page: &str| {
        let mut form =
            "name=Ana&phone=%2B15550100123&email=ana%40example.com&order_type=pickup&payment_token=tok_ok".to_owned();
        for name in [
            "idempotency_key",
            "expected_total_minor",
            "cart_version",
            "shown_lines",
        ] {
            form.push_str(&format!("&{name}={}", hidden(page, name)));
        }
        form
    };
    let unsure = submit(&client, &cookie, "/checkout", &form(&page)).await;
    assert_eq!(unsure.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        unsure
            .text
            .contains("Press the button again. Your order is placed only once."),
        "{}",
        unsure.text
    );
    assert!(
        unsure.text.contains("value=\"ana@example.com\""),
        "the input is kept"
    );

    let by_api = client.order("k-1", &an_espresso()).await;
    assert_eq!(by_api.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        by_api.json()["type"],
        "https://brewhaven.example/problems/uncertain"
    );

    client.world.0.orders.set_silent(false);
    let placed = submit(&client, &cookie, "/checkout", &form(&unsure.text)).await;
    assert_eq!(placed.status, StatusCode::SEE_OTHER, "{}", placed.text);
    assert_eq!(
        client.order("k-1", &an_espresso()).await.status,
        StatusCode::ACCEPTED
    );
    let filter = OrderFilter {
        limit: 10,
        ..OrderFilter::default()
    };
    assert_eq!(
        client
            .world
            .0
            .orders
            .list(&Scope::Everything, &filter)
            .await
            .expect("listed")
            .len(),
        2,
        "each once"
    );
}

#[tokio::test(start_paused = true)]
async fn orders_and_timelines_are_shown_while_the_tables_hang() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let headers = [("cookie", cookie.as_str()), ("idempotency-key", "mine")];
    let placed = client
        .json("POST", "/api/v1/orders", &headers, &an_espresso())
        .await
        .json();
    let id = placed["order_id"].as_str().expect("an id");
    client.world.0.views.set_silent(true);
    client.world.0.stock.set_silent(true);
    let (list, waited) = timed(client.get("/api/v1/orders", &[("cookie", &cookie)])).await;
    assert_eq!(
        (list.status, &list.json()["source"]),
        (StatusCode::OK, &json!("orders"))
    );
    assert_eq!(list.json()["orders"][0]["order_id"], id);
    assert!(waited < PATIENCE, "{waited:?}");
    for path in [
        format!("/staff/orders/{id}"),
        format!("/api/v1/orders/{id}/journey"),
    ] {
        let (shown, waited) = timed(client.as_staff("GET", &path, &[], None)).await;
        assert_eq!(shown.status, StatusCode::OK, "{path}: {}", shown.text);
        assert!(
            shown.text.contains("the stock hold cannot be read now")
                && shown.text.contains("accepted"),
            "{path}: {}",
            shown.text
        );
        assert!(waited < PATIENCE, "{path} took {waited:?}");
    }
}
