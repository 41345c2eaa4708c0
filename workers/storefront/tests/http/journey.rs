//! The order timeline over HTTP, which only staff may read.

use axum::http::StatusCode;
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::{Client, NOON, an_espresso, token};

fn id(order: &Value) -> &str {
    order["order_id"].as_str().expect("an id")
}

#[tokio::test]
async fn staff_see_every_record_with_gaps_and_pending_steps() {
    let client = Client::new().await;
    let order = client.accepted().await;
    let journey = client
        .as_staff(
            "GET",
            &format!("/api/v1/orders/{}/journey", id(&order)),
            &[],
            None,
        )
        .await;
    assert_eq!(journey.status, StatusCode::OK, "{}", journey.text);
    let journey = journey.json();
    assert_eq!(
        (&journey["order_id"], &journey["status"]),
        (&order["order_id"], &json!("pending"))
    );
    let moments = journey["moments"].as_array().expect("moments");
    let records: Vec<_> = moments
        .iter()
        .map(|moment| moment["record"].as_str().expect("a record"))
        .collect();
    assert_eq!(
        records,
        ["history", "payment", "outbox", "outbox", "outbox"]
    );
    assert_eq!(
        (&moments[0]["at"], &moments[0]["gap_ms"]),
        (&json!("2026-03-01T12:00:00.000Z"), &json!(0))
    );
    assert_eq!(
        moments[2]["what"],
        "ReserveStock written to the outbox for queue/orders"
    );
    assert!(
        journey["awaited"][0]["what"]
            .as_str()
            .is_some_and(|what| what.contains("ReserveStock")),
        "{journey:#}"
    );
    assert_eq!(journey["awaited"][0]["since"], "2026-03-01T12:00:00.000Z");
}

#[tokio::test]
async fn the_timeline_answers_404_to_everybody_else() {
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
    let path = format!("/api/v1/orders/{}/journey", id(&order));
    let seen = |mut problem: Value| {
        problem["request_id"] = json!("");
        problem
    };
    let unknown = client
        .get(&format!("/api/v1/orders/{}/journey", Uuid::now_v7()), &[])
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let over = format!("Bearer {}", token("Ana", NOON - Duration::seconds(1)));
    let by_token = format!(
        "{path}?token={}",
        order["tracking_token"].as_str().expect("a token")
    );
    for (path, headers) in [
        (&path, vec![]),
        (&path, vec![("cookie", owner.as_str())]),
        (&by_token, vec![]),
        (&path, vec![("authorization", over.as_str())]),
    ] {
        let refused = client.get(path, &headers).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{path} {headers:?}");
        assert_eq!(
            seen(refused.json()),
            seen(unknown.json()),
            "{path} {headers:?}"
        );
    }
    for nowhere in [Uuid::now_v7().to_string(), "nonsense".to_owned()] {
        let path = format!("/api/v1/orders/{nowhere}/journey");
        assert_eq!(
            client.as_staff("GET", &path, &[], None).await.status,
            StatusCode::NOT_FOUND,
            "{nowhere}"
        );
    }
}

#[tokio::test]
async fn the_timeline_page_escapes_text_and_needs_a_sign_in() {
    let client = Client::new().await;
    let order = client.accepted().await;
    let page = format!("/staff/orders/{}", id(&order));
    let stranger = client.get(&page, &[("accept", "text/html")]).await;
    assert_eq!(
        (stranger.status, stranger.header("location")),
        (StatusCode::SEE_OTHER, "/staff/sign-in")
    );

    // The name comes from a valid token and goes into the history.
    let name = "<script>alert(1)</script>";
    let bearer = format!("Bearer {}", token(name, NOON + Duration::hours(1)));
    let headers = [("authorization", bearer.as_str())];
    let cancelled = client
        .json(
            "POST",
            &format!("/api/v1/orders/{}/cancel", id(&order)),
            &headers,
            &json!({}),
        )
        .await;
    assert_eq!(cancelled.status, StatusCode::ACCEPTED, "{}", cancelled.text);
    let shown = client
        .as_staff("GET", &page, &[("accept", "text/html")], None)
        .await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(!shown.text.contains(name), "{}", shown.text);
    assert!(
        shown.text.contains("&#60;script&#62;") || shown.text.contains("&lt;script&gt;"),
        "{}",
        shown.text
    );
    assert!(
        shown
            .text
            .contains("ReserveStock written to the outbox for queue/orders"),
        "{}",
        shown.text
    );
    let nowhere = client
        .as_staff(
            "GET",
            &format!("/staff/orders/{}", Uuid::now_v7()),
            &[],
            None,
        )
        .await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}
