//! A caller without the API key can neither read nor move money.

use serde_json::json;

use crate::support::{API_KEY, Gateway, LedgerFile, charge_body};

#[tokio::test]
async fn every_route_but_health_demands_the_api_key() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let charge_id = gateway.captured("c").await;
    let refund = json!({ "charge_id": charge_id, "amount_minor": 1 }).to_string();
    for authorization in [
        None,
        Some(String::new()),
        Some("Bearer another".to_owned()),
        Some(format!("Basic {API_KEY}")),
        Some(API_KEY.to_owned()),
    ] {
        let stranger = gateway.authorized_by(authorization.as_deref());
        for answer in [
            stranger.charge("s", "tok_ok").await,
            stranger.post("/v1/charges", None, "x".repeat(20_000)).await,
            stranger
                .post("/v1/refunds", Some("s"), refund.clone())
                .await,
            stranger.find("c").await,
            stranger.get("/v1/ledger").await,
            stranger.delete("/v1/charges").await,
            stranger.get("/v1/nothing").await,
            stranger.get("/nothing").await,
        ] {
            answer.problem(401);
            assert!(!answer.body.contains(API_KEY), "{answer:?}");
        }
        assert_eq!(stranger.get("/healthz").await.status, 200);
    }
    assert_eq!(
        gateway.entries().await.len(),
        1,
        "what was refused left nothing"
    );
    assert_eq!(
        gateway.get("/healthz").await.json()["unauthorized"],
        5 * 8,
        "each is counted"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn the_scheme_is_case_insensitive() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let client = gateway.authorized_by(Some(&format!("{scheme} {API_KEY}")));
        let answer = client
            .post(
                "/v1/charges",
                Some(scheme),
                charge_body("tok_ok").to_string(),
            )
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_without_an_api_key_does_not_start() {
    let file = LedgerFile::new();
    let config = payment_gateway::Config {
        api_key: String::new(),
        ..file.config()
    };
    let refusal = Gateway::start_with(config).await.refusal().await;
    assert!(refusal.contains("PAYMENT_API_KEY"), "{refusal}");
}
