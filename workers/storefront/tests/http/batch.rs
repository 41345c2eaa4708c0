//! Status changes of many orders in one request.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Client;
use crate::staff::confirmed;

const PATH: &str = "/api/v1/admin/orders/status";

fn change(id: &str, version: i64, status: &str) -> Value {
    json!({ "id": id, "version": version, "status": status })
}

#[tokio::test]
async fn each_entry_has_its_own_result() {
    let client = Client::new().await;
    let (good, stale, illegal) = (
        confirmed(&client).await,
        confirmed(&client).await,
        confirmed(&client).await,
    );
    let nobodys = Uuid::now_v7().to_string();
    let changes = [
        change(&good, 2, "preparing"),
        change(&stale, 1, "preparing"),
        change(&illegal, 2, "completed"),
        change(&nobodys, 2, "ready"),
        // The same order again: the first entry has changed the version.
        change(&good, 3, "ready"),
    ];
    let answer = client
        .as_staff("POST", PATH, &[], Some(&json!({ "changes": changes })))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let results = answer.json()["results"]
        .as_array()
        .cloned()
        .expect("results");
    let words: Vec<_> = results
        .iter()
        .map(|result| result["result"].as_str().expect("a word"))
        .collect();
    assert_eq!(words, ["moved", "stale", "illegal", "not_found", "moved"]);
    assert_eq!(
        (
            results[0]["version"].as_i64(),
            results[4]["status"].as_str()
        ),
        (Some(3), Some("ready"))
    );
    // The client that was too late learns who changed the order and its current status.
    let late = &results[1];
    assert_eq!(
        (late["version"].as_i64(), late["status"].as_str()),
        (Some(2), Some("confirmed"))
    );
    assert_eq!(late["changed_by"], "Ana");
}

#[tokio::test]
async fn invalid_entries_are_reported_by_index_and_no_order_is_changed() {
    let client = Client::new().await;
    let id = confirmed(&client).await;
    let body = json!({ "changes": [
        change(&id, 2, "preparing"),
        { "id": "x", "version": 2, "status": "burnt" },
        { "id": id, "status": "ready", "color": "red" },
    ] });
    let refused = client.as_staff("POST", PATH, &[], Some(&body)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        refused.fields(),
        [
            "changes[1].id",
            "changes[1].status",
            "changes[2].version",
            "changes[2].color"
        ]
    );
    let order = client
        .as_staff("GET", &format!("/api/v1/orders/{id}"), &[], None)
        .await
        .json();
    assert_eq!(order["status"], "confirmed");
    for wrong in [
        json!({}),
        json!({ "changes": [] }),
        json!({ "changes": vec![change(&id, 2, "ready"); 51] }),
    ] {
        let refused = client.as_staff("POST", PATH, &[], Some(&wrong)).await;
        assert_eq!(refused.fields(), ["changes"]);
    }
}

#[tokio::test]
async fn status_changes_need_a_staff_token() {
    let client = Client::new().await;
    let body = json!({ "changes": [change(&confirmed(&client).await, 2, "ready")] });
    assert_eq!(
        client.json("POST", PATH, &[], &body).await.status,
        StatusCode::UNAUTHORIZED
    );
}
