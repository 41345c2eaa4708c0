//! What customers and staff do, as programs of theirs would: they try again, under the same key,
//! until they have an answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::Shop;
use crate::views::of_orders;

/// A customer gives up asking after so long.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// An order as its customer knows it.
#[derive(Debug, Clone)]
pub struct Placed {
    pub order_id: String,
    /// Nobody else has this address.
    pub email: String,
    pub cancel: String,
}

/// What came of a try to order: as in a Jepsen history.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It must exist once.
    Ok(Placed),
    /// It must not exist.
    Refused(StatusCode),
    /// It may exist once, or not.
    Unknown { email: String },
}

/// Orders, and asks again under the same key while the answer is none. `tries` bounds it.
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
            // Another try of the same key is in hand, or the shop is not well: neither is an
            // answer. Sold out is one, and names the items.
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

/// As [`order`], for a flow in which it must be accepted.
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

/// Calls an order off until the shop has taken note.
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

/// The order's status now, by the contract's view: to look does not load the shop.
pub async fn status(shop: &Shop, placed: &Placed) -> Option<String> {
    let of = of_orders(std::slice::from_ref(&placed.order_id));
    // A database that does not answer is a fault like any other: asked again.
    shop.views
        .orders(&of)
        .await
        .ok()?
        .pop()
        .map(|order| order.status)
}

/// Waits until the order has one of the statuses.
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

/// Moves an order as staff, who look again when they were too slow and do not mind when it was done
/// already.
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

/// Puts so many units of a product on the shelf, and no more.
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
