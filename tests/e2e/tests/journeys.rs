//! Customer journeys through the running shop. Every role is a real process, and all calls between
//! them use the protocols of AWS.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adapter_aws::{Datum, DynamoStock, Kind, MetricSink, MetricSource};
use app::ports::stock::{Confirmed, Reserved, Stock as _};
use contract::address::Address;
use contract::metric::Metric;
use contract::queue::{NOTIFICATIONS, ORDERS, PAYMENTS};
use contract::topic::{STAFF_ALERTS, SYSTEM_ALERTS};
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::{OrderId, ProductId};
use e2e::{SETTLED_WITHIN, World, order};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_from_the_menu_to_the_pickup() {
    let mut world = World::open(&[]).await;
    let menu = world.get("/api/v1/menu").await.body;
    let products = menu["products"].as_array().expect("products");
    let availability = |code: &str| {
        products
            .iter()
            .filter(|product| product["availability"] == code)
            .count()
    };
    assert!(
        products.len() >= 15 && availability("low") >= 2 && availability("out") == 1,
        "{menu:#}"
    );

    let accepted = world.order("flat-white", 2, "tok_ok").await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
    let confirmed = world.until(&accepted, &["confirmed"]).await;
    let id = confirmed["order_id"].as_str().expect("an id").to_owned();
    for (status, version) in [("preparing", 6), ("ready", 7), ("completed", 8)] {
        let moved = world.staff_sets(&id, status).await;
        assert_eq!(
            (moved.status, &moved.body["status"], &moved.body["version"]),
            (StatusCode::OK, &json!(status), &json!(version))
        );
    }
    let history = world.until(&accepted, &["completed"]).await["history"]
        .as_array()
        .cloned()
        .expect("a history");
    check_history(&history);

    let stock = world.stock_of("flat-white").await;
    assert_eq!(
        (&stock["sold"], &stock["reserved"]),
        (&json!(2), &json!(0)),
        "{stock:#}"
    );
    let ledger = world.ledger().await;
    assert_eq!(ledger.len(), 1, "{ledger:#?}");
    assert_eq!(
        (&ledger[0]["reference"], &ledger[0]["amount_minor"]),
        (&json!(id), &confirmed["total_minor"])
    );
    // The order changed its status faster than mails are sent, so the mails may be in either order.
    let mut subjects = mails_of(&world, "ana@example.com", 2).await;
    subjects.sort();
    assert!(
        subjects[0].contains("confirmed") && subjects[1].contains("ready"),
        "{subjects:?}"
    );

    // Staff get an alert for each of the three products with low stock and the one that is sold
    // out.
    assert_eq!(
        mails_of(&world, "staff@brewhaven.example", 4).await.len(),
        4
    );

    // A stop and a start on the same state directory lose nothing.
    world.reopen(&[]).await;
    assert_eq!(
        world.until(&accepted, &["completed"]).await["order_id"],
        json!(id)
    );
    assert_eq!(world.stock_of("flat-white").await["sold"], json!(2));
    world
        .until(
            &world.order("flat-white", 1, "tok_ok").await,
            &["confirmed"],
        )
        .await;
    // The stream's records are gone, so the whole table was read. Staff get no alert a second time.
    // (The local AWS empties its mailbox when it stops.)
    let begun = Instant::now();
    while !world
        .metrics("inventory-worker")
        .await
        .contains("brewhaven_stream_rebuilds_total 1")
    {
        assert!(begun.elapsed() < SETTLED_WITHIN, "the table was not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        world
            .mails()
            .await
            .iter()
            .all(|(to, _)| !to.starts_with("staff@"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_fulfilled_is_compensated() {
    let world = World::open(&[]).await;
    let before = world.stock_of("espresso").await;

    let declined = world
        .until(
            &world.order("espresso", 1, "tok_declined").await,
            &["failed"],
        )
        .await;
    assert!(
        declined["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("declined")),
        "{declined:#}"
    );
    check_history(declined["history"].as_array().expect("a history"));

    let sold_out = world.order("almond-tart", 1, "tok_ok").await;
    assert_eq!(
        (sold_out.status, sold_out.fields()),
        (StatusCode::CONFLICT, vec!["items"])
    );

    // A paid order is cancelled. The refund comes before the status `cancelled`.
    let accepted = world.order("espresso", 3, "tok_ok").await;
    world.until(&accepted, &["confirmed"]).await;
    let cancel = accepted.body["links"]["cancel"].as_str().expect("a link");
    for _ in 0..2 {
        assert_eq!(
            world.ask(Method::POST, cancel, &[], None).await.status,
            StatusCode::ACCEPTED,
            "twice is no error"
        );
    }
    let cancelled = world.until(&accepted, &["cancelled"]).await;
    check_history(cancelled["history"].as_array().expect("a history"));
    let net: i64 = world.ledger().await.iter().map(net).sum();
    assert_eq!(net, 0, "nothing is kept");

    // The gateway charges but its reply is lost. The worker asks for the result and charges once.
    let accepted = world.order("espresso", 1, "tok_timeout").await;
    world.until(&accepted, &["confirmed"]).await;
    let captured: Vec<_> = world
        .ledger()
        .await
        .into_iter()
        .filter(|entry| {
            entry["reference"] == accepted.body["order_id"] && entry["kind"] == "charge"
        })
        .collect();
    assert_eq!(captured.len(), 1, "{captured:#?}");

    let after = world.stock_of("espresso").await;
    assert_eq!(
        after["available"],
        json!(before["available"].as_i64().expect("a number") - 1)
    );
    assert_eq!((&after["reserved"], &after["sold"]), (&json!(0), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_behave_the_same_on_postgresql_and_redis() {
    if !servers::has("postgres") || !servers::has("redis") {
        return;
    }
    let mut world = World::open(&["--postgres", "--redis"]).await;
    assert!(
        world.facts["database_url"]
            .as_str()
            .is_some_and(|url| url.starts_with("postgres://"))
    );
    let cart = world
        .ask(
            Method::POST,
            "/api/v1/cart/items",
            &[],
            Some(&json!({ "product_id": "latte", "quantity": 2 })),
        )
        .await;
    assert_eq!(
        (cart.status, &cart.body["units"]),
        (StatusCode::OK, &json!(2)),
        "{cart:?}"
    );

    let key = Uuid::now_v7().to_string();
    let (headers, body) = (
        [("Idempotency-Key", key.as_str())],
        order("espresso", 1, "tok_ok"),
    );
    let answers =
        join_all((0..50).map(|_| world.ask(Method::POST, "/api/v1/orders", &headers, Some(&body))))
            .await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == StatusCode::ACCEPTED && answer.body == answers[0].body),
        "{answers:?}"
    );

    let mut accepted = Vec::new();
    for victim in ["order-worker", "payment-worker", "outbox-relay"] {
        for _ in 0..5 {
            accepted.push(world.order("espresso", 1, "tok_ok").await);
        }
        world.kill(victim);
    }
    for answer in accepted.iter().chain(&answers[..1]) {
        let order = world.until(answer, &["confirmed"]).await;
        check_history(order["history"].as_array().expect("a history"));
    }
    world
        .until(
            &world.order("espresso", 1, "tok_declined").await,
            &["failed"],
        )
        .await;
    let stock = world.stock_of("espresso").await;
    assert_eq!(
        (&stock["sold"], &stock["reserved"]),
        (&json!(16), &json!(0))
    );
    assert_eq!(
        world
            .ledger()
            .await
            .iter()
            .filter(|entry| entry["status"] == "captured")
            .count(),
        16
    );

    let left = json!({ "change": 100 - stock["available"].as_i64().expect("a number"), "reason": "a race for a hundred" });
    world
        .as_staff(
            Method::POST,
            "/api/v1/admin/inventory/espresso/adjust",
            &[],
            Some(&left),
        )
        .await;
    // 64 customers with two attempts each.
    let customer = || async {
        [
            world.order("espresso", 1, "tok_ok").await,
            world.order("espresso", 1, "tok_ok").await,
        ]
    };
    let placed = join_all((0..64).map(|_| customer())).await;
    let mut sold = 0;
    for answer in placed
        .iter()
        .flatten()
        .filter(|answer| answer.status == StatusCode::ACCEPTED)
    {
        sold +=
            i64::from(world.until(answer, &["confirmed", "failed"]).await["status"] == "confirmed");
    }
    let after = world.stock_of("espresso").await;
    assert_eq!(
        (sold, &after["available"], &after["reserved"]),
        (100, &json!(0), &json!(0)),
        "{after:#}"
    );

    world.reopen(&["--postgres", "--redis"]).await;
    world.until(&accepted[0], &["confirmed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_order_however_often_it_is_sent() {
    let world = World::open(&[]).await;
    let key = Uuid::now_v7().to_string();
    let (headers, body) = (
        [("Idempotency-Key", key.as_str())],
        order("espresso", 1, "tok_ok"),
    );
    let answers =
        join_all((0..50).map(|_| world.ask(Method::POST, "/api/v1/orders", &headers, Some(&body))))
            .await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == StatusCode::ACCEPTED && answer.body == answers[0].body)
    );
    world.until(&answers[0], &["confirmed"]).await;
    assert_eq!(world.stock_of("espresso").await["sold"], json!(1));
    let other = world
        .ask(
            Method::POST,
            "/api/v1/orders",
            &headers,
            Some(&order("espresso", 2, "tok_ok")),
        )
        .await;
    assert_eq!(
        (other.status, other.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["Idempotency-Key"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_the_field_named_and_nothing_breaks() {
    let world = World::open(&[]).await;
    let good = order("espresso", 1, "tok_ok");
    let with = |path: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(path).expect("a path") = value;
        body
    };
    let mut unknown = good.clone();
    unknown["is_admin"] = json!(true);
    let mut priced = good.clone();
    priced["items"][0]["price_minor"] = json!(1);
    let cases = [
        (with("/customer/name", json!("a\u{0}b")), "customer.name"),
        (with("/items/0/quantity", json!(0)), "items[0].quantity"),
        (with("/items/0/quantity", json!(100)), "items[0].quantity"),
        (with("/items/0/quantity", json!(-1)), "items[0].quantity"),
        (with("/items/0/quantity", json!(1.5)), "items[0].quantity"),
        (with("/items/0/quantity", json!("2")), "items[0].quantity"),
        (
            with("/items/0/product_id", json!("no-such-thing")),
            "items[0].product_id",
        ),
        (
            with("/items/0/product_id", json!("../x")),
            "items[0].product_id",
        ),
        (with("/items", json!([])), "items"),
        (
            with("/payment_token", json!("4111111111111111")),
            "payment_token",
        ),
        (
            with("/customer/email", json!("a@b\r\nBcc: c@d.e")),
            "customer.email",
        ),
        (unknown, "is_admin"),
        (priced, "items[0].price_minor"),
        (json!({}), "customer"),
    ];
    for (body, field) in cases {
        let key = Uuid::now_v7().to_string();
        let answer = world
            .ask(
                Method::POST,
                "/api/v1/orders",
                &[("Idempotency-Key", &key)],
                Some(&body),
            )
            .await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{field}: {answer:?}"
        );
        assert!(
            answer.fields().contains(&field),
            "{field} is not named: {answer:?}"
        );
    }
    let no_key = world
        .ask(Method::POST, "/api/v1/orders", &[], Some(&good))
        .await;
    assert_eq!(
        (no_key.status, no_key.fields()),
        (StatusCode::BAD_REQUEST, vec!["Idempotency-Key"])
    );

    let url = format!(
        "{}/api/v1/orders",
        world.facts["storefront"].as_str().expect("an address")
    );
    let raw = async |kind: &str, body: String| {
        let request = world
            .http
            .post(&url)
            .header("Idempotency-Key", "raw")
            .header("Content-Type", kind)
            .body(body);
        request.send().await.expect("an answer").status()
    };
    assert_eq!(
        raw("application/json", "x".repeat(1_000_000)).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(
        raw("text/plain", good.to_string()).await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(
        raw("application/json", "{".to_owned()).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        raw("application/json", "[".repeat(100_000)[..60_000].to_owned()).await,
        StatusCode::BAD_REQUEST
    );

    // Another customer's order looks the same as one that does not exist.
    let accepted = world.order("espresso", 1, "tok_ok").await;
    let id = accepted.body["order_id"].as_str().expect("an id");
    let foreign = world.get(&format!("/api/v1/orders/{id}")).await;
    let unknown = world
        .get(&format!("/api/v1/orders/{}", Uuid::now_v7()))
        .await;
    assert_eq!(
        (foreign.status, foreign.body["detail"].clone()),
        (StatusCode::NOT_FOUND, unknown.body["detail"].clone())
    );
    assert_eq!(
        world.get("/api/v1/admin/orders").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_role_loses_nothing_while_orders_flow() {
    let world = World::open(&[]).await;
    let victims = [
        "order-worker",
        "payment-worker",
        "outbox-relay",
        "notification-worker",
        "sweeper",
        "inventory-worker",
    ];
    let mut accepted = Vec::new();
    for (n, victim) in victims.iter().chain(["storefront"].iter()).enumerate() {
        for _ in 0..5 {
            accepted.push(
                world
                    .order(if n % 2 == 0 { "latte" } else { "espresso" }, 1, "tok_ok")
                    .await,
            );
        }
        world.kill(victim);
        if *victim == "storefront" {
            // Only clients of the storefront can notice its restart.
            let begun = Instant::now();
            while world
                .http
                .get(world.facts["storefront"].as_str().expect("an address"))
                .send()
                .await
                .is_err()
            {
                assert!(
                    begun.elapsed() < Duration::from_secs(10),
                    "it is not started again"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    for answer in &accepted {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let order = world.until(answer, &["confirmed"]).await;
        check_history(order["history"].as_array().expect("a history"));
    }
    let mut charges: BTreeMap<String, i64> = BTreeMap::new();
    for entry in world.ledger().await {
        *charges
            .entry(entry["reference"].as_str().expect("an order").to_owned())
            .or_default() += 1;
    }
    assert_eq!(charges.len(), accepted.len());
    assert!(
        charges.values().all(|count| *count == 1),
        "charged once each: {charges:?}"
    );
    let (latte, espresso) = (
        world.stock_of("latte").await,
        world.stock_of("espresso").await,
    );
    let sold =
        latte["sold"].as_i64().unwrap_or_default() + espresso["sold"].as_i64().unwrap_or_default();
    assert_eq!(
        (sold, &latte["reserved"], &espresso["reserved"]),
        (accepted.len() as i64, &json!(0), &json!(0))
    );
    let mails = mails_of(&world, "ana@example.com", accepted.len()).await;
    assert_eq!(mails.len(), accepted.len(), "one confirmation an order");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_become_dead_letters_and_duplicates_change_nothing() {
    let world = World::open(&[]).await;
    let accepted = world.order("espresso", 1, "tok_ok").await;
    let confirmed = world.until(&accepted, &["confirmed"]).await;
    let id = confirmed["order_id"].as_str().expect("an id").to_owned();
    let addresses = world.addresses().await;
    let sqs = world.aws().sqs();
    let envelope = |kind: &str, data: Value, schema: u16| {
        json!({ "event_id": Uuid::now_v7(), "type": kind, "data": data, "schema": schema,
            "occurred_at": "2026-11-21T08:30:00Z", "order_id": id, "metadata": { "source": "test", "version": "0" } })
        .to_string()
    };
    // Five kinds of messages: a repeat with a new id, one from an earlier state, one out of order,
    // one with a future schema version, and text that is no message.
    let total = confirmed["total_minor"].clone();
    let charge = json!({ "amount_minor": total, "currency": "USD" });
    let paid = json!({ "payment_id": "x", "amount_minor": total, "currency": "USD", "status": "captured" });
    let told = json!({ "order_number": "A-000", "to": "completed", "step": "done" });
    let bodies = [
        (&ORDERS, envelope("ReserveStock", json!({}), 1), false),
        (&ORDERS, envelope("PaymentCompleted", paid, 1), false),
        (&ORDERS, envelope("ReleaseStock", json!({}), 1), true),
        (&ORDERS, "not a message".to_owned(), true),
        (&PAYMENTS, envelope("ChargeCard", charge, 1), false),
        (
            &PAYMENTS,
            envelope(
                "ChargeCard",
                json!({ "amount_minor": 1, "currency": "USD" }),
                999,
            ),
            true,
        ),
        (&PAYMENTS, "{}".to_owned(), true),
        (
            &NOTIFICATIONS,
            envelope("OrderStatusChanged", told, 1),
            true,
        ),
        (&NOTIFICATIONS, "\u{1F4A9}".to_owned(), true),
    ];
    let parked_of = bodies.iter().filter(|(_, _, parked)| *parked).count() as u64;
    for (queue, body, _) in &bodies {
        let mut send = sqs
            .send_message()
            .queue_url(&addresses[&Address::Queue(queue).variable()])
            .message_body(body);
        if queue.fifo {
            send = send
                .message_group_id(&id)
                .message_deduplication_id(Uuid::now_v7().to_string());
        }
        send.send().await.expect("sent");
    }
    let begun = Instant::now();
    loop {
        let (waiting, in_hand, parked) = world.messages().await;
        if (waiting, in_hand) == (0, 0) && parked == parked_of {
            break;
        }
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "{waiting} wait, {in_hand} are in hand, {parked} of {parked_of} parked"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for queue in [&ORDERS, &PAYMENTS, &NOTIFICATIONS] {
        let url = &addresses[&Address::ParkingQueue(queue).variable()];
        let received = sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .send()
            .await
            .expect("an answer");
        for message in received.messages() {
            let reason = message
                .message_attributes()
                .and_then(|all| all.get(contract::PARK_REASON_ATTRIBUTE));
            assert!(reason.is_some(), "parked without a reason: {message:?}");
        }
    }
    assert_eq!(
        world.until(&accepted, &["confirmed"]).await["version"],
        confirmed["version"]
    );
    assert_eq!(world.ledger().await.len(), 1);
    assert_eq!(world.stock_of("espresso").await["sold"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_race_for_a_hundred_units_and_exactly_a_hundred_are_sold() {
    let world = World::open(&[]).await;
    let (stock, espresso) = (
        world.stock().await,
        ProductId::parse("espresso").expect("a slug"),
    );
    let there = world.stock_of("espresso").await["available"]
        .as_i64()
        .expect("a number");
    let leave = json!({ "change": 100 - there, "reason": "a race for a hundred" });
    let adjusted = world
        .as_staff(
            Method::POST,
            "/api/v1/admin/inventory/espresso/adjust",
            &[],
            Some(&leave),
        )
        .await;
    assert_eq!(
        (adjusted.status, &adjusted.body["available"]),
        (StatusCode::OK, &json!(100)),
        "{adjusted:?}"
    );

    // Directly on the table: 600 attempts by 64 clients, one sixth of them repeats.
    let ids: Vec<OrderId> = (0..500).map(|_| OrderId(Uuid::now_v7())).collect();
    let tries: Vec<OrderId> = ids.iter().chain(&ids[..100]).copied().collect();
    let clients = tries
        .chunks(tries.len().div_ceil(64))
        .map(|mine| reserve_all(&stock, &espresso, mine));
    let held: Vec<OrderId> = join_all(clients).await.into_iter().flatten().collect();
    let mut unique = held.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 100, "exactly what was there is held");
    let now = Timestamp::now_utc();
    for (n, id) in unique.iter().enumerate() {
        if n % 2 == 0 {
            assert_eq!(stock.confirm(*id, now).await, Ok(Confirmed::Sold));
        } else {
            stock.release(*id, now).await.expect("released");
        }
    }
    let after = world.stock_of("espresso").await;
    assert_eq!(
        (&after["available"], &after["reserved"], &after["sold"]),
        (&json!(50), &json!(0), &json!(50))
    );

    // Through the storefront: 64 customers for the last 50 units.
    let placed = join_all((0..64).map(|_| world.order("espresso", 1, "tok_ok"))).await;
    let mut sold = 0;
    for answer in placed
        .iter()
        .filter(|answer| answer.status == StatusCode::ACCEPTED)
    {
        let order = world.until(answer, &["confirmed", "failed"]).await;
        sold += i64::from(order["status"] == "confirmed");
    }
    let after = world.stock_of("espresso").await;
    assert_eq!(sold, 50, "{after:#}");
    assert_eq!(
        (&after["available"], &after["reserved"], &after["sold"]),
        (&json!(0), &json!(0), &json!(100))
    );
}

/// Covers two paths: from the event bus over a rule and a topic to staff, and from a metric over an
/// alarm and a topic to the person on call.
#[tokio::test(flavor = "multi_thread")]
async fn staff_are_notified_of_a_failed_order_and_the_person_on_call_of_an_alarm() {
    let world = World::open(&[]).await;
    let addresses = world.addresses().await;
    let address = |topic| addresses[&Address::Topic(topic).variable()].clone();
    let staff = world.listen(&address(&STAFF_ALERTS)).await;
    let on_call = world.listen(&address(&SYSTEM_ALERTS)).await;

    let failed = world.order("espresso", 1, "tok_declined").await;
    world.until(&failed, &["failed"]).await;
    let confirmed = world.order("espresso", 1, "tok_ok").await;
    world.until(&confirmed, &["confirmed"]).await;
    let heard = world.heard(&staff, 1).await;
    let number = failed.body["order_number"].as_str().expect("a number");
    assert!(
        heard.len() == 1 && heard[0].contains(number) && heard[0].contains("failed"),
        "{heard:?}"
    );

    // The local AWS evaluates an alarm at each data point. This test covers the wiring and not the
    // threshold.
    let lag = Datum {
        metric: Metric::OutboxLag,
        dimensions: Vec::new(),
        kind: Kind::Value(1e6),
    };
    let source = MetricSource {
        environment: "local".to_owned(),
        service: "outbox-relay".to_owned(),
    };
    MetricSink::new(&world.aws())
        .put(&[lag], &source)
        .await
        .expect("the metric is taken");
    let heard = world.heard(&on_call, 1).await;
    assert!(
        heard.iter().any(|said| said.contains("outbox-lag")),
        "{heard:?}"
    );
}

async fn reserve_all(stock: &DynamoStock, product: &ProductId, orders: &[OrderId]) -> Vec<OrderId> {
    let line = Line {
        product_id: product.clone(),
        quantity: Quantity::new(1).expect("one"),
    };
    let lines = Lines::merge([line]).expect("one line");
    let mut held = Vec::new();
    for order_id in orders {
        let now = Timestamp::now_utc();
        match stock
            .reserve(*order_id, &lines, now, now + Duration::from_secs(600))
            .await
        {
            Ok(Reserved::Held) => held.push(*order_id),
            Ok(Reserved::TooFew(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    held
}

/// Checks that the sequence has no gap and that each entry starts where the last one ended.
fn check_history(history: &[Value]) {
    let mut status = Value::Null;
    for (index, line) in history.iter().enumerate() {
        assert_eq!(line["seq"], json!(index + 1));
        assert_eq!(line["from_status"], status, "{history:#?}");
        status = line["to_status"].clone();
        assert!(
            line["actor"]
                .as_str()
                .is_some_and(|actor| !actor.is_empty())
                && line["at"].is_string()
        );
    }
}

fn net(entry: &Value) -> i64 {
    let amount = entry["amount_minor"].as_i64().unwrap_or_default();
    match (entry["kind"].as_str(), entry["status"].as_str()) {
        (Some("charge"), Some("captured")) => amount,
        (Some("refund"), _) => -amount,
        _ => 0,
    }
}

/// Returns the subjects of the mails to a recipient, once there are at least `at_least`.
async fn mails_of(world: &World, to: &str, at_least: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let mails = world
            .mails()
            .await
            .into_iter()
            .filter(|(recipient, _)| recipient == to);
        let subjects: Vec<String> = mails.map(|(_, subject)| subject).collect();
        if subjects.len() >= at_least {
            return subjects;
        }
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "only {} of {at_least} mails: {subjects:?}",
            subjects.len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
