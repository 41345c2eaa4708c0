//! Every refused checkout form is returned with the customer's input.

use axum::http::StatusCode;
use contract::dependency::Dependency;
use storefront::SecurityEvent;

use crate::pages::{hidden, open, submit};
use crate::prices::{Checkout, orders};
use crate::{Answer, Client};

/// Checks that the form contains the input and the key.
fn is_kept(answer: &Answer, key: &str) {
    for kept in [
        "value=\"Ana\"",
        "value=\"ana@example.com\"",
        ">oat</textarea>",
        "2 × Espresso",
        "Place order for $6.53",
    ] {
        assert!(answer.text.contains(kept), "{kept}: {}", answer.text);
    }
    assert_eq!(hidden(&answer.text, "idempotency_key"), key);
    assert_eq!(hidden(&answer.text, "expected_total_minor"), "653");
}

#[tokio::test]
async fn the_form_is_kept_during_an_outage_and_places_the_order_afterwards() {
    let client = Client::new().await;
    let mut checkout = Checkout::open(&client).await;
    let key = hidden(&checkout.page, "idempotency_key");
    for down in [Dependency::Database, Dependency::Stock] {
        *client.world.0.down.lock().expect("not poisoned") = vec![down];
        let refused = checkout.submit(&client).await;
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, "7")
        );
        assert!(
            refused.text.contains("Your order is not placed yet"),
            "{}",
            refused.text
        );
        is_kept(&refused, &key);
    }
    client.world.0.down.lock().expect("not poisoned").clear();

    client.world.0.carts.set_away(true);
    let refused = checkout.submit(&client).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    is_kept(&refused, &key);
    let form = checkout.form("payment_token=tok_ok");
    let times = submit(&client, &checkout.cookie, "/checkout/times", &form).await;
    assert_eq!(times.status, StatusCode::SERVICE_UNAVAILABLE);
    is_kept(&times, &key);
    client.world.0.carts.set_away(false);

    // After a panic the result of the request is unknown.
    client.panics(true);
    let failed = checkout.submit(&client).await;
    client.panics(false);
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        failed
            .text
            .contains("Press the button again. Your order is placed only once."),
        "{}",
        failed.text
    );
    assert!(
        !failed.text.contains("Your order is not placed yet"),
        "{}",
        failed.text
    );
    is_kept(&failed, &key);

    client.pending_max(0);
    is_kept(&checkout.submit(&client).await, &key);
    client.pending_max(1_000);
    assert_eq!(orders(&client).await, 0);
    assert_eq!(checkout.submit(&client).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_form_is_kept_at_the_order_limit() {
    let client = Client::set(|settings| settings.orders_per_minute = 60).await;
    let mut checkout = Checkout::open(&client).await;
    let key = hidden(&checkout.page, "idempotency_key");
    // Each request is invalid, and counts against the limit.
    while checkout
        .submit_with(&client, "payment_token=x")
        .await
        .status
        == StatusCode::UNPROCESSABLE_ENTITY
    {}
    let refused = checkout.submit(&client).await;
    assert_eq!(
        refused.status,
        StatusCode::TOO_MANY_REQUESTS,
        "{}",
        refused.text
    );
    assert!(!refused.header("retry-after").is_empty());
    is_kept(&refused, &key);
    assert!(
        client
            .world
            .0
            .security
            .lock()
            .expect("not poisoned")
            .contains(&SecurityEvent::OverLimit)
    );
    // A program gets a problem document and not the form.
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", checkout.cookie.as_str()),
    ];
    let problem = client
        .send(
            "POST",
            "/checkout",
            &headers,
            checkout.form("payment_token=tok_ok"),
        )
        .await;
    assert_eq!(problem.json()["status"], 429);
}

/// Error messages use the names of the form and of the menu.
#[tokio::test]
async fn errors_of_an_order_are_plain_sentences() {
    let client = Client::new().await;
    let mut checkout = Checkout::open(&client).await;
    let wrong = checkout.submit_with(&client, "payment_token=4711").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.text.contains("Choose a payment method.") && !wrong.text.contains("tok_ok; never"),
        "{}",
        wrong.text
    );
    let form = checkout
        .form("payment_token=tok_ok")
        .replace("order_type=pickup", "order_type=drone");
    let wrong = submit(&client, &checkout.cookie, "/checkout", &form).await;
    assert!(
        wrong.text.contains("Choose pickup, eat in or delivery.")
            && !wrong.text.contains("dine_in, "),
        "{}",
        wrong.text
    );

    submit(
        &client,
        &checkout.cookie,
        "/cart/items",
        "product_id=flat-white&quantity=1",
    )
    .await;
    checkout.page = open(&client, &checkout.cookie, "/checkout").await.text;
    client
        .world
        .0
        .stock
        .remove_product(&domain::ids::ProductId::parse("flat-white").expect("a slug"));
    let restock = serde_json::json!({ "quantity": 1, "reason": "so that the menu is read again" });
    client
        .as_staff(
            "POST",
            "/api/v1/admin/inventory/espresso/restock",
            &[],
            Some(&restock),
        )
        .await;
    let gone = checkout.submit(&client).await;
    assert_eq!(
        gone.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        gone.text
    );
    assert!(
        gone.text
            .contains("Flat white is no longer on the menu. Please remove it from your cart."),
        "{}",
        gone.text
    );
    assert!(
        !gone.text.contains("there is no product") && !gone.text.contains("items["),
        "{}",
        gone.text
    );
    let gone = submit(
        &client,
        &checkout.cookie,
        "/cart/items",
        "product_id=flat-white&quantity=1",
    )
    .await;
    assert!(
        gone.text.contains("Flat white is no longer on the menu."),
        "{}",
        gone.text
    );
    assert!(!gone.text.contains("product_id"), "{}", gone.text);
    let many = submit(
        &client,
        &checkout.cookie,
        "/cart/items",
        "product_id=espresso&quantity=many",
    )
    .await;
    assert!(
        many.text.contains("Choose a whole number from 1 to 99.")
            && !many.text.contains("quantity"),
        "{}",
        many.text
    );
}
