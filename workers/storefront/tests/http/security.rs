//! Every refusal that may be a sign of an attack is counted and logged, and no log line contains a
//! secret.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use domain::access::StaffRole;
use serde_json::json;
use storefront::SecurityEvent;
use time::Duration;
use tracing_subscriber::fmt::MakeWriter;

use crate::pages::{open, submit};
use crate::{Client, NOON, token_as};

/// The captured log output.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn refusals_are_counted_and_logged_without_secrets() {
    // With only one subscriber, `tracing` would cache a log line as disabled for all threads when
    // another test's thread reaches it first.
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::fmt()
            .with_writer(std::io::sink)
            .finish(),
    );
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let client = Client::set(|settings| settings.trusted_proxies = 1).await;
    let order = client.accepted().await;
    let (id, tracking) = (
        order["order_id"].as_str().expect("an id"),
        order["tracking_token"].as_str().expect("a token"),
    );
    let support = token_as(StaffRole::Support, "Ana", NOON + Duration::hours(1));
    let over = token_as(StaffRole::Staff, "Ana", NOON - Duration::hours(1));
    let bearer = |token: &str| format!("Bearer {token}");

    client
        .get("/api/v1/admin/orders", &[("authorization", &bearer(&over))])
        .await;
    client
        .get(
            "/api/v1/admin/inventory",
            &[("authorization", &bearer(&support))],
        )
        .await;
    submit(&client, "", "/staff/sign-in", &format!("token={over}")).await;
    client
        .json(
            "POST",
            "/webhooks/payment",
            &[("payment-signature", "t=1,v1=00")],
            &json!({}),
        )
        .await;
    client
        .get(&format!("/api/v1/orders/{id}?token=a-wrong-guess"), &[])
        .await;
    open(&client, "", &format!("/orders/{id}")).await;
    submit(
        &client,
        "",
        &format!("/orders/{id}/open"),
        "t=a-wrong-guess",
    )
    .await;
    submit(
        &client,
        "",
        "/orders",
        "order_number=Z-999&email=somebody%40example.com",
    )
    .await;
    client
        .json(
            "POST",
            "/api/v1/cart/items",
            &[("sec-fetch-site", "cross-site")],
            &json!({}),
        )
        .await;
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-forwarded-for", "203.0.113.5"),
    ];
    for _ in 0..10 {
        client
            .send("POST", "/staff/sign-in", &headers, "token=guess")
            .await;
    }
    let seen = client
        .world
        .0
        .security
        .lock()
        .expect("not poisoned")
        .clone();
    for &event in SecurityEvent::ALL {
        assert!(seen.contains(&event), "{event:?} was not counted: {seen:?}");
    }
    let foreign = seen
        .iter()
        .filter(|event| **event == SecurityEvent::ForeignLookup)
        .count();
    assert_eq!(foreign, 4, "by token, page, cookie and number");

    // An accepted request logs nothing, even with the token in the URL.
    let good = client
        .get(&format!("/api/v1/orders/{id}?token={tracking}"), &[])
        .await;
    assert_eq!(good.status, StatusCode::OK);
    let text = String::from_utf8(log.0.lock().expect("not poisoned").clone()).expect("text");
    for &event in SecurityEvent::ALL {
        assert!(
            text.contains(&format!("event=\"{}\"", event.code())),
            "{event:?} left no line: {text}"
        );
    }
    for secret in [
        support.as_str(),
        &over,
        tracking,
        "a-wrong-guess",
        "token=",
        "somebody",
        id,
    ] {
        assert!(!text.contains(secret), "{secret} is in the log: {text}");
    }
    assert!(text.contains("203.0.113.5"), "the client is named");
}
