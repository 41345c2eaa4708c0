//! Limits of a cart: they apply to the sum of the units in the cart and the units to add.

use axum::http::StatusCode;
use serde_json::json;

use crate::Client;
use crate::pages::{open, submit};

async fn add(client: &Client, cookie: &str, product: &str, quantity: u32) -> crate::Answer {
    let line = json!({ "product_id": product, "quantity": quantity });
    client
        .json("POST", "/api/v1/cart/items", &[("cookie", cookie)], &line)
        .await
}

#[tokio::test]
async fn units_in_the_cart_count_when_more_are_added() {
    let client = Client::new().await;
    let cookie = add(&client, "", "espresso", 8).await.cookie();
    let refused = add(&client, &cookie, "espresso", 3).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::CONFLICT, vec!["quantity".to_owned()])
    );
    let problem = refused.json();
    assert_eq!(
        (&problem["left"], &problem["in_cart"]),
        (&json!(10), &json!(8))
    );
    assert_eq!(
        problem["detail"],
        "Only 10 of Espresso left. You already have 8 in your cart."
    );
    let cart = client
        .get("/api/v1/cart", &[("cookie", &cookie)])
        .await
        .json();
    assert_eq!(
        (&cart["units"], &cart["lines"][0]["left"]),
        (&json!(8), &json!(10)),
        "nothing was added: {cart:#}"
    );
    assert_eq!(
        add(&client, &cookie, "espresso", 2).await.status,
        StatusCode::OK,
        "the last two"
    );
}

#[tokio::test]
async fn a_line_has_at_most_ninety_nine_units() {
    let client = Client::new().await;
    let restock = json!({ "quantity": 190, "reason": "delivery" });
    let path = "/api/v1/admin/inventory/espresso/restock";
    assert_eq!(
        client
            .as_staff("POST", path, &[], Some(&restock))
            .await
            .status,
        StatusCode::OK
    );
    let cookie = add(&client, "", "espresso", 98).await.cookie();
    let refused = add(&client, &cookie, "espresso", 2).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["quantity".to_owned()]
        )
    );
    assert!(
        refused
            .text
            .contains("must be at most 1: the cart has 98 of Espresso"),
        "{}",
        refused.text
    );
    assert_eq!(
        add(&client, &cookie, "espresso", 1).await.json()["units"],
        99
    );
}

#[tokio::test]
async fn the_quantity_fields_show_the_available_units() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=8")
        .await
        .cookie();
    let menu = open(&client, &cookie, "/").await.text;
    assert!(
        menu.contains("(8 in your cart)") && menu.contains("max=\"2\""),
        "{menu}"
    );
    let cart = open(&client, &cookie, "/cart").await.text;
    assert!(
        cart.contains("max=\"10\"") && cart.contains("10 left"),
        "{cart}"
    );
    let refused = submit(
        &client,
        &cookie,
        "/cart/items",
        "product_id=espresso&quantity=3",
    )
    .await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(
        refused
            .text
            .contains("Only 10 of Espresso left. You already have 8 in your cart."),
        "{}",
        refused.text
    );
}

/// A response with "try again" would be wrong for a change that may have been made.
#[tokio::test]
async fn a_change_with_a_lost_response_is_reported_as_uncertain() {
    let client = Client::new().await;
    let cookie = add(&client, "", "espresso", 1).await.cookie();
    let json = [
        ("content-type", "application/json"),
        ("cookie", cookie.as_str()),
    ];
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", cookie.as_str()),
    ];
    let changes = [
        ("PUT", "/api/v1/cart/items/espresso", "{\"quantity\":2}"),
        ("DELETE", "/api/v1/cart/items/espresso", ""),
        ("DELETE", "/api/v1/cart", ""),
        ("POST", "/cart/items/espresso", "quantity=2"),
        ("POST", "/cart/items/espresso/remove", ""),
        ("POST", "/cart/clear", ""),
    ];
    for (method, path, body) in changes {
        let headers = if path.starts_with("/api/") {
            &json
        } else {
            &form
        };
        client.world.0.carts.set_away(true);
        let lost = client.send(method, path, headers, body).await;
        client.world.0.carts.set_away(false);
        assert_eq!(
            lost.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{method} {path}: {}",
            lost.text
        );
        assert_eq!(
            lost.json()["type"],
            "https://brewhaven.example/problems/uncertain",
            "{method} {path}"
        );
        client.panics(true);
        let broken = client.send(method, path, headers, body).await;
        client.panics(false);
        assert_eq!(
            broken.status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{method} {path}"
        );
        for answer in [lost, broken] {
            assert!(
                !answer.text.to_lowercase().contains("try again"),
                "{method} {path}: {}",
                answer.text
            );
        }
    }
}
