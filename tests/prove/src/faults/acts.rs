//! Faults that need more than rules of a fault proxy: signals, database sessions, and clients that
//! misbehave.

pub mod clocks;
pub mod customers;
pub mod database;
pub mod disaster;
pub mod limits;
pub mod queues;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use contract::queue::ORDERS;
use faults::{Call, Dependency, Fault, Moment, Rule, Verdict};
use futures::future::LocalBoxFuture;
use platform::children;
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::json;

use crate::customer::{self, Placed};
use crate::shop::Shop;

/// An action that causes a fault and waits for its end.
pub type Act = for<'a> fn(&'a Shop, Duration) -> LocalBoxFuture<'a, anyhow::Result<Outcome>>;

/// The result of an action.
#[derive(Debug, Default)]
pub struct Outcome {
    pub hits: u64,
    /// Orders that were placed in addition to those of the load.
    pub placed: Vec<Placed>,
    /// Errors that users must not see even during the fault.
    pub failures: Vec<String>,
    /// Number of messages that had to become dead letters.
    pub parked: u64,
    /// Number of mails that may have been sent twice.
    pub mails_twice: usize,
}

/// How long to wait for an expected effect.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds. Returns false if it does not hold within the time limit.
///
/// # Errors
/// Returns an error if the condition cannot be checked.
pub async fn until(
    within: Duration,
    so: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let begun = Instant::now();
    while !so().await? {
        if begun.elapsed() > within {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}

const WORKERS: [&str; 5] = [
    "order-worker",
    "payment-worker",
    "outbox-relay",
    "notification-worker",
    "sweeper",
];

/// Runs the checks that accompany the rules of a fault while it lasts.
///
/// # Errors
/// Never. The result type is that of an [`Act`].
pub async fn beside(shop: &Shop, id: &str, lasting: Duration) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let (begun, redis) = (Instant::now(), id.starts_with('R'));
    while begun.elapsed() < lasting {
        if redis && let Some(why) = use_cart(shop).await {
            outcome.failures.push(why);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(outcome)
}

/// Adds to a cart while Redis is unavailable. Returns a violation unless the response is 200 or 503
/// and arrives within 2 seconds.
async fn use_cart(shop: &Shop) -> Option<String> {
    let begun = Instant::now();
    let body = json!({ "product_id": "latte", "quantity": 1 });
    let answer = shop
        .http
        .post(format!("{}/api/v1/cart/items", shop.url))
        .json(&body)
        .send()
        .await;
    let status = answer.map(|answer| answer.status());
    match status {
        Ok(StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE)
            if begun.elapsed() < Duration::from_secs(2) =>
        {
            None
        }
        other => Some(format!(
            "I12 a cart without Redis: {other:?} after {:.1} s",
            begun.elapsed().as_secs_f64()
        )),
    }
}

/// Kills the storefront whenever it has committed an order and not answered yet.
pub async fn kill_storefront_before_reply(
    shop: &Shop,
    lasting: Duration,
) -> anyhow::Result<Outcome> {
    let (begun, hits) = (Instant::now(), Arc::new(AtomicU64::default()));
    while begun.elapsed() < lasting {
        let (lives, hits) = (shop.lives.clone(), hits.clone());
        shop.faults
            .watch(Arc::new(move |call: &Call, moment: Moment<'_>| {
                let ordered =
                    call.dependency == Dependency::Shop && call.name == "POST /api/v1/orders";
                if !ordered || matches!(moment, Moment::Before) {
                    return Verdict::Go;
                }
                let mut lives = lives.lock().unwrap_or_else(PoisonError::into_inner);
                match lives.get_mut("storefront").filter(|life| !life.dead) {
                    Some(life) => {
                        children::signal(life.pid, Signal::KILL);
                        life.dead = true;
                        hits.fetch_add(1, Ordering::Relaxed);
                        Verdict::Cut
                    }
                    None => Verdict::Go,
                }
            }));
        tokio::time::sleep(Duration::from_millis(500)).await;
        shop.revive()?;
    }
    shop.faults.unwatch();
    shop.revive()?;
    shop.until_ready("storefront").await?;
    Ok(Outcome {
        hits: hits.load(Ordering::Relaxed),
        ..Outcome::default()
    })
}

/// Stops roles with SIGTERM. A role must finish or hand back its messages and exit with 0 within
/// its drain.
pub async fn term(shop: &Shop, roles: &[&'static str]) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for role in roles {
        shop.signal(role, Signal::TERM);
        let ended = shop.start_again(role, &[]).await?;
        outcome.hits += 1;
        if ended != "exit status: 0" {
            outcome.failures.push(format!(
                "I11 {role} was asked to stop and left with {ended}"
            ));
        }
    }
    Ok(outcome)
}

/// Stops a worker for longer than its lease. Its messages have other owners when it continues.
pub async fn stop_and_continue(shop: &Shop) -> anyhow::Result<Outcome> {
    shop.signal("order-worker", Signal::STOP);
    tokio::time::sleep(ORDERS.lease + Duration::from_secs(3)).await;
    shop.signal("order-worker", Signal::CONT);
    Ok(Outcome {
        hits: 1,
        ..Outcome::default()
    })
}

/// Kills a role and starts it again.
pub async fn kill(shop: &Shop, role: &'static str) -> anyhow::Result<Outcome> {
    shop.signal(role, Signal::KILL);
    shop.start_again(role, &[]).await?;
    // A worker that died before it recorded a sent mail sends the mail again.
    Ok(Outcome {
        hits: 1,
        mails_twice: usize::from(role == "notification-worker") * 10,
        ..Outcome::default()
    })
}

/// Kills the roles one after the other.
pub async fn rolling_kills(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let (begun, mut outcome) = (Instant::now(), Outcome::default());
    for role in WORKERS
        .iter()
        .chain(&["storefront", "inventory-worker"])
        .cycle()
    {
        let one = kill(shop, role).await?;
        outcome.hits += one.hits;
        outcome.mails_twice += one.mails_twice;
        if begun.elapsed() > lasting && outcome.hits >= 7 {
            return Ok(outcome);
        }
    }
    Ok(outcome)
}

/// Makes reads of stock return old values. A sale reads stock only for a message that was handled
/// before, so messages are delivered twice meanwhile. Staff read the inventory as well.
pub async fn stale_reads(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    shop.faults
        .add(Rule::on(Dependency::Aws, "sqs.ReceiveMessage", Fault::Replay).chance(0.3));
    let stale = ["GetItem", "Scan", "Query"].map(|operation| {
        let name = format!("dynamodb.{operation}");
        shop.faults
            .add(Rule::on(Dependency::Aws, &name, Fault::Replay).chance(0.5))
    });
    let begun = Instant::now();
    while begun.elapsed() < lasting {
        let inventory = shop
            .http
            .get(format!("{}/api/v1/admin/inventory", shop.url))
            .bearer_auth(&shop.staff_token);
        let _ = inventory.send().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Outcome {
        hits: stale.iter().map(faults::Hits::count).sum(),
        ..Outcome::default()
    })
}

/// Starts a role while Parameter Store fails. The role must work with default values.
pub async fn no_parameters(shop: &Shop) -> anyhow::Result<Outcome> {
    let out = Fault::Fail {
        status: 500,
        code: "InternalServerError",
    };
    let hits = shop.faults.add(Rule::on(Dependency::Aws, "ssm.", out));
    shop.signal("notification-worker", Signal::TERM);
    shop.start_again("notification-worker", &[]).await?;
    let placed = customer::must_order(shop, "latte", 1, "tok_ok").await?;
    customer::until(shop, &placed, &["confirmed"]).await?;
    until(PATIENCE, async || Ok(hits.count() > 0)).await?;
    Ok(Outcome {
        hits: hits.count(),
        placed: vec![placed],
        ..Outcome::default()
    })
}
