use std::future::ready;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Answer, Gateway, LedgerFile, PATIENCE, charge_body, stays_silent};

#[tokio::test]
async fn every_prompt_token_has_its_outcome() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    for (token, status, reason) in [
        ("tok_ok", "captured", Value::Null),
        ("tok_declined", "declined", json!("card_declined")),
        (
            "tok_insufficient_funds",
            "declined",
            json!("insufficient_funds"),
        ),
        ("tok_never_seen", "declined", json!("unknown_token")),
    ] {
        let answer = gateway.charge(token, token).await;
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (200, "application/json"),
            "{token}"
        );
        let charge = answer.json();
        assert_eq!(
            (&charge["status"], &charge["reason"]),
            (&json!(status), &reason),
            "{token}"
        );
        assert_eq!(
            (&charge["amount_minor"], &charge["currency"]),
            (&json!(450), &json!("EUR")),
            "{token}"
        );
        assert_eq!(
            gateway.find(token).await,
            answer,
            "{token} is found by its key"
        );
        assert_eq!(
            gateway.entries().await.last().unwrap()["status"],
            status,
            "{token}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_same_key_and_body_get_the_same_bytes_also_after_a_restart() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let captured = gateway.charge("k-ok", "tok_ok").await;
    let declined = gateway.charge("k-declined", "tok_declined").await;
    assert_eq!(gateway.charge("k-ok", "tok_ok").await, captured);
    assert_eq!(gateway.charge("k-declined", "tok_declined").await, declined);
    // The same content in another notation.
    let rewritten =
        r#"{ "reference":"order-1","token":"tok_ok", "currency":"EUR", "amount_minor":450 }"#;
    assert_eq!(
        gateway.post("/v1/charges", Some("k-ok"), rewritten).await,
        captured
    );
    gateway.stop().await;

    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.charge("k-ok", "tok_ok").await, captured);
    assert_eq!(gateway.charge("k-declined", "tok_declined").await, declined);
    assert_eq!(gateway.find("k-ok").await, captured);
    assert_eq!(gateway.entries().await.len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let charge_id = gateway.captured("k").await;
    for (field, other) in [
        ("amount_minor", json!(451)),
        ("currency", json!("USD")),
        ("token", json!("tok_declined")),
        ("reference", json!("order-2")),
    ] {
        let mut body = charge_body("tok_ok");
        body[field] = other;
        gateway
            .post("/v1/charges", Some("k"), body.to_string())
            .await
            .problem(422);
    }
    gateway.refund("k", &charge_id, 450).await.problem(422);
    assert_eq!(gateway.entries().await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn twenty_at_once_with_one_key_are_one_charge() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let client = gateway.client.clone();
            tokio::spawn(async move { client.charge("k", "tok_ok").await })
        })
        .collect();
    let mut answers: Vec<Answer> = Vec::new();
    for answer in tries {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers[0].status, 200);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(gateway.entries().await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_is_required_and_has_a_form() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let body = charge_body("tok_ok").to_string();
    gateway
        .post("/v1/charges", None, body.clone())
        .await
        .problem(400);
    gateway
        .post(
            "/v1/refunds",
            None,
            json!({ "charge_id": "ch_1", "amount_minor": 1 }).to_string(),
        )
        .await
        .problem(400);
    for key in ["", "with space", "a".repeat(256).as_str()] {
        gateway
            .post("/v1/charges", Some(key), body.clone())
            .await
            .problem(400);
    }
    gateway.get("/v1/charges").await.problem(400);
    gateway
        .get("/v1/charges?idempotency_key=")
        .await
        .problem(400);
    gateway.find("never-used").await.problem(404);
    assert!(gateway.entries().await.is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_wrong_body_is_refused_field_by_field() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    for (change, wrong) in [
        (json!({ "amount_minor": -1 }), vec!["amount_minor"]),
        (json!({ "amount_minor": 0 }), vec!["amount_minor"]),
        (json!({ "amount_minor": 4.5 }), vec!["amount_minor"]),
        (json!({ "amount_minor": "450" }), vec!["amount_minor"]),
        (
            json!({ "amount_minor": 1_000_000_000_000_i64 }),
            vec!["amount_minor"],
        ),
        (json!({ "currency": "eur" }), vec!["currency"]),
        (json!({ "currency": "EURO" }), vec!["currency"]),
        (json!({ "currency": "€" }), vec!["currency"]),
        (json!({ "currency": null }), vec!["currency"]),
        (json!({ "token": "" }), vec!["token"]),
        (json!({ "reference": "a\nb" }), vec!["reference"]),
        (json!({ "reference": "x".repeat(256) }), vec!["reference"]),
        (json!({ "surprise": 1 }), vec!["surprise"]),
        (
            json!({ "amount_minor": -1, "currency": "", "tip": 1 }),
            vec!["amount_minor", "currency", "tip"],
        ),
    ] {
        let mut body = charge_body("tok_ok");
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = gateway
            .post("/v1/charges", Some("k"), body.to_string())
            .await;
        assert_eq!(answer.problem(422), wrong, "{change}");
    }
    let all = gateway
        .post("/v1/charges", Some("k"), "{}")
        .await
        .problem(422);
    assert_eq!(all, ["amount_minor", "currency", "token", "reference"]);
    for body in ["", "{", "[]", "null", "\"x\""] {
        gateway
            .post("/v1/charges", Some("k"), body)
            .await
            .problem(400);
    }
    gateway
        .post("/v1/charges", Some("k"), "x".repeat(20_000))
        .await
        .problem(413);
    // The refused request has not used the key.
    gateway.captured("k").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_card_number_is_refused_by_field_and_kept_nowhere() {
    const CARD: &str = "4111 1111-1111 1111";
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    for (key, change, wrong) in [
        ("k", json!({ "token": CARD }), vec!["token"]),
        (
            "k",
            json!({ "token": "tok_4111111111111111" }),
            vec!["token"],
        ),
        (
            "k",
            json!({ "reference": format!("order {CARD}") }),
            vec!["reference"],
        ),
        (
            "k",
            json!({ "token": CARD, "reference": "4111111111111111a000000000000000" }),
            vec!["token", "reference"],
        ),
        (
            "charge:4111111111111111",
            json!({}),
            vec!["Idempotency-Key"],
        ),
    ] {
        let mut body = charge_body("tok_ok");
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = gateway
            .post("/v1/charges", Some(key), body.to_string())
            .await;
        assert_eq!(answer.problem(422), wrong, "{change}");
        assert!(!answer.body.contains("4111"), "{answer:?}");
    }
    let charge_id = gateway.captured("k").await;
    let answer = gateway
        .refund("refund:4111111111111111", &charge_id, 1)
        .await;
    assert_eq!(answer.problem(422), ["Idempotency-Key"]);
    // The digits of an order id may look like a card number by chance.
    let order = "0a424242-4242-4242-a000-00000000b0c0";
    let mut body = charge_body("tok_ok");
    body["reference"] = json!(order);
    let answer = gateway
        .post(
            "/v1/charges",
            Some(&format!("charge:{order}")),
            body.to_string(),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = file.text();
    assert!(
        !kept.contains("41111111") && !kept.contains("4111 1111"),
        "{kept}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn requests_outside_the_protocol_get_a_problem() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    gateway.get("/v1/nothing").await.problem(404);
    gateway.delete("/v1/charges").await.problem(405);
    assert_eq!(gateway.get("/healthz").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_charge_with_a_lost_response_is_found_by_its_key() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    stays_silent(gateway.charge("k", "tok_timeout"), file.until_lines(1)).await;
    let found = gateway.find("k").await;
    assert_eq!(
        (found.status, &found.json()["status"]),
        (200, &json!("captured"))
    );
    stays_silent(gateway.charge("k", "tok_timeout"), ready(())).await;
    assert_eq!(
        gateway.entries().await.len(),
        1,
        "a second try is not a second charge"
    );
    gateway.stop().await;

    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.find("k").await, found);
    gateway.stop().await;
}

#[tokio::test]
async fn a_charge_that_timed_out_before_execution_can_be_repeated() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    stays_silent(
        gateway.charge("k", "tok_timeout_before"),
        file.until_lines(1),
    )
    .await;
    gateway.find("k").await.problem(404);
    assert!(gateway.entries().await.is_empty());
    let answer = gateway.charge("k", "tok_timeout_before").await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("captured"))
    );
    assert_eq!(gateway.charge("k", "tok_timeout_before").await, answer);
    assert_eq!(gateway.entries().await.len(), 1);
    // The count belongs to one key and survives a restart.
    stays_silent(
        gateway.charge("k2", "tok_timeout_before"),
        file.until_lines(3),
    )
    .await;
    gateway.stop().await;

    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.charge("k2", "tok_timeout_before").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_flaky_charge_fails_twice_a_key_then_is_captured_restart_or_not() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    gateway.charge("k", "tok_flaky").await.problem(500);
    gateway.find("k").await.problem(404);
    gateway.charge("k", "tok_ok").await.problem(422);
    gateway.stop().await;

    let gateway = Gateway::start(&file).await;
    gateway.charge("k", "tok_flaky").await.problem(500);
    assert!(gateway.entries().await.is_empty());
    let answer = gateway.charge("k", "tok_flaky").await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("captured"))
    );
    assert_eq!(gateway.charge("k", "tok_flaky").await, answer);
    gateway.stop().await;

    let gateway = Gateway::start(&file).await;
    assert_eq!(gateway.charge("k", "tok_flaky").await, answer);
    gateway.charge("k2", "tok_flaky").await.problem(500);
    assert_eq!(gateway.entries().await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_charge_is_recorded_before_its_response() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let started = Instant::now();
    let client = gateway.client.clone();
    let slow = tokio::spawn(async move { client.charge("k", "tok_slow").await });
    let found = gateway.until_found("k").await;
    assert!(!slow.is_finished());
    assert_eq!(slow.await.unwrap(), found);
    assert!(started.elapsed() >= Duration::from_secs(2));
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_at_once_does_not_leave_half_a_charge() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    for number in 0..20 {
        let key = format!("k{number}");
        let request = gateway.charge(&key, "tok_slow");
        // The delay decides by chance whether the request is not sent, sent or executed.
        let _ = timeout(Duration::from_millis(number), request).await;
    }
    let mut found = 0;
    for number in 0..20 {
        found += usize::from(gateway.find(&format!("k{number}")).await.status == 200);
    }
    let entries = gateway.entries().await;
    assert!(entries.len() >= found);
    gateway.stop().await;

    let gateway = Gateway::start(&file).await;
    let after = gateway.entries().await;
    assert_eq!(
        after[..entries.len()],
        entries,
        "the file has what the memory had"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_stop_releases_clients_that_wait_for_a_response() {
    let file = LedgerFile::new();
    let gateway = Gateway::start(&file).await;
    let client = gateway.client.clone();
    let held = tokio::spawn(async move { client.charge("k", "tok_timeout").await });
    gateway.until_found("k").await;
    let started = Instant::now();
    gateway.stop().await;
    timeout(PATIENCE, held).await.unwrap().unwrap().problem(504);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the held request did not use up the drain"
    );
}
