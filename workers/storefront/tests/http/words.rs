//! Texts for customers: no codes, no notes of staff, and no refund of a charge that was never made.

use app::ports::orders::{Change, OrderStore as _};
use axum::http::StatusCode;
use domain::ids::OrderId;
use domain::order::{Order, OrderType};
use domain::saga::State;
use serde_json::{Value, json};

use crate::pages::{check_out, open, submit};
use crate::{Client, NOON, an_espresso, token};

/// Returns the URL of an order's page in the format of older links, with the token in the query.
pub fn page_path(receipt: &Value) -> String {
    let text = |name: &str| receipt[name].as_str().expect("text");
    format!(
        "/orders/{}?token={}",
        text("order_id"),
        text("tracking_token")
    )
}

/// Returns the page of an order that has reached a state for a reason.
async fn page_of(
    client: &Client,
    order_type: OrderType,
    state: State,
    reason: Option<&str>,
) -> String {
    let mut new = app::laws::orders::new_order();
    new.order.order_type = order_type;
    let orders = &client.world.0.orders;
    orders
        .place(std::slice::from_ref(&new))
        .await
        .pop()
        .expect("an answer")
        .expect("placed");
    let mut step: Change = app::laws::orders::step(&new, 1, state);
    if let Some(order) = &mut step.order {
        order.reason = reason.map(str::to_owned);
        order.history[0].note = reason.map(str::to_owned);
    }
    orders
        .apply(&[step])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
    // A link in the older format, with its token in the query.
    let path = format!(
        "/orders/{}?token={}",
        new.order.order_id, new.tracking_token
    );
    let page = open(client, "", &path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    page.text
}

#[tokio::test]
async fn the_page_of_a_failed_order_shows_the_reason_and_the_charge() {
    let client = Client::new().await;
    let failed = page_of(
        &client,
        OrderType::Pickup,
        State::Failed,
        Some("payment declined: insufficient_funds"),
    )
    .await;
    assert!(
        failed.contains("Your card does not have enough funds for this order."),
        "{failed}"
    );
    assert!(failed.contains("Your card was not charged."), "{failed}");
    assert!(
        !failed.contains("insufficient_funds") && !failed.contains("refund"),
        "{failed}"
    );

    let note = "cancelled by staff: he shouted at Ben again";
    let cancelled = page_of(&client, OrderType::Pickup, State::Cancelled, Some(note)).await;
    assert!(
        cancelled.contains("The shop had to cancel it."),
        "{cancelled}"
    );
    assert!(
        !cancelled.contains("shouted") && !cancelled.contains("Ana</"),
        "{cancelled}"
    );
}

/// Notes of staff are hidden from customers on the pages, in the API and in the events.
#[tokio::test]
async fn notes_of_staff_are_hidden_from_customers() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let id = receipt["order_id"].as_str().expect("an id");
    let step = json!({ "status": "cancelled", "note": "he shouted at Ben" });
    let path = format!("/api/v1/admin/orders/{id}/status");
    let moved = client
        .as_staff("PUT", &path, &[("if-match", "1")], Some(&step))
        .await;
    assert_eq!(moved.status, StatusCode::OK, "{}", moved.text);
    let staff = client
        .as_staff("GET", &format!("/api/v1/orders/{id}"), &[], None)
        .await
        .json();
    assert_eq!(staff["history"][1]["note"], "he shouted at Ben");
    assert_eq!(staff["reason"], "cancelled by staff: he shouted at Ben");
    let own = client
        .get(&format!("/api/v1{}", page_path(&receipt)), &[])
        .await
        .json();
    assert_eq!(
        (&own["history"][1]["note"], &own["reason"]),
        (&Value::Null, &json!("cancelled by staff"))
    );
    let page = open(&client, "", &page_path(&receipt)).await.text;
    assert!(
        page.contains("Preparing") && !page.contains("shouted"),
        "{page}"
    );
}

#[tokio::test]
async fn an_order_that_was_not_picked_up_has_its_own_text() {
    let client = Client::new().await;
    let collected = page_of(&client, OrderType::Pickup, State::Completed, None).await;
    assert!(collected.contains("Enjoy!"), "{collected}");
    let left = page_of(
        &client,
        OrderType::Pickup,
        State::Completed,
        Some("not collected"),
    )
    .await;
    assert!(
        !left.contains("Enjoy!") && left.contains("Your order was not picked up."),
        "{left}"
    );
}

#[tokio::test]
async fn a_delivery_is_on_its_way_only_after_the_handover() {
    let client = Client::new().await;
    for state in [State::Confirmed, State::Preparing, State::Ready] {
        let page = page_of(&client, OrderType::Delivery, state, None).await;
        assert!(
            !page.contains("on its way to you") && !page.contains("counter"),
            "{state:?}: {page}"
        );
    }
    let left = page_of(&client, OrderType::Delivery, State::Completed, None).await;
    assert!(
        left.contains("Your order is on its way to you.") && !left.contains("Enjoy!"),
        "{left}"
    );
}

fn a_delivery(address: Option<Value>) -> Value {
    let mut order = an_espresso();
    order["order_type"] = json!("delivery");
    if let Some(address) = address {
        order["delivery_address"] = address;
    }
    order
}

fn home() -> Value {
    json!({ "line1": " 12 Main Street ", "city": "New York", "postal_code": "10001", "note": "Ring twice" })
}

#[tokio::test]
async fn a_delivery_without_an_address_is_accepted_with_a_warning_for_now() {
    let client = Client::new().await;
    let accepted = client.order("k-1", &a_delivery(None)).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text);
    assert_eq!(accepted.json()["warnings"][0]["field"], "delivery_address");
    assert!(
        accepted
            .header("warning")
            .starts_with("299 - \"delivery_address is required"),
        "{:?}",
        accepted.headers
    );
    assert_eq!(
        client.order("k-1", &a_delivery(None)).await.text,
        accepted.text,
        "a repeat gives the same answer"
    );
    let with_address = client.order("k-2", &a_delivery(Some(home()))).await;
    assert_eq!(
        (
            with_address.json().get("warnings"),
            with_address.header("warning"),
        ),
        (None, "")
    );
    let pickup = client.order("k-3", &an_espresso()).await;
    assert_eq!(
        (pickup.json().get("warnings"), pickup.header("warning")),
        (None, "")
    );
}

#[tokio::test]
async fn an_address_is_validated_stored_and_in_no_event() {
    let client = Client::new().await;
    let receipt = client.order("k-1", &a_delivery(Some(home()))).await.json();
    let order = client
        .get(&format!("/api/v1{}", page_path(&receipt)), &[])
        .await
        .json();
    let kept = json!({ "line1": "12 Main Street", "city": "New York", "postal_code": "10001", "note": "Ring twice" });
    assert_eq!(order["delivery_address"], kept);
    let id: OrderId = receipt["order_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    for envelope in client
        .world
        .0
        .orders
        .owed()
        .iter()
        .filter(|envelope| envelope.order_id == Some(id))
    {
        assert!(
            !envelope.encode().contains("Main Street"),
            "{}",
            envelope.encode()
        );
    }
    let mut elsewhere = home();
    elsewhere["line1"] = json!("13 Main Street");
    assert_eq!(
        client
            .order("k-1", &a_delivery(Some(elsewhere)))
            .await
            .fields(),
        ["Idempotency-Key"]
    );

    for (address, fields) in [
        (json!({}), vec!["line1", "city", "postal_code"]),
        (
            json!({ "line1": "x", "city": "y", "postal_code": "!", "planet": "z" }),
            vec!["planet", "postal_code"],
        ),
        (
            json!({ "line1": 1, "city": "y", "postal_code": "10001" }),
            vec!["line1", "line1"],
        ),
    ] {
        let expected: Vec<_> = fields
            .iter()
            .map(|field| format!("delivery_address.{field}"))
            .collect();
        assert_eq!(
            client
                .order("k-2", &a_delivery(Some(address)))
                .await
                .fields(),
            expected
        );
    }
    assert_eq!(
        client
            .order("k-2", &a_delivery(Some(json!("home"))))
            .await
            .fields(),
        ["delivery_address"]
    );
    let mut pickup = an_espresso();
    pickup["delivery_address"] = home();
    assert_eq!(
        client.order("k-2", &pickup).await.fields(),
        ["delivery_address"]
    );
}

#[tokio::test]
async fn the_form_has_a_delivery_address_and_the_staff_board_shows_it() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let form = |address: &str| {
        format!(
            "name=Ana&phone=%2B15550100123&email=ana%40example.com&order_type=delivery&payment_token=tok_ok\
             &idempotency_key=k-1{address}"
        )
    };
    let refused = check_out(&client, &cookie, &form("&address_city=New+York")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    for text in [
        "id=\"e-address_line1\"",
        "id=\"e-address_postal_code\"",
        "value=\"New York\"",
        "Street and number is required",
    ] {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    let full = "&address_line1=12+Main+Street&address_city=New+York&address_postal_code=10001&address_note=Ring+twice";
    let placed = check_out(&client, &cookie, &form(full)).await;
    assert_eq!(placed.status, StatusCode::SEE_OTHER, "{}", placed.text);
    let page = open(&client, &placed.cookie(), placed.header("location"))
        .await
        .text;
    assert!(
        page.contains("Delivery to 12 Main Street, New York 10001: as soon as it is ready."),
        "{page}"
    );

    crate::times::confirmed(&client, |order: &mut Order| {
        order.order_type = OrderType::Delivery
    })
    .await;
    let staff = format!("staff={}", token("Ana", NOON + time::Duration::hours(1)));
    let board = open(&client, &staff, "/staff").await.text;
    assert!(
        board.contains("12 Main Street") && board.contains("(ring twice)"),
        "{board}"
    );
}
