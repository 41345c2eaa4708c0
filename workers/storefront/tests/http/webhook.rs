//! The payment gateway's webhook is validated like any input.

use aws_lc_rs::hmac;
use axum::http::StatusCode;

use crate::{Client, NOON, WEBHOOK_SECRET};

const BODY: &str = r#"{"event_id":"e-1","type":"charge.captured"}"#;

fn signed(secret: &str, at: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(signature))
}

#[tokio::test]
async fn only_a_fresh_signature_of_the_gateway_is_accepted() {
    let client = Client::new().await;
    let now = NOON.unix_timestamp();
    let send = |signature: String, body: &'static str| {
        let client = &client;
        async move {
            client
                .send(
                    "POST",
                    "/webhooks/payment",
                    &[("payment-signature", &signature)],
                    body,
                )
                .await
        }
    };
    let good = signed(WEBHOOK_SECRET, now, BODY);
    assert_eq!(
        send(good.clone(), BODY).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        send(signed(WEBHOOK_SECRET, now - 299, BODY), BODY)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    // During a rotation of the secret the header has two signatures.
    assert_eq!(
        send(good.replace("v1=", "v1=00,v1="), BODY).await.status,
        StatusCode::NO_CONTENT
    );
    for (why, signature) in [
        ("another secret", signed("guessed", now, BODY)),
        ("old", signed(WEBHOOK_SECRET, now - 301, BODY)),
        ("from the future", signed(WEBHOOK_SECRET, now + 301, BODY)),
        ("of another body", signed(WEBHOOK_SECRET, now, "{}")),
        (
            "of another time",
            good.replacen(&now.to_string(), &(now + 1).to_string(), 1),
        ),
        ("cut", good[..good.len() - 2].to_owned()),
        ("empty", String::new()),
        ("nonsense", "t=,v1=".to_owned()),
        (
            "without a time",
            good.split(',').next_back().unwrap_or_default().to_owned(),
        ),
    ] {
        let refused = send(signature, BODY).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (
                StatusCode::BAD_REQUEST,
                vec!["Payment-Signature".to_owned()]
            ),
            "{why}"
        );
    }
    let not_an_event = send(signed(WEBHOOK_SECRET, now, "[]"), "[]").await;
    assert_eq!(
        (not_an_event.status, not_an_event.fields()),
        (StatusCode::BAD_REQUEST, vec!["body".to_owned()])
    );
}
