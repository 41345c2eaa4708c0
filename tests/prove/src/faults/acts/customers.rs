//! Clients that misbehave, and faults of their carts, cards and stock holds.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use app::ports::stock::Stock as _;
use contract::role::STOREFRONT;
use domain::Timestamp;
use faults::{Dependency, Fault, Rule};
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{Outcome, PATIENCE, limits};
use crate::customer::{self, Answer, Placed};
use crate::shop::Shop;

/// Opens 200 connections with incomplete requests and keeps them open.
pub async fn slow_clients(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&shop.surroundings.storefront).await?;
        stream
            .write_all(
                b"POST /api/v1/orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 500\r\n\r\n{",
            )
            .await?;
        open.push(stream);
    }
    tokio::time::sleep(lasting).await;
    Ok(Outcome {
        hits: open.len() as u64,
        ..Outcome::default()
    })
}

/// Sends orders at twenty times the rate that the shop can handle. The shop must reject the surplus
/// with `Retry-After` within 3 seconds, and its memory must stay below the limit of its task.
///
/// # Errors
/// Returns an error if the product cannot be restocked.
pub async fn flood(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    /// The shop handles 70 orders a second on two cores (docs/figures.md).
    const RATE: f64 = 20.0 * 70.0;
    const SOON: Duration = Duration::from_secs(3);
    // Enough stock, because a 409 for a product that is sold out is no overload response.
    customer::shelve(shop, "latte", 20_000).await?;
    let url = format!("http://{}/api/v1/orders", shop.surroundings.storefront);
    let (begun, mut outcome) = (Instant::now(), Outcome::default());
    let orders = (0..(RATE * lasting.as_secs_f64()) as u32).map(|index| {
        let url = &url;
        async move {
            tokio::time::sleep_until(
                (begun + Duration::from_secs_f64(f64::from(index) / RATE)).into(),
            )
            .await;
            let (id, asked) = (Uuid::now_v7(), Instant::now());
            let email = format!("{}@example.com", id.simple());
            let request = shop
                .http
                .post(url)
                .header("Idempotency-Key", id.to_string())
                .json(&body(&email, 1));
            let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
            let (status, again) = (
                answer.status(),
                answer.headers().contains_key("retry-after"),
            );
            let answer: Value = answer.json().await.unwrap_or_default();
            match status.as_u16() {
                202 => Ok(Some(placed_of(&answer, &email))),
                429 | 503 if again && asked.elapsed() < SOON => Ok(None),
                _ => Err(format!(
                    "{status} after {:.1} s, Retry-After {again}",
                    asked.elapsed().as_secs_f64()
                )),
            }
        }
    });
    for answer in join_all(orders).await {
        match answer {
            Ok(Some(placed)) => outcome.placed.push(placed),
            Ok(None) => outcome.hits += 1,
            Err(why) => outcome.failures.push(format!("I12 in a flood: {why}")),
        }
    }
    let most = u64::from(STOREFRONT.memory_mib) << 20;
    let grown = shop
        .life(STOREFRONT.slug)
        .and_then(|life| limits::status_bytes(life.pid, "VmHWM").ok());
    if grown.is_none_or(|grown| grown > most) {
        outcome.failures.push(format!(
            "the storefront grew to {grown:?} bytes; its task has {most}"
        ));
    }
    Ok(outcome)
}

fn body(email: &str, quantity: u32) -> Value {
    json!({
        "customer": { "name": "Proof", "phone": "+1 555 010 0177", "email": email },
        "items": [{ "product_id": "latte", "quantity": quantity }],
        "payment_token": "tok_ok",
    })
}

async fn post(shop: &Shop, key: &str, body: &Value) -> Option<(StatusCode, Value)> {
    let request = shop
        .http
        .post(format!("{}/api/v1/orders", shop.url))
        .header("Idempotency-Key", key)
        .json(body);
    let answer = request.send().await.ok()?;
    Some((answer.status(), answer.json().await.unwrap_or_default()))
}

fn placed_of(answer: &Value, email: &str) -> Placed {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Placed {
        order_id: text(&answer["order_id"]),
        email: email.to_owned(),
        cancel: text(&answer["links"]["cancel"]),
    }
}

/// Sends one order 50 times at once with the same idempotency key. All accepted responses must be
/// equal.
pub async fn double_click(shop: &Shop) -> anyhow::Result<Outcome> {
    let id = Uuid::now_v7();
    let (email, key) = (format!("{}@example.com", id.simple()), id.to_string());
    let order = body(&email, 1);
    let answers = join_all((0..50).map(|_| post(shop, &key, &order))).await;
    let mut outcome = Outcome {
        hits: answers.len() as u64,
        ..Outcome::default()
    };
    let accepted: Vec<&Value> = answers
        .iter()
        .flatten()
        .filter(|(status, _)| *status == StatusCode::ACCEPTED)
        .map(|(_, answer)| answer)
        .collect();
    let others = answers
        .iter()
        .flatten()
        .filter(|(status, _)| !matches!(status.as_u16(), 202 | 409))
        .count();
    if others > 0 || accepted.is_empty() || accepted.iter().any(|answer| *answer != accepted[0]) {
        outcome
            .failures
            .push(format!("I6 one key gave {answers:?}"));
    }
    outcome
        .placed
        .extend(accepted.first().map(|answer| placed_of(answer, &email)));
    Ok(outcome)
}

/// Sends a second order with a used idempotency key and another body. The response must be 422 and
/// must not contain the first order's id.
pub async fn other_body(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for _ in 0..5 {
        let id = Uuid::now_v7();
        let (email, key) = (format!("{}@example.com", id.simple()), id.to_string());
        let Some((_, first)) = post(shop, &key, &body(&email, 1)).await else {
            continue;
        };
        outcome.placed.push(placed_of(&first, &email));
        outcome.hits += 1;
        let other = post(shop, &key, &body(&email, 2)).await;
        let leaks = other.as_ref().is_some_and(|(_, answer)| {
            answer.to_string().contains(&placed_of(&first, "").order_id)
        });
        if other
            .as_ref()
            .is_none_or(|(status, _)| *status != StatusCode::UNPROCESSABLE_ENTITY)
            || leaks
        {
            outcome
                .failures
                .push(format!("I6 another body under a used key gave {other:?}"));
        }
    }
    Ok(outcome)
}

/// Fills a cart, flushes Redis, and checks out. The response must be 409 or 422.
pub async fn flush_carts(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let Some(url) = &shop.redis_url else {
        return Ok(outcome);
    };
    let own = url
        .strip_prefix("redis://:")
        .and_then(|rest| rest.split_once('@'));
    let (password, server) = own.context("the proofs' own Redis has a password")?;
    for _ in 0..5 {
        let item = json!({ "product_id": "latte", "quantity": 1 });
        let filled = shop
            .http
            .post(format!("{}/api/v1/cart/items", shop.url))
            .json(&item)
            .send()
            .await?;
        let cookies = filled
            .headers()
            .get_all("set-cookie")
            .iter()
            .filter_map(|cookie| cookie.to_str().ok());
        let cookies: Vec<&str> = cookies
            .filter_map(|cookie| cookie.split(';').next())
            .collect();
        let cookie = cookies.join("; ");
        let mut redis = TcpStream::connect(server).await?;
        redis
            .write_all(format!("AUTH {password}\r\nFLUSHALL\r\n").as_bytes())
            .await?;
        let mut answers = [0; 10];
        redis.read_exact(&mut answers).await?;
        ensure!(
            answers == *b"+OK\r\n+OK\r\n",
            "Redis answers {:?}",
            String::from_utf8_lossy(&answers)
        );
        let id = Uuid::now_v7();
        let mut order = body(&format!("{}@example.com", id.simple()), 1);
        if let Some(order) = order.as_object_mut() {
            order.remove("items");
            order.insert("cart".to_owned(), json!(true));
        }
        let request = shop
            .http
            .post(format!("{}/api/v1/orders", shop.url))
            .header("Cookie", cookie);
        let status = request
            .header("Idempotency-Key", id.to_string())
            .json(&order)
            .send()
            .await?
            .status();
        outcome.hits += 1;
        if !matches!(status.as_u16(), 409 | 422) {
            outcome
                .failures
                .push(format!("I12 a cart that was lost gave {status}"));
        }
    }
    Ok(outcome)
}

/// Lets 64 customers order a product of which 40 units exist. Exactly 40 orders must be confirmed.
pub async fn hot_product(shop: &Shop) -> anyhow::Result<Outcome> {
    const UNITS: usize = 40;
    let product = "mocha";
    customer::shelve(shop, product, UNITS as i64).await?;
    let answers =
        join_all((0..64).map(|_| customer::order(shop, product, 1, "tok_ok", PATIENCE))).await;
    let (mut outcome, mut sold) = (Outcome::default(), 0);
    for answer in answers {
        match answer {
            Answer::Ok(placed) => {
                customer::until(shop, &placed, &["confirmed", "failed"]).await?;
                let confirmed =
                    customer::status(shop, &placed).await.as_deref() == Some("confirmed");
                sold += usize::from(confirmed);
                outcome.hits += u64::from(!confirmed);
                outcome.placed.push(placed);
            }
            Answer::Refused(StatusCode::CONFLICT) => outcome.hits += 1,
            other => outcome
                .failures
                .push(format!("a customer of the hot product got {other:?}")),
        }
    }
    if sold != UNITS {
        outcome
            .failures
            .push(format!("I2 I3 {UNITS} were there, and {sold} were sold"));
    }
    Ok(outcome)
}

/// Releases a stock hold while the card is charged. The refund must follow the charge.
pub async fn end_holds(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for _ in 0..3 {
        let placed = customer::must_order(shop, "latte", 1, "tok_slow").await?;
        let id = placed.order_id.parse()?;
        let begun = Instant::now();
        // After a second, the hold exists and the slow charge is in flight.
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.stock.release(id, Timestamp::now_utc()).await?;
        customer::until(shop, &placed, &["failed", "confirmed"]).await?;
        outcome.hits += u64::from(begun.elapsed() > Duration::from_secs(1));
        outcome.placed.push(placed);
    }
    Ok(outcome)
}

/// Places orders with cards that are declined. Each order must fail.
pub async fn decline(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for token in ["tok_declined", "tok_insufficient_funds", "tok_unknown"]
        .iter()
        .cycle()
        .take(12)
    {
        let placed = customer::must_order(shop, "latte", 1, token).await?;
        customer::until(shop, &placed, &["failed"]).await?;
        outcome.hits += 1;
        outcome.placed.push(placed);
    }
    Ok(outcome)
}

/// Sends webhooks with missing or wrong signatures. Each must be rejected.
pub async fn forged_webhooks(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let event = json!({ "id": "evt_1", "type": "charge.captured", "data": {} }).to_string();
    let now = Timestamp::now_utc().unix_timestamp();
    for signature in [
        None,
        Some(format!("t={now},v1={}", "0".repeat(64))),
        Some("t=0,v1=00".to_owned()),
    ] {
        let mut request = shop
            .http
            .post(format!("{}/webhooks/payment", shop.url))
            .body(event.clone());
        if let Some(signature) = signature {
            request = request
                .header("Payment-Signature", signature.clone())
                .header("Webhook-Signature", signature);
        }
        let status = request
            .header("Content-Type", "application/json")
            .send()
            .await?
            .status();
        outcome.hits += 1;
        if !status.is_client_error() {
            outcome
                .failures
                .push(format!("I12 a forged webhook gave {status}"));
        }
    }
    Ok(outcome)
}

/// Cancels paid orders while the first six refund requests fail. Each order must be cancelled.
pub async fn refund_later(shop: &Shop) -> anyhow::Result<Outcome> {
    let no = Fault::Fail {
        status: 500,
        code: "later",
    };
    let mut outcome = Outcome::default();
    for _ in 0..3 {
        let placed = customer::must_order(shop, "latte", 1, "tok_ok").await?;
        customer::until(shop, &placed, &["confirmed"]).await?;
        outcome.placed.push(placed);
    }
    let hits = shop
        .faults
        .add(Rule::on(Dependency::Gateway, "POST /v1/refunds", no).times(6));
    for placed in &outcome.placed {
        customer::cancel(shop, placed).await?;
    }
    for placed in &outcome.placed {
        customer::until(shop, placed, &["cancelled"]).await?;
    }
    outcome.hits = hits.count();
    Ok(outcome)
}
