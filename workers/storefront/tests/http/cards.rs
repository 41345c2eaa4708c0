//! A card number is refused in every text field, and never stored.

use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::stock::Stock as _;
use axum::http::StatusCode;
use domain::ids::ProductId;
use serde_json::{Value, json};

use crate::staff::confirmed;
use crate::{Client, an_espresso};

const CARDS: [&str; 3] = ["4111 1111 1111 1111", "378282246310005", "4222-2222-22222"];

/// Collects the JSON pointers of every free text in a schema of the document.
fn texts(document: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(named) => document.pointer(&named[1..]).expect("a schema"),
        None => schema,
    };
    if schema["type"] == "string" && schema.get("format").is_none() {
        found.push(at.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        texts(document, property, &format!("{at}/{name}"), found);
    }
}

#[tokio::test]
async fn every_text_of_an_order_but_the_phone_number_refuses_a_card_number() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    let mut pointers = Vec::new();
    let order = &document["components"]["schemas"]["NewOrder"];
    texts(&document, order, "", &mut pointers);
    // Refused anyway, as an unknown location.
    pointers.retain(|pointer| pointer != "/location_id");
    for needed in [
        "/customer/name",
        "/customer/email",
        "/special_instructions",
        "/payment_token",
    ] {
        assert!(
            pointers.iter().any(|pointer| pointer == needed),
            "{needed} is not in the schema: {pointers:?}"
        );
    }
    for pointer in &pointers {
        for card in CARDS {
            let mut order = an_espresso();
            if pointer.starts_with("/delivery_address/") {
                order["delivery_address"] =
                    json!({ "line1": "1 Main St", "city": "New York", "postal_code": "10001" });
            }
            let value = match pointer.as_str() {
                "/payment_token" => format!("tok_{}", card.replace([' ', '-'], "")),
                "/customer/email" => format!("{}@example.com", card.replace(' ', "-")),
                _ => format!("it is {card}, thanks"),
            };
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            order.pointer_mut(parent).expect("an object")[name] = json!(value);
            let answer = client.order(&format!("{pointer} {card}"), &order).await;
            if pointer == "/customer/phone" {
                continue;
            }
            assert_eq!(
                answer.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{pointer}: {}",
                answer.text
            );
            assert_eq!(answer.fields(), [pointer[1..].replace('/', ".")]);
            assert!(!answer.text.contains(&value), "{pointer}: {}", answer.text);
        }
    }
    // Thirteen digits that pass the Luhn check by chance are accepted as a phone number.
    let mut order = an_espresso();
    order["customer"]["phone"] = json!("+4915123456787");
    assert_eq!(
        client.order("phone", &order).await.status,
        StatusCode::ACCEPTED
    );
    let stored = client
        .world
        .0
        .orders
        .list(
            &app::ports::scope::Scope::Everything,
            &OrderFilter {
                limit: 100,
                ..OrderFilter::default()
            },
        )
        .await
        .expect("read");
    assert_eq!(stored.len(), 1, "a card number was stored");
}

#[tokio::test]
async fn texts_of_staff_refuse_a_card_number() {
    let client = Client::new().await;
    let order = confirmed(&client).await;
    for card in CARDS {
        let text = format!("paid with {card}");
        for (path, body, field) in [
            (
                "restock",
                json!({ "quantity": 1, "reason": text }),
                "reason",
            ),
            ("adjust", json!({ "change": 1, "reason": text }), "reason"),
            (
                "write-off",
                json!({ "quantity": 1, "reason": text }),
                "reason",
            ),
            (
                "restock",
                json!({ "quantity": 1, "reason": "delivery", "movement_id": text }),
                "movement_id",
            ),
        ] {
            let path = format!("/api/v1/admin/inventory/espresso/{path}");
            let refused = client.as_staff("POST", &path, &[], Some(&body)).await;
            assert_eq!(
                (refused.status, refused.fields()),
                (StatusCode::UNPROCESSABLE_ENTITY, vec![field.to_owned()])
            );
        }
        let path = format!("/api/v1/admin/orders/{order}/status");
        let change = json!({ "status": "cancelled", "note": text });
        let refused = client
            .as_staff("PUT", &path, &[("if-match", "2")], Some(&change))
            .await;
        assert_eq!(
            (refused.status, refused.fields()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec!["note".to_owned()])
        );
        let changes = json!({ "changes": [{ "id": order, "version": 2, "status": "cancelled", "note": text }] });
        let refused = client
            .as_staff("POST", "/api/v1/admin/orders/status", &[], Some(&changes))
            .await;
        assert_eq!(refused.fields(), ["changes[0].note"]);
    }
    let espresso = ProductId::parse("espresso").expect("a slug");
    let kept = client
        .world
        .0
        .stock
        .product(&espresso)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(kept.counters.available, 10);
    // A UUID is never treated as a card number, whatever its digits.
    let body = json!({ "quantity": 1, "reason": "delivery", "movement_id": "41111111-1111-4111-8111-111111111111" });
    let made = client
        .as_staff(
            "POST",
            "/api/v1/admin/inventory/espresso/restock",
            &[],
            Some(&body),
        )
        .await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
}
