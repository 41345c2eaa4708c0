use serde_json::json;

use crate::support::{Gateway, LedgerFile};

#[tokio::test]
async fn a_charge_is_refunded_in_parts_up_to_its_amount() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let charge_id = gateway.captured("c").await;
    let first = gateway.refund("r1", &charge_id, 200).await;
    assert_eq!(
        (first.status, &first.json()["status"]),
        (200, &json!("refunded"))
    );
    assert!(first.json()["refund_id"].is_string());
    assert_eq!(
        gateway.refund("r2", &charge_id, 251).await.problem(422),
        ["amount_minor"]
    );
    gateway.stop().await;

    let gateway = Gateway::start(&file).await;
    assert_eq!(
        gateway.refund("r2", &charge_id, 251).await.problem(422),
        ["amount_minor"]
    );
    assert_eq!(
        gateway.refund("r1", &charge_id, 200).await,
        first,
        "the same key, the same bytes"
    );
    gateway.refund("r1", &charge_id, 201).await.problem(422);
    // The refused request has not used the key.
    assert_eq!(gateway.refund("r2", &charge_id, 250).await.status, 200);
    assert_eq!(
        gateway.refund("r3", &charge_id, 1).await.problem(422),
        ["amount_minor"]
    );
    assert_eq!(gateway.refund("r1", &charge_id, 200).await, first);
    assert_eq!(gateway.entries().await.len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn only_a_captured_charge_can_be_refunded() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    gateway.refund("r1", "ch_unknown", 1).await.problem(404);
    let declined = gateway.charge("c", "tok_declined").await.json();
    gateway
        .refund("r2", declined["charge_id"].as_str().unwrap(), 1)
        .await
        .problem(422);
    let charge_id = gateway.captured("c2").await;
    assert_eq!(
        gateway.refund("r3", &charge_id, -1).await.problem(422),
        ["amount_minor"]
    );
    assert_eq!(
        gateway.refund("r3", &charge_id, 0).await.problem(422),
        ["amount_minor"]
    );
    let extra = json!({ "charge_id": charge_id, "amount_minor": 1, "currency": "EUR" });
    assert_eq!(
        gateway
            .post("/v1/refunds", Some("r3"), extra.to_string())
            .await
            .problem(422),
        ["currency"]
    );
    // The keys of refunds find no charges.
    assert_eq!(gateway.refund("r3", &charge_id, 1).await.status, 200);
    gateway.find("r3").await.problem(404);
    gateway.charge("r3", "tok_ok").await.problem(422);
    gateway.stop().await;
}

#[tokio::test]
async fn of_two_full_refunds_at_once_one_is_executed() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let charge_id = gateway.captured("c").await;
    let (one, other) = tokio::join!(
        gateway.refund("r1", &charge_id, 450),
        gateway.refund("r2", &charge_id, 450)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422]);
    // With one key, both requests get the refund that was executed.
    let charge_id = gateway.captured("c2").await;
    let (one, other) = tokio::join!(
        gateway.refund("r3", &charge_id, 450),
        gateway.refund("r3", &charge_id, 450)
    );
    assert_eq!((one.status, &one), (200, &other));
    gateway.stop().await;
}
