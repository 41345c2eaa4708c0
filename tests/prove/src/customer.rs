//! The requests of customers and staff. As a client program would, they repeat a request with the
//! same idempotency key until they get a response.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::Shop;
use crate::views::of_orders;

/// How long a client repeats a request before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// An order as its customer knows it.
#[derive(Debug, Clone)]
pub struct Placed {
    pub order_id: String,
    /// An address that no other order has.
    pub email: String,
    pub cancel: String,
}

/// The result of an attempt to order, as in a Jepsen history.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The order must exist once.
    Ok(Placed),
    /// The order must not exist.
    Refused(StatusCode),
    /// The order may exist, but only once.
    Unknown { email: String },
}

/// Places an order. Repeats the request with the same idempotency key for at most `patience`, until
/// the response is final.
pub async fn order(
    shop: &Shop,
    product: &str,
    quantity: u32,
    token: &str,
    patience: Duration,
) -> Answer {
    let id = Uuid::now_v7();
    let email = format!("{}@example.com", id.simple());
    let body = json!({
        "customer": { "name": "Proof", "phone": "+1 555 010 0177", "email": email },
        "items": [{ "product_id": product, "quantity": quantity }],
        "payment_token": token,
    });
    let begun = Instant::now();
    loop {
        let request = shop
            .http
            .post(format!("{}/api/v1/orders", shop.url))
            .header("Idempotency-Key", id.to_string());
        if let Ok(answer) = request.json(&body).send().await {
            let (status, body) = (answer.status(), answer.json::<Value>().await);
            if let (StatusCode::ACCEPTED, Ok(body)) = (status, &body) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (order_id, links) = (text(&body["order_id"]), &body["links"]);
                return Answer::Ok(Placed {
                    order_id,
                    email,
                    cancel: text(&links["cancel"]),
                });
            }
            // Another request with the key is in flight, or the shop is unavailable: neither is
            // final. Sold out is final, and names the items.
            let sold_out = body.is_ok_and(|body| body["errors"][0]["field"] == "items");
            let later =
                status.is_server_error() || matches!(status.as_u16(), 202 | 408 | 409 | 425 | 429);
            if sold_out || !later {
                return Answer::Refused(status);
            }
        }
        if begun.elapsed() > patience {
            return Answer::Unknown { email };
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// Places an order as [`order`] does.
///
/// # Errors
/// Returns an error if the order is not accepted.
pub async fn must_order(
    shop: &Shop,
    product: &str,
    quantity: u32,
    token: &str,
) -> anyhow::Result<Placed> {
    match order(shop, product, quantity, token, PATIENCE).await {
        Answer::Ok(placed) => Ok(placed),
        other => bail!("an order of {product} was not accepted: {other:?}"),
    }
}

/// Cancels an order. Repeats the request until the shop accepts the cancellation.
///
/// # Errors
/// Returns an error if the shop does not accept it in time.
pub async fn cancel(shop: &Shop, placed: &Placed) -> anyhow::Result<()> {
    ask(
        shop,
        Method::POST,
        &placed.cancel,
        &[],
        None,
        StatusCode::ACCEPTED,
    )
    .await
    .map(|_| ())
}

/// Returns the order's current status from the contract's view, so that reading it puts no load on
/// the shop.
pub async fn status(shop: &Shop, placed: &Placed) -> Option<String> {
    let of = of_orders(std::slice::from_ref(&placed.order_id));
    // The database can be unavailable because of a fault. The caller asks again.
    shop.views
        .orders(&of)
        .await
        .ok()?
        .pop()
        .map(|order| order.status)
}

/// Waits until the order has one of the statuses.
///
/// # Errors
/// Returns an error if it has none of them after 60 seconds.
pub async fn until(shop: &Shop, placed: &Placed, statuses: &[&str]) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let now = status(shop, placed).await;
        if now.as_deref().is_some_and(|now| statuses.contains(&now)) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!(
                "I11 order {} is {now:?} after {} s, not {statuses:?}",
                placed.order_id,
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Moves an order to a status as staff. Reads the order again after a conflict, and succeeds if the
/// order had that status before.
///
/// # Errors
/// Returns an error if the order has not moved after 60 seconds.
pub async fn staff_sets(shop: &Shop, placed: &Placed, to: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let seen = as_staff(
            shop,
            Method::GET,
            &format!("/api/v1/orders/{}", placed.order_id),
            &[],
            None,
        )
        .await;
        if let Some((_, order)) = seen {
            let done = order["status"] == to
                || order["history"].as_array().is_some_and(|history| {
                    history.iter().any(|entry| {
                        entry["to_status"] == to
                            || (to == "cancelled" && entry["step"] == "compensating")
                    })
                });
            if done {
                return Ok(());
            }
            let version = order["version"].to_string();
            let path = format!("/api/v1/admin/orders/{}/status", placed.order_id);
            let moved = as_staff(
                shop,
                Method::PUT,
                &path,
                &[("If-Match", version)],
                Some(json!({ "status": to })),
            )
            .await;
            if moved.is_some_and(|(status, _)| status.is_success()) {
                return Ok(());
            }
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    bail!("staff could not set order {} to {to}", placed.order_id)
}

/// Restocks or adjusts a product so that exactly `units` are available.
///
/// # Errors
/// Returns an error if the inventory cannot be read or changed.
pub async fn shelve(shop: &Shop, product: &str, units: i64) -> anyhow::Result<()> {
    let inventory = ask(
        shop,
        Method::GET,
        "/api/v1/admin/inventory",
        &[],
        None,
        StatusCode::OK,
    )
    .await?;
    let products = inventory["products"].as_array().context("no inventory")?;
    let there = products
        .iter()
        .find(|known| known["product_id"] == product)
        .context("no such product")?;
    let change = units - there["available"].as_i64().context("no counter")?;
    let (act, field) = if change > 0 {
        ("restock", "quantity")
    } else {
        ("adjust", "change")
    };
    if change != 0 {
        let path = format!("/api/v1/admin/inventory/{product}/{act}");
        let mut body = json!({ "reason": "a proof" });
        body[field] = json!(change);
        ask(shop, Method::POST, &path, &[], Some(body), StatusCode::OK).await?;
    }
    Ok(())
}

async fn ask(
    shop: &Shop,
    method: Method,
    path: &str,
    headers: &[(&str, String)],
    body: Option<Value>,
    wanted: StatusCode,
) -> anyhow::Result<Value> {
    let (begun, mut last) = (Instant::now(), None);
    while begun.elapsed() < PATIENCE {
        if let Some((status, answer)) =
            as_staff(shop, method.clone(), path, headers, body.clone()).await
        {
            if status == wanted {
                return Ok(answer);
            }
            last = Some((status, answer));
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    bail!("{method} {path} gave {last:?}")
}

async fn as_staff(
    shop: &Shop,
    method: Method,
    path: &str,
    headers: &[(&str, String)],
    body: Option<Value>,
) -> Option<(StatusCode, Value)> {
    let mut request = shop
        .http
        .request(method, format!("{}{path}", shop.url))
        .bearer_auth(&shop.staff_token);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.ok()?;
    let status = answer.status();
    Some((status, answer.json().await.unwrap_or_default()))
}
