//! Faults that no rule of a proxy makes: signals, sessions in the database, customers who behave badly.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use app::ports::stock::Stock as _;
use contract::address::Address;
use contract::queue::{NOTIFICATIONS, ORDERS, PAYMENTS};
use domain::Timestamp;
use faults::{Call, Dependency, Fault, Moment, Rule, Verdict};
use futures::future::join_all;
use haven::local::children;
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::customer::{self, Answer, Placed};
use crate::shop::Shop;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    KillStorefrontBeforeReply,
    TermStorefront,
    SlowClients,
    DoubleClick,
    OtherBody,
    StopAndContinue,
    TermWorkers,
    OutOfOrder,
    Poison,
    RollingKills,
    TerminateBackends,
    HoldLock,
    TakeConnections,
    ReadOnly,
    FlushCarts,
    EvictCart,
    HotProduct,
    EndHolds,
    KillStreamReader,
    DenyQueues,
    Decline,
    ForgedWebhooks,
    RefundLater,
    NoParameters,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub hits: u64,
    /// Orders beside those of the load.
    pub placed: Vec<Placed>,
    /// What users may not see even while it lasts.
    pub failures: Vec<String>,
    /// Mails that may have come twice.
    pub mails_twice: usize,
}

const PATIENCE: Duration = Duration::from_secs(30);
const WORKERS: [&str; 5] = ["order-worker", "payment-worker", "outbox-relay", "notification-worker", "sweeper"];

impl Act {
    pub async fn strike(self, shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
        match self {
            Act::KillStorefrontBeforeReply => kill_storefront_before_reply(shop, lasting).await,
            Act::TermStorefront => term(shop, &["storefront"]).await,
            Act::TermWorkers => term(shop, &["order-worker", "payment-worker", "notification-worker"]).await,
            Act::SlowClients => slow_clients(shop, lasting).await,
            Act::DoubleClick => double_click(shop).await,
            Act::OtherBody => other_body(shop).await,
            Act::StopAndContinue => stop_and_continue(shop).await,
            Act::OutOfOrder => messages(shop, &out_of_order()).await,
            Act::Poison => messages(shop, &poison()).await,
            Act::RollingKills => rolling_kills(shop, lasting).await,
            Act::TerminateBackends => terminate_backends(shop, lasting).await,
            Act::HoldLock => hold_lock(shop).await,
            Act::TakeConnections => take_connections(shop, lasting).await,
            Act::ReadOnly => read_only(shop, lasting).await,
            Act::FlushCarts => flush_carts(shop).await,
            Act::EvictCart => flush_carts(shop).await,
            Act::HotProduct => hot_product(shop).await,
            Act::EndHolds => end_holds(shop).await,
            Act::KillStreamReader => kill(shop, "inventory-worker").await,
            Act::DenyQueues => deny_queues(shop).await,
            Act::Decline => decline(shop).await,
            Act::ForgedWebhooks => forged_webhooks(shop).await,
            Act::RefundLater => refund_later(shop).await,
            Act::NoParameters => no_parameters(shop).await,
        }
    }
}

/// What is looked at beside the rules of a fault, while it lasts.
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

/// Without carts a customer is told so, soon; nobody gets an error that says nothing.
async fn use_cart(shop: &Shop) -> Option<String> {
    let begun = Instant::now();
    let body = json!({ "product_id": "latte", "quantity": 1 });
    let answer = shop.http.post(format!("{}/api/v1/cart/items", shop.url)).json(&body).send().await;
    let status = answer.map(|answer| answer.status());
    match status {
        Ok(StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) if begun.elapsed() < Duration::from_secs(2) => None,
        other => Some(format!("I12 a cart without Redis: {other:?} after {:.1} s", begun.elapsed().as_secs_f64())),
    }
}

async fn kill_storefront_before_reply(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let (begun, hits) = (Instant::now(), Arc::new(AtomicU64::default()));
    while begun.elapsed() < lasting {
        let (lives, hits) = (shop.lives.clone(), hits.clone());
        shop.faults.watch(Arc::new(move |call: &Call, moment: Moment<'_>| {
            let ordered = call.dependency == Dependency::Shop && call.name == "POST /api/v1/orders";
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
    Ok(Outcome { hits: hits.load(Ordering::Relaxed), ..Outcome::default() })
}

/// Asked to stop, a role finishes or hands back what it has, and leaves in time with 0.
async fn term(shop: &Shop, roles: &[&'static str]) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for role in roles {
        shop.signal(role, Signal::TERM);
        let ended = shop.start_again(role).await?;
        outcome.hits += 1;
        if ended != "exit status: 0" {
            outcome.failures.push(format!("I11 {role} was asked to stop and left with {ended}"));
        }
    }
    Ok(outcome)
}

async fn slow_clients(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&shop.surroundings.storefront).await?;
        stream.write_all(b"POST /api/v1/orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 500\r\n\r\n{").await?;
        open.push(stream);
    }
    tokio::time::sleep(lasting).await;
    Ok(Outcome { hits: open.len() as u64, ..Outcome::default() })
}

fn body(email: &str, quantity: u32) -> Value {
    json!({
        "customer": { "name": "Proof", "phone": "+1 555 010 0177", "email": email },
        "items": [{ "product_id": "latte", "quantity": quantity }],
        "payment_token": "tok_ok",
    })
}

async fn post(shop: &Shop, key: &str, body: &Value) -> Option<(StatusCode, Value)> {
    let request = shop.http.post(format!("{}/api/v1/orders", shop.url)).header("Idempotency-Key", key).json(body);
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

async fn double_click(shop: &Shop) -> anyhow::Result<Outcome> {
    let id = Uuid::now_v7();
    let (email, key) = (format!("{}@example.com", id.simple()), id.to_string());
    let order = body(&email, 1);
    let answers = join_all((0..50).map(|_| post(shop, &key, &order))).await;
    let mut outcome = Outcome { hits: answers.len() as u64, ..Outcome::default() };
    let accepted: Vec<&Value> = answers
        .iter()
        .flatten()
        .filter(|(status, _)| *status == StatusCode::ACCEPTED)
        .map(|(_, answer)| answer)
        .collect();
    let others = answers.iter().flatten().filter(|(status, _)| !matches!(status.as_u16(), 202 | 409)).count();
    if others > 0 || accepted.is_empty() || accepted.iter().any(|answer| *answer != accepted[0]) {
        outcome.failures.push(format!("I6 one key gave {answers:?}"));
    }
    outcome.placed.extend(accepted.first().map(|answer| placed_of(answer, &email)));
    Ok(outcome)
}

async fn other_body(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for _ in 0..5 {
        let id = Uuid::now_v7();
        let (email, key) = (format!("{}@example.com", id.simple()), id.to_string());
        let Some((_, first)) = post(shop, &key, &body(&email, 1)).await else { continue };
        outcome.placed.push(placed_of(&first, &email));
        outcome.hits += 1;
        let other = post(shop, &key, &body(&email, 2)).await;
        let leaks = other.as_ref().is_some_and(|(_, answer)| answer.to_string().contains(&placed_of(&first, "").order_id));
        if other.as_ref().is_none_or(|(status, _)| *status != StatusCode::UNPROCESSABLE_ENTITY) || leaks {
            outcome.failures.push(format!("I6 another body under a used key gave {other:?}"));
        }
    }
    Ok(outcome)
}

/// Beyond the lease: what it had in hand is somebody else's when it wakes.
async fn stop_and_continue(shop: &Shop) -> anyhow::Result<Outcome> {
    shop.signal("order-worker", Signal::STOP);
    tokio::time::sleep(ORDERS.lease + Duration::from_secs(3)).await;
    shop.signal("order-worker", Signal::CONT);
    Ok(Outcome { hits: 1, ..Outcome::default() })
}

fn envelope(kind: &str, order_id: &str, data: Value, schema: u16) -> String {
    json!({ "event_id": Uuid::now_v7(), "type": kind, "data": data, "schema": schema,
        "occurred_at": "2026-11-21T08:30:00Z", "order_id": order_id,
        "metadata": { "source": "prove", "version": "0" } })
    .to_string()
}

type Letter = (&'static contract::queue::Queue, fn(&str) -> String);

fn out_of_order() -> Vec<Letter> {
    vec![
        (&ORDERS, |id| envelope("ReleaseStock", id, json!({}), 1)),
        (&ORDERS, |id| envelope("PaymentRefunded", id, json!({ "payment_id": "x", "amount_minor": 1, "currency": "USD" }), 1)),
    ]
}

fn poison() -> Vec<Letter> {
    vec![
        (&ORDERS, |_| "not a message".to_owned()),
        (&PAYMENTS, |id| envelope("ChargeCard", id, json!({ "amount_minor": 1, "currency": "USD" }), 999)),
        (&PAYMENTS, |_| "{}".to_owned()),
        (&NOTIFICATIONS, |_| "\u{1F4A9}".to_owned()),
    ]
}

/// Sends what does not belong there about an order that is sold: each is parked, and changes nothing.
async fn messages(shop: &Shop, letters: &[Letter]) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let placed = customer::must_order(shop, "latte", 1, "tok_ok").await?;
    customer::until(shop, &placed, &["confirmed"]).await?;
    let before = parked(shop).await?;
    for (queue, letter) in letters {
        let url = &shop.surroundings.addresses[&Address::Queue(queue).variable()];
        let mut send = shop.aws.sqs().send_message().queue_url(url).message_body(letter(&placed.order_id));
        if queue.fifo {
            send = send.message_group_id(&placed.order_id).message_deduplication_id(Uuid::now_v7().to_string());
        }
        send.send().await?;
        outcome.hits += 1;
    }
    outcome.placed.push(placed);
    let begun = Instant::now();
    while parked(shop).await? < before + outcome.hits {
        if begun.elapsed() > PATIENCE {
            outcome.failures.push(format!("I4 {} messages were not parked", before + outcome.hits - parked(shop).await?));
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(outcome)
}

async fn parked(shop: &Shop) -> anyhow::Result<u64> {
    use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages as Waiting;
    let mut parked = 0;
    for queue in contract::queue::QUEUES {
        let url = &shop.surroundings.addresses[&Address::ParkingQueue(queue).variable()];
        let asked = shop.aws.sqs().get_queue_attributes().queue_url(url).attribute_names(Waiting).send().await?;
        parked += asked.attributes.and_then(|all| all.get(&Waiting)?.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(parked)
}

async fn kill(shop: &Shop, role: &'static str) -> anyhow::Result<Outcome> {
    shop.signal(role, Signal::KILL);
    shop.start_again(role).await?;
    // A mail that was sent by a worker that died before it wrote that down comes again.
    Ok(Outcome { hits: 1, mails_twice: usize::from(role == "notification-worker") * 10, ..Outcome::default() })
}

async fn rolling_kills(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let (begun, mut outcome) = (Instant::now(), Outcome::default());
    for role in WORKERS.iter().chain(&["storefront", "inventory-worker"]).cycle() {
        let one = kill(shop, role).await?;
        outcome.hits += one.hits;
        outcome.mails_twice += one.mails_twice;
        if begun.elapsed() > lasting && outcome.hits >= 7 {
            return Ok(outcome);
        }
    }
    Ok(outcome)
}

async fn terminate_backends(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let (begun, mut outcome) = (Instant::now(), Outcome::default());
    while begun.elapsed() < lasting {
        outcome.hits += shop.views.terminate_backends().await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    Ok(outcome)
}

/// Longer than a statement waits for a lock.
async fn hold_lock(shop: &Shop) -> anyhow::Result<Outcome> {
    shop.views.hold_lock(Duration::from_secs(5)).await?;
    Ok(Outcome { hits: 1, ..Outcome::default() })
}

async fn take_connections(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let taken = shop.views.take_connections(&shop.database_url).await?;
    // Those that are there do not notice; those that must be made again do.
    shop.views.terminate_backends().await?;
    let more = shop.views.take_connections(&shop.database_url).await?;
    tokio::time::sleep(lasting).await;
    let hits = (taken.len() + more.len()) as u64;
    Ok(Outcome { hits, ..Outcome::default() })
}

async fn read_only(shop: &Shop, lasting: Duration) -> anyhow::Result<Outcome> {
    let refused = Arc::new(AtomicU64::default());
    let counted = refused.clone();
    shop.faults.watch(Arc::new(move |call: &Call, moment: Moment<'_>| {
        if let (Dependency::Postgres, Moment::After { reply, .. }) = (call.dependency, moment)
            && reply.windows(7).any(|part| part == b"C25006\0")
        {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Go
    }));
    for setting in ["on", "off"] {
        shop.views.execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {setting}")).await?;
        shop.views.execute("SELECT pg_reload_conf()").await?;
        tokio::time::sleep(lasting).await;
    }
    Ok(Outcome { hits: refused.load(Ordering::Relaxed), ..Outcome::default() })
}

/// A cart is filled, lost, and checked out: no order comes of it, and no error without words.
async fn flush_carts(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let Some(url) = &shop.redis_url else { return Ok(outcome) };
    for _ in 0..5 {
        let item = json!({ "product_id": "latte", "quantity": 1 });
        let filled = shop.http.post(format!("{}/api/v1/cart/items", shop.url)).json(&item).send().await?;
        let cookies = filled.headers().get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
        let cookies: Vec<&str> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
        let cookie = cookies.join("; ");
        let mut redis = TcpStream::connect(url.trim_start_matches("redis://")).await?;
        redis.write_all(b"FLUSHALL\r\n").await?;
        redis.read_exact(&mut [0; 5]).await?;
        let id = Uuid::now_v7();
        let mut order = body(&format!("{}@example.com", id.simple()), 1);
        if let Some(order) = order.as_object_mut() {
            order.remove("items");
            order.insert("cart".to_owned(), json!(true));
        }
        let request = shop.http.post(format!("{}/api/v1/orders", shop.url)).header("Cookie", cookie);
        let status = request.header("Idempotency-Key", id.to_string()).json(&order).send().await?.status();
        outcome.hits += 1;
        if !matches!(status.as_u16(), 409 | 422) {
            outcome.failures.push(format!("I12 a cart that was lost gave {status}"));
        }
    }
    Ok(outcome)
}

async fn hot_product(shop: &Shop) -> anyhow::Result<Outcome> {
    const UNITS: usize = 40;
    let product = "mocha";
    customer::shelve(shop, product, UNITS as i64).await?;
    let answers = join_all((0..64).map(|_| customer::order(shop, product, 1, "tok_ok", PATIENCE))).await;
    let (mut outcome, mut sold) = (Outcome::default(), 0);
    for answer in answers {
        match answer {
            Answer::Ok(placed) => {
                customer::until(shop, &placed, &["confirmed", "failed"]).await?;
                let confirmed = customer::status(shop, &placed).await.as_deref() == Some("confirmed");
                sold += usize::from(confirmed);
                outcome.hits += u64::from(!confirmed);
                outcome.placed.push(placed);
            }
            Answer::Refused(StatusCode::CONFLICT) => outcome.hits += 1,
            other => outcome.failures.push(format!("a customer of the hot product got {other:?}")),
        }
    }
    if sold != UNITS {
        outcome.failures.push(format!("I2 I3 {UNITS} were there, and {sold} were sold"));
    }
    Ok(outcome)
}

/// While the bank is slow: paid for what is held no more, the money goes back.
async fn end_holds(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for _ in 0..3 {
        let placed = customer::must_order(shop, "latte", 1, "tok_slow").await?;
        let id = placed.order_id.parse()?;
        let begun = Instant::now();
        // The hold is made, and the card is being charged.
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.stock.release(id, Timestamp::now_utc()).await?;
        customer::until(shop, &placed, &["failed", "confirmed"]).await?;
        outcome.hits += u64::from(begun.elapsed() > Duration::from_secs(1));
        outcome.placed.push(placed);
    }
    Ok(outcome)
}

async fn deny_queues(shop: &Shop) -> anyhow::Result<Outcome> {
    let denied = Fault::Fail { status: 403, code: "AccessDeniedException" };
    let hits = shop.faults.add(Rule::on(Dependency::Aws, "sqs.ReceiveMessage", denied).of("order-worker"));
    let (begun, mut loud) = (Instant::now(), false);
    while begun.elapsed() < PATIENCE && !loud {
        loud = !shop.is_ready("order-worker").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shop.faults.clear();
    let failures = if loud { Vec::new() } else { vec!["I12 a worker without its queue says it is ready".to_owned()] };
    Ok(Outcome { hits: hits.count(), failures, ..Outcome::default() })
}

async fn decline(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for token in ["tok_declined", "tok_insufficient_funds", "tok_unknown"].iter().cycle().take(12) {
        let placed = customer::must_order(shop, "latte", 1, token).await?;
        customer::until(shop, &placed, &["failed"]).await?;
        outcome.hits += 1;
        outcome.placed.push(placed);
    }
    Ok(outcome)
}

/// Nobody but the gateway can say that money came.
async fn forged_webhooks(shop: &Shop) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let event = json!({ "id": "evt_1", "type": "charge.captured", "data": {} }).to_string();
    let now = Timestamp::now_utc().unix_timestamp();
    for signature in [None, Some(format!("t={now},v1={}", "0".repeat(64))), Some("t=0,v1=00".to_owned())] {
        let mut request = shop.http.post(format!("{}/webhooks/payment", shop.url)).body(event.clone());
        if let Some(signature) = signature {
            request = request.header("Payment-Signature", signature.clone()).header("Webhook-Signature", signature);
        }
        let status = request.header("Content-Type", "application/json").send().await?.status();
        outcome.hits += 1;
        if !status.is_client_error() {
            outcome.failures.push(format!("I12 a forged webhook gave {status}"));
        }
    }
    Ok(outcome)
}

async fn refund_later(shop: &Shop) -> anyhow::Result<Outcome> {
    let no = Fault::Fail { status: 500, code: "later" };
    let mut outcome = Outcome::default();
    for _ in 0..3 {
        let placed = customer::must_order(shop, "latte", 1, "tok_ok").await?;
        customer::until(shop, &placed, &["confirmed"]).await?;
        outcome.placed.push(placed);
    }
    let hits = shop.faults.add(Rule::on(Dependency::Gateway, "POST /v1/refunds", no).times(6));
    for placed in &outcome.placed {
        customer::cancel(shop, placed).await?;
    }
    for placed in &outcome.placed {
        customer::until(shop, placed, &["cancelled"]).await?;
    }
    outcome.hits = hits.count();
    Ok(outcome)
}

/// A role that starts without its parameters goes on with their defaults.
async fn no_parameters(shop: &Shop) -> anyhow::Result<Outcome> {
    let out = Fault::Fail { status: 500, code: "InternalServerError" };
    let hits = shop.faults.add(Rule::on(Dependency::Aws, "ssm.", out));
    shop.signal("notification-worker", Signal::TERM);
    shop.start_again("notification-worker").await?;
    let placed = customer::must_order(shop, "latte", 1, "tok_ok").await?;
    customer::until(shop, &placed, &["confirmed"]).await?;
    let begun = Instant::now();
    while hits.count() == 0 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Outcome { hits: hits.count(), placed: vec![placed], ..Outcome::default() })
}
