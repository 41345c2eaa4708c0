use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use payment_gateway::signature;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{A_WHILE, Gateway, LedgerFile, PATIENCE, stays_silent};

const SECRET: &str = "whsec_test";

const NOT_TAKEN: [StatusCode; 3] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::FOUND,
    StatusCode::BAD_REQUEST,
];

/// The receiver of webhooks. It fails the first `failures` webhooks, and passes all of them to the
/// test.
struct Shop {
    url: String,
    webhooks: mpsc::UnboundedReceiver<(String, Bytes)>,
}

impl Shop {
    async fn open(failures: usize) -> Shop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks/payment", listener.local_addr().unwrap());
        let (sender, webhooks) = mpsc::unbounded_channel();
        let seen = Arc::new(AtomicUsize::new(0));
        let take = async move |headers: HeaderMap, body: Bytes| {
            let signature = headers["payment-signature"].to_str().unwrap().to_owned();
            sender.send((signature, body)).unwrap();
            let number = seen.fetch_add(1, Ordering::Relaxed);
            if number < failures {
                NOT_TAKEN[number % NOT_TAKEN.len()]
            } else {
                StatusCode::NO_CONTENT
            }
        };
        let routes = Router::new().route("/webhooks/payment", post(take));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Shop { url, webhooks }
    }

    /// Returns the next webhook after checking its signature.
    async fn next(&mut self) -> Value {
        let (header, body) = timeout(PATIENCE, self.webhooks.recv())
            .await
            .expect("a webhook in time")
            .unwrap();
        let (time, _) = header.split_once(',').unwrap();
        let signed_at = time.strip_prefix("t=").unwrap().parse().unwrap();
        assert_eq!(header, signature::sign(SECRET, signed_at, &body));
        let now = OffsetDateTime::now_utc().unix_timestamp();
        assert!(now.abs_diff(signed_at) <= PATIENCE.as_secs(), "{header}");
        serde_json::from_slice(&body).unwrap()
    }

    async fn hears_no_more(&mut self) {
        stays_silent(self.webhooks.recv(), ready(())).await;
    }
}

async fn gateway_telling(url: &str, file: &LedgerFile) -> Gateway {
    let config = payment_gateway::Config {
        webhook_url: Some(url.to_owned()),
        webhook_secret: SECRET.to_owned(),
        ..file.config()
    };
    Gateway::start_with(config).await
}

#[tokio::test]
async fn captures_and_refunds_send_one_signed_webhook() {
    let (file, mut shop) = (LedgerFile::new(), Shop::open(0).await);
    let gateway = gateway_telling(&shop.url, &file).await;
    let charge_id = gateway.captured("c").await;
    let captured = shop.next().await;
    assert_eq!(captured["type"], "charge.captured");
    let expected = json!({
        "charge_id": charge_id, "reference": "order-1", "amount_minor": 450, "currency": "EUR", "idempotency_key": "c",
    });
    assert_eq!(captured["data"], expected);
    let event_id = uuid::Uuid::parse_str(captured["event_id"].as_str().unwrap()).unwrap();
    assert_eq!(event_id.get_version_num(), 7);
    assert_eq!(captured["occurred_at"], gateway.entries().await[0]["at"]);

    let refund = gateway.refund("r", &charge_id, 50).await.json();
    let refunded = shop.next().await;
    assert_eq!(refunded["type"], "charge.refunded");
    let expected = json!({
        "charge_id": charge_id, "reference": "order-1", "amount_minor": 50, "currency": "EUR", "idempotency_key": "r",
        "refund_id": refund["refund_id"],
    });
    assert_eq!(refunded["data"], expected);

    // A decline and a repeated request cause no webhook.
    gateway.charge("d", "tok_declined").await;
    gateway.captured("c").await;
    gateway.refund("r", &charge_id, 50).await;
    shop.hears_no_more().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_lost_response_still_sends_its_webhook() {
    let (file, mut shop) = (LedgerFile::new(), Shop::open(0).await);
    let gateway = gateway_telling(&shop.url, &file).await;
    stays_silent(gateway.charge("k", "tok_timeout"), file.until_lines(1)).await;
    assert_eq!(shop.next().await["data"]["idempotency_key"], "k");
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_webhook_is_repeated_with_the_same_event() {
    let (file, mut shop) = (LedgerFile::new(), Shop::open(3).await);
    let gateway = gateway_telling(&shop.url, &file).await;
    gateway.captured("c").await;
    let first = shop.next().await;
    for _ in 0..3 {
        assert_eq!(shop.next().await, first);
    }
    shop.hears_no_more().await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_unavailable_shop_delays_neither_responses_nor_the_stop() {
    // A port that was free a moment ago, and one whose listener accepts but never answers.
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [closed, mute.local_addr().unwrap()] {
        let file = LedgerFile::new();
        let gateway = gateway_telling(&format!("http://{address}/"), &file).await;
        for number in 0..50 {
            timeout(PATIENCE, gateway.captured(&format!("k{number}")))
                .await
                .unwrap();
        }
        timeout(A_WHILE + Duration::from_secs(10), gateway.stop())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn webhooks_without_a_secret_or_to_nowhere_are_refused() {
    for (url, secret) in [
        ("http://127.0.0.1:1/", ""),
        ("nonsense", SECRET),
        ("ftp://127.0.0.1/", SECRET),
    ] {
        let file = LedgerFile::new();
        let config = payment_gateway::Config {
            webhook_url: Some(url.to_owned()),
            webhook_secret: secret.to_owned(),
            ..file.config()
        };
        assert!(
            !format!("{config:?}").contains(SECRET),
            "the secret is not for logs"
        );
        let refusal = Gateway::start_with(config).await.refusal().await;
        assert!(refusal.contains("webhook"), "{refusal}");
    }
}
