//! Access to an order: its owner's session, holders of its tracking token, and staff. Everybody
//! else gets the response for an order that does not exist.

use axum::http::StatusCode;
use domain::access::StaffRole;
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::{Client, NOON, an_espresso, token};

/// Returns the requests that read, follow and cancel an order, through the API and the pages.
fn ways(id: &str) -> [(&'static str, String); 6] {
    [
        ("GET", format!("/api/v1/orders/{id}")),
        ("GET", format!("/api/v1/orders/{id}/events")),
        ("POST", format!("/api/v1/orders/{id}/cancel")),
        ("GET", format!("/orders/{id}")),
        ("GET", format!("/orders/{id}/fragment")),
        ("POST", format!("/orders/{id}/cancel")),
    ]
}

/// Removes the parts of a response that differ between requests.
fn seen(mut problem: Value) -> Value {
    problem["request_id"] = json!("");
    problem
}

#[tokio::test]
async fn a_stranger_gets_the_response_for_an_unknown_id() {
    let client = Client::new().await;
    let line = json!({ "product_id": "flat-white", "quantity": 1 });
    let stranger = client
        .json("POST", "/api/v1/cart/items", &[], &line)
        .await
        .cookie();
    let order = client.accepted().await;
    let (id, good) = (
        order["order_id"].as_str().expect("an id"),
        order["tracking_token"].as_str().expect("a token"),
    );
    let unknown = Uuid::now_v7().to_string();
    let another = client.accepted().await;
    let wrong_token = another["tracking_token"].as_str().expect("a token");
    for ((method, path), (_, nowhere)) in ways(id).into_iter().zip(ways(&unknown)) {
        let reference = client.send(method, &nowhere, &[], "").await;
        assert_eq!(
            reference.status,
            StatusCode::NOT_FOUND,
            "{method} {nowhere}"
        );
        for (query, headers) in [
            (String::new(), vec![]),
            (String::new(), vec![("cookie", stranger.as_str())]),
            (format!("?token={wrong_token}"), vec![]),
            ("?token=".to_owned(), vec![]),
            (format!("?token={}", &good[..good.len() - 1]), vec![]),
        ] {
            let answer = client
                .send(method, &format!("{path}{query}"), &headers, "")
                .await;
            assert_eq!(
                answer.status,
                StatusCode::NOT_FOUND,
                "{method} {path}{query}"
            );
            assert_eq!(
                seen(answer.json()),
                seen(reference.json()),
                "{method} {path}{query}"
            );
        }
    }
    let order = client
        .get(&format!("/api/v1/orders/{id}?token={good}"), &[])
        .await;
    assert_eq!(
        order.json()["status"],
        "pending",
        "the order is not cancelled"
    );
}

#[tokio::test]
async fn owner_token_holder_and_staff_see_the_order() {
    let client = Client::new().await;
    let line = json!({ "product_id": "flat-white", "quantity": 1 });
    let owner = client
        .json("POST", "/api/v1/cart/items", &[], &line)
        .await
        .cookie();
    let headers = [("cookie", owner.as_str()), ("idempotency-key", "k-1")];
    let order = client
        .json("POST", "/api/v1/orders", &headers, &an_espresso())
        .await
        .json();
    let path = format!(
        "/api/v1/orders/{}",
        order["order_id"].as_str().expect("an id")
    );
    assert_eq!(
        client.get(&path, &[("cookie", &owner)]).await.status,
        StatusCode::OK
    );
    let with_token = format!(
        "{path}?token={}",
        order["tracking_token"].as_str().expect("a token")
    );
    assert_eq!(client.get(&with_token, &[]).await.status, StatusCode::OK);
    assert_eq!(
        client.as_staff("GET", &path, &[], None).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_idempotency_key_of_another_session_reveals_no_order() {
    let client = Client::new().await;
    let line = json!({ "product_id": "flat-white", "quantity": 1 });
    let owner = client
        .json("POST", "/api/v1/cart/items", &[], &line)
        .await
        .cookie();
    let headers = [("cookie", owner.as_str()), ("idempotency-key", "k-1")];
    client
        .json("POST", "/api/v1/orders", &headers, &an_espresso())
        .await;
    let guessed = client.order("k-1", &an_espresso()).await;
    assert_eq!(guessed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!guessed.text.contains("tracking_token"), "{}", guessed.text);
}

#[tokio::test]
async fn a_staff_token_must_be_signed_unchanged_and_unexpired() {
    let client = Client::new().await;
    let good = token("Ana", NOON + Duration::hours(1));
    let (body, signature) = good.rsplit_once('.').expect("signed");
    let recorded = crate::recorded(StaffRole::Staff, "Ana", NOON + Duration::hours(1));
    let forged = storefront::staff::issue("another key", &recorded);
    let cut = &signature[..signature.len() - 2];
    for wrong in [
        format!("Bearer {}", token("Ana", NOON - Duration::seconds(1))),
        format!("Bearer {forged}"),
        format!("Bearer {body}"),
        format!("Bearer {body}."),
        format!("Bearer {body}.{cut}"),
        "Bearer ".to_owned(),
        format!("Basic {good}"),
    ] {
        let answer = client
            .get("/api/v1/admin/orders", &[("authorization", &wrong)])
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    // RFC 9110, section 11.1: the scheme is case-insensitive.
    for good in [
        format!("Bearer {good}"),
        format!("bearer {good}"),
        format!("BEARER   {good} "),
    ] {
        assert_eq!(
            client
                .get("/api/v1/admin/orders", &[("authorization", &good)])
                .await
                .status,
            StatusCode::OK,
            "{good}"
        );
    }
}
