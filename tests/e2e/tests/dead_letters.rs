//! Dead letters and the order timeline on a running shop.

use std::process::Output;
use std::time::{Duration, Instant};

use contract::address::Address;
use contract::event::EventKind;
use contract::messages::samples::SAMPLES;
use contract::queue::{FULFILMENT, ORDERS, PROJECTIONS, QUEUES, Queue, QueueId};
use contract::topic::ORDER_FEED;
use e2e::{Answer, SETTLED_WITHIN, World};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// Sends a message to the orders queue that no role would send.
async fn send(world: &World, body: &Value) {
    let url = world.addresses().await[&Address::Queue(&ORDERS).variable()].clone();
    let group = body["order_id"].as_str().unwrap_or("none").to_owned();
    let call = world
        .aws()
        .sqs()
        .send_message()
        .queue_url(url)
        .message_body(body.to_string())
        .message_group_id(group);
    call.message_deduplication_id(Uuid::now_v7().to_string())
        .send()
        .await
        .expect("sent");
}

/// Returns a `PaymentCompleted` with the full amount of an order.
fn paid(order: &Answer) -> Value {
    json!({
        "event_id": Uuid::now_v7(), "type": "PaymentCompleted", "schema": 1, "occurred_at": "2026-03-01T12:00:00Z",
        "order_id": order.body["order_id"],
        "data": { "payment_id": "ch_by_hand", "amount_minor": order.body["total_minor"],
            "currency": order.body["currency"], "status": "captured" },
        "metadata": { "source": "a test", "version": "0" },
    })
}

/// Returns the causes of dead letters, once there are `messages` of them.
async fn causes(world: &World, messages: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let listed = world.haven(&["dlq", "list", "--json"]);
        assert_eq!(code(&listed), Some(0), "{}", said(&listed));
        let listed = json_of(&listed);
        if listed["messages"] == json!(messages) {
            return listed["causes"].as_array().cloned().expect("causes");
        }
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "never {messages}: {listed:#}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn of<'a>(causes: &'a [Value], part: &str) -> &'a Value {
    let found = causes.iter().find(|cause| {
        cause["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains(part))
    });
    found.unwrap_or_else(|| panic!("no {part} among {causes:#?}"))
}

fn fingerprint(cause: &Value) -> String {
    cause["fingerprint"]
        .as_str()
        .expect("a fingerprint")
        .to_owned()
}

async fn until_step(world: &World, order: &Answer, step: &str) {
    let (path, begun) = (
        order.body["links"]["self"].as_str().expect("a link"),
        Instant::now(),
    );
    while world.get(path).await.body["step"] != step {
        assert!(begun.elapsed() < SETTLED_WITHIN, "it never came to {step}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_messages_are_grouped_explained_and_redriven_after_the_fix() {
    let world = World::open(&[]).await;
    assert!(causes(&world, 0).await.is_empty());

    // The outbox relay is stopped: no message of the order was sent, so a payment is impossible.
    world.pause("outbox-relay");
    let order = world.order("espresso", 1, "tok_ok").await;
    assert_eq!(order.status, StatusCode::ACCEPTED, "{order:?}");
    for _ in 0..2 {
        send(&world, &paid(&order)).await;
        let mut undecodable = paid(&order);
        undecodable["data"]
            .as_object_mut()
            .expect("an object")
            .remove("amount_minor");
        send(&world, &undecodable).await;
        let mut newer = paid(&order);
        newer["schema"] = json!(7);
        send(&world, &newer).await;
    }
    let mut unknown = paid(&order);
    unknown["type"] = json!("Teapot");
    send(&world, &unknown).await;

    let listed = causes(&world, 7).await;
    let counts = |causes: &[Value]| {
        [
            "cannot happen",
            "missing field `amount_minor`",
            "schema version",
            "Teapot",
        ]
        .map(|part| of(causes, part)["count"].clone())
    };
    assert_eq!(
        counts(&listed),
        [2, 2, 2, 1].map(Value::from),
        "{listed:#?}"
    );
    assert!(
        of(&listed, "schema version")["oldest"].as_str()
            <= of(&listed, "schema version")["newest"].as_str()
    );
    assert_eq!(causes(&world, 7).await.len(), 4, "reading hid nothing");

    // Each cause is shown beside a valid message.
    let show =
        |cause: &Value| json_of(&world.haven(&["dlq", "show", &fingerprint(cause), "--json"]));
    let shown = show(of(&listed, "amount_minor"));
    assert_eq!(
        shown["differences"],
        json!([{ "field": "data.amount_minor", "problem": "is missing" }]),
        "{shown:#}"
    );
    assert_eq!(shown["message"]["deliveries"], json!(1));
    let text = world.haven(&[
        "dlq",
        "show",
        &fingerprint(of(&listed, "amount_minor"))[..8],
    ]);
    assert!(
        said(&text).contains("! data.amount_minor is missing"),
        "{}",
        said(&text)
    );
    let shown = show(of(&listed, "schema version"));
    assert_eq!(shown["differences"][0]["field"], "schema", "{shown:#}");
    let impossible = of(&listed, "cannot happen");
    let shown = show(impossible);
    assert_eq!(
        (&shown["order"]["state"], &shown["differences"]),
        (&json!("placed"), &json!([])),
        "{shown:#}"
    );
    assert_eq!(shown["foreseen"]["verdict"], "parked");

    // The relay continues and the order waits for its payment, so the message is now valid.
    let impossible = fingerprint(impossible);
    let rehearse = || {
        json_of(&world.haven(&["dlq", "redrive", &impossible, "--dry-run", "--json"]))["foreseen"]
            .clone()
    };
    assert_eq!(rehearse()["parked"], json!(2));
    world.pause("payment-worker");
    world.resume("outbox-relay");
    until_step(&world, &order, "payment_processing").await;
    assert_eq!(rehearse()["done"], json!(2));
    let redriven = world.haven(&[
        "dlq",
        "redrive",
        &impossible,
        "--yes",
        "--by",
        "Zoe",
        "--rate",
        "20",
        "--json",
    ]);
    let report = json_of(&redriven);
    assert_eq!(
        (code(&redriven), &report["stopped"]),
        (Some(0), &Value::Null),
        "{}",
        said(&redriven)
    );
    assert_eq!(
        (&report["applied"], &report["dropped"], &report["left"]),
        (&json!(1), &json!(1), &json!(0)),
        "{report:#}"
    );
    world.until(&order, &["confirmed"]).await;
    world.resume("payment-worker");

    // The cause still exists: the first message becomes a dead letter again, and the other one is
    // not redriven.
    let newer = of(&listed, "schema version");
    let redriven = world.haven(&["dlq", "redrive", &fingerprint(newer), "--yes", "--json"]);
    let report = json_of(&redriven);
    assert_eq!(
        (code(&redriven), &report["canary"]["end"]),
        (Some(2), &json!("parked_again")),
        "{}",
        said(&redriven)
    );
    assert_eq!(
        (&report["sent"], &report["left"]),
        (&json!(1), &json!(1)),
        "{report:#}"
    );
    let left = causes(&world, 5).await;
    let (before, after) = (&newer["messages"], &of(&left, "schema version")["messages"]);
    let kept = |id: &Value| after.as_array().is_some_and(|after| after.contains(id));
    assert_eq!(
        before
            .as_array()
            .expect("ids")
            .iter()
            .filter(|id| kept(id))
            .count(),
        1,
        "{before} {after}"
    );

    // The order timeline names the operator, and the card was charged once.
    let id = order.body["order_id"].as_str().expect("an id");
    let journey = json_of(&world.haven(&["orders", "show", id, "--json"]));
    let moments = journey["moments"].as_array().expect("moments");
    let by_zoe = moments
        .iter()
        .filter(|moment| moment["record"] == "redrive" && moment["by"] == "Zoe")
        .count();
    assert_eq!(by_zoe, 4, "two sent, two ended: {journey:#}");
    let effect = |moment: &&Value| {
        moment["record"] == "delivery" && moment["what"] == "PaymentCompleted applied, delivery 1"
    };
    assert!(
        moments.iter().filter(effect).count() >= 1,
        "its effect: {journey:#}"
    );
    let begun = Instant::now();
    while world
        .ledger()
        .await
        .iter()
        .filter(|entry| entry["reference"] == id)
        .count()
        == 0
    {
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "the card was never charged"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        world
            .get(order.body["links"]["self"].as_str().expect("a link"))
            .await
            .body["status"],
        "confirmed"
    );
    assert_eq!(
        world
            .ledger()
            .await
            .iter()
            .filter(|entry| entry["reference"] == id)
            .count(),
        1
    );

    for (arguments, expected, part) in [
        (
            &["dlq", "redrive", "0000", "--yes"][..],
            2,
            "no dead letters match `0000`",
        ),
        (&["dlq", "show", "0000"], 2, fingerprint(newer).as_str()),
        (&["dlq", "redrive", &fingerprint(newer)], 64, "--dry-run"),
        (
            &["dlq", "redrive", &fingerprint(newer), "--rate", "0"],
            64,
            "--rate",
        ),
    ] {
        let output = world.haven(arguments);
        assert!(
            code(&output) == Some(expected) && said(&output).contains(part),
            "{arguments:?}: {}",
            said(&output)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journey_of_an_order_is_one_line_of_time() {
    let world = World::open(&[]).await;
    let topic = world.addresses().await[&Address::Topic(&ORDER_FEED).variable()].clone();
    let listener = world.listen(&topic).await;

    let confirmed = world.order("espresso", 2, "tok_ok").await;
    world.until(&confirmed, &["confirmed"]).await;
    let heard = world.heard(&listener, 2).await;
    for kind in ["OrderCreated", "PaymentCompleted"] {
        assert!(
            heard.iter().any(|body| body.contains(kind)),
            "the bus has a rule for {kind}: {heard:?}"
        );
    }
    let id = |order: &Answer| order.body["order_id"].as_str().expect("an id").to_owned();
    let show = |order: &Answer| json_of(&world.haven(&["orders", "show", &id(order), "--json"]));
    // The record of the mail is written last.
    let begun = Instant::now();
    let journey = loop {
        let journey = show(&confirmed);
        let told = |moment: &Value| {
            moment["record"] == "notice"
                && moment["what"]
                    .as_str()
                    .is_some_and(|it| it.contains("sent"))
        };
        if journey["moments"]
            .as_array()
            .expect("moments")
            .iter()
            .any(told)
        {
            break journey;
        }
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "nobody was told: {journey:#}"
        );
    };
    let moments = journey["moments"].as_array().expect("moments");
    for (record, what) in [
        ("history", "pending became confirmed"),
        ("payment", "charge of"),
        ("stock", "sold 2 × espresso"),
        ("outbox", "ReserveStock sent to queue/orders"),
        ("delivery", "ReserveStock applied, delivery 1"),
        ("delivery", "ChargeCard applied, delivery 1"),
    ] {
        let there = |moment: &Value| {
            moment["record"] == record
                && moment["what"].as_str().is_some_and(|it| it.contains(what))
        };
        assert!(moments.iter().any(there), "no {what} in {journey:#}");
    }
    let times: Vec<&str> = moments
        .iter()
        .filter_map(|moment| moment["at"].as_str())
        .collect();
    assert!(
        times.is_sorted()
            && times
                .iter()
                .all(|at| at.len() == "2026-03-01T12:00:00.182Z".len()),
        "{times:?}"
    );
    assert!(
        moments
            .iter()
            .all(|moment| moment["gap_ms"].as_i64().is_some_and(|gap| gap >= 0))
    );
    assert_eq!(
        journey["awaited"][0]["what"], "the start of preparation",
        "{journey:#}"
    );
    assert!(
        journey["trace_ids"]
            .as_array()
            .is_some_and(|traces| !traces.is_empty())
    );
    // Staff read the same timeline over HTTP; customers cannot.
    let path = format!("/api/v1/orders/{}/journey", id(&confirmed));
    assert_eq!(
        world.as_staff(Method::GET, &path, &[], None).await.body["trace_ids"],
        journey["trace_ids"]
    );
    assert_eq!(world.get(&path).await.status, StatusCode::NOT_FOUND);

    let declined = world.order("espresso", 1, "tok_declined").await;
    world.until(&declined, &["failed"]).await;
    let short = said(&world.haven(&["orders", "show", &id(&declined)]));
    assert!(
        short.contains("because payment declined")
            && short.contains("\nFailed. ")
            && short.trim_end().ends_with(" pending."),
        "{short}"
    );
    let listed = json_of(&world.haven(&["orders", "list", "--status", "failed", "--json"]));
    let failed = listed["orders"].as_array().expect("orders");
    assert!(
        failed.iter().all(|order| order["status"] == "failed")
            && failed[0]["order_id"] == declined.body["order_id"]
            && failed[0]["total_minor"] == declined.body["total_minor"],
        "{listed:#}"
    );
    let listed = said(&world.haven(&["order", "ls"]));
    assert!(
        listed.starts_with("Order  Status")
            && listed.contains(" orders, newest first.")
            && listed.contains("Next: haven orders show ")
            && listed.contains(confirmed.body["order_number"].as_str().expect("a number")),
        "{listed}"
    );
    let text = world.haven(&["orders", "show", &id(&declined), "-v"]);
    assert_eq!(code(&text), Some(0), "{}", said(&text));
    for part in [
        "became failed",
        ": declined",
        "released 1 × espresso",
        "PaymentFailed applied",
        "because payment declined",
        " ms  ",
    ] {
        assert!(said(&text).contains(part), "no {part:?} in {}", said(&text));
    }

    // The order's messages are not sent, and a message that came too early is a dead letter.
    world.pause("outbox-relay");
    let stuck = world.order("espresso", 1, "tok_ok").await;
    send(&world, &paid(&stuck)).await;
    causes(&world, 1).await;
    let journey = show(&stuck);
    let moments = journey["moments"].as_array().expect("moments");
    let parked = moments
        .iter()
        .find(|moment| moment["record"] == "parked")
        .expect("a parked message");
    assert!(
        parked["note"]
            .as_str()
            .is_some_and(|note| note.contains("cannot happen")),
        "{parked}"
    );
    let logged = |moment: &Value| moment["record"] == "log" && moment["by"] == "order-worker";
    assert!(moments.iter().any(logged), "no log line: {journey:#}");
    let awaited: Vec<&str> = journey["awaited"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["what"].as_str())
        .collect();
    assert!(
        awaited[0].contains("ReserveStock")
            && awaited[1].contains("sending ReserveStock to queue/orders"),
        "{awaited:?}"
    );
    world.resume("outbox-relay");
    world.until(&stuck, &["confirmed"]).await;

    let nowhere = world.haven(&["orders", "show", &Uuid::now_v7().to_string()]);
    assert_eq!(code(&nowhere), Some(2), "{}", said(&nowhere));
    // An order number stands for the order that has it, and so does the beginning of its id.
    let number = declined.body["order_number"].as_str().expect("a number");
    let by_number = world.haven(&["orders", "show", number]);
    assert!(
        code(&by_number) == Some(0) && said(&by_number).contains("became failed"),
        "{}",
        said(&by_number)
    );
    let declined_id = id(&declined);
    let by_prefix = world.haven(&["orders", "show", &declined_id[..35]]);
    assert!(
        code(&by_prefix) == Some(0) && said(&by_prefix).contains("became failed"),
        "{}",
        said(&by_prefix)
    );
    let nonsense = world.haven(&["orders", "show", "the-last-one"]);
    assert!(
        code(&nonsense) == Some(64) && said(&nonsense).contains("such as A-047"),
        "{}",
        said(&nonsense)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_previous_version_has_the_same_effect() {
    let world = World::open(&[]).await;
    world.pause("payment-worker");
    let samples = SAMPLES
        .iter()
        .filter(|(kind, ..)| *kind == EventKind::PaymentFailed);
    let mut read = Vec::new();
    for (_, schema, sample) in samples {
        let order = world.order("espresso", 1, "tok_ok").await;
        until_step(&world, &order, "payment_processing").await;
        let mut message: Value = serde_json::from_str(sample).expect("JSON");
        (message["order_id"], message["event_id"]) =
            (order.body["order_id"].clone(), json!(Uuid::now_v7()));
        send(&world, &message).await;
        let failed = world.until(&order, &["failed"]).await;
        assert_eq!(
            failed["reason"], "payment declined: insufficient funds",
            "version {schema}"
        );
        read.push(*schema);
    }
    assert_eq!(read, [1, 2]);
    assert!(causes(&world, 0).await.is_empty());
    world.resume("payment-worker");
}

/// Sends a message to a dead-letter queue, as a worker that gives up would.
async fn park(world: &World, queue: &'static Queue, body: &Value) {
    let url = world.addresses().await[&Address::ParkingQueue(queue).variable()].clone();
    let mut call = world
        .aws()
        .sqs()
        .send_message()
        .queue_url(url)
        .message_body(body.to_string());
    if queue.fifo {
        let group = body["order_id"].as_str().unwrap_or("none").to_owned();
        call = call
            .message_group_id(group)
            .message_deduplication_id(Uuid::now_v7().to_string());
    }
    call.send().await.expect("sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_truthful_for_every_queue() {
    let world = World::open(&[]).await;
    for role in ["fulfilment-worker", "projection-worker"] {
        world.pause(role);
    }
    let order = world.order("espresso", 1, "tok_ok").await;
    assert_eq!(order.status, StatusCode::ACCEPTED, "{order:?}");
    world.until(&order, &["confirmed"]).await;
    let about = |kind: &str, data: Value| {
        json!({
            "event_id": Uuid::now_v7(), "type": kind, "schema": 1, "occurred_at": "2026-03-01T12:00:00Z",
            "order_id": order.body["order_id"], "data": data, "metadata": { "source": "a test", "version": "0" },
        })
    };
    let confirmed = || {
        let data = json!({ "order_number": order.body["order_number"], "from": "pending", "to": "confirmed",
            "step": "fulfilment", "reason": null });
        about("OrderStatusChanged", data)
    };
    let amount =
        json!({ "amount_minor": order.body["total_minor"], "currency": order.body["currency"] });
    // A `match` without a wildcard, so that a new queue needs a message here.
    let letter = |queue: QueueId| match queue {
        QueueId::Orders => paid(&order),
        QueueId::Payments => about("ChargeCard", amount.clone()),
        QueueId::Notifications | QueueId::Fulfilment | QueueId::Projections => confirmed(),
    };
    for queue in QUEUES {
        park(&world, queue, &letter(queue.id)).await;
    }
    let parked = causes(&world, QUEUES.len()).await;
    let cause_of = |queue: &Queue| {
        let cause = parked
            .iter()
            .find(|cause| cause["queue"] == queue.slug)
            .unwrap_or_else(|| panic!("{}", queue.slug));
        fingerprint(cause)
    };
    let dry_run = |queue: &Queue| {
        let planned = world.haven(&["dlq", "redrive", &cause_of(queue), "--dry-run", "--json"]);
        assert_eq!(code(&planned), Some(0), "{}", said(&planned));
        let message = json_of(&planned)["messages"][0].clone();
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        (text("verdict"), text("what"))
    };
    for queue in QUEUES {
        let (verdict, what) = dry_run(queue);
        let (expected, part) = match queue.id {
            // The order was paid by the charge of its own saga.
            QueueId::Orders => ("dropped", "applied before"),
            QueueId::Payments => ("done", "the charge is already captured"),
            QueueId::Notifications => ("done", "a notification is sent"),
            QueueId::Fulfilment => ("done", "gets the next ticket"),
            QueueId::Projections => ("done", "the order view shows confirmed"),
        };
        assert!(
            verdict == expected && what.contains(part),
            "{}: {verdict}: {what}",
            queue.slug
        );
    }
    for role in ["fulfilment-worker", "projection-worker"] {
        world.resume(role);
    }
    // The consumers handle their own messages, so the dead letters become duplicates.
    let begun = Instant::now();
    for queue in [&FULFILMENT, &PROJECTIONS] {
        while dry_run(queue).0 != "dropped" {
            assert!(
                begun.elapsed() < SETTLED_WITHIN,
                "{} was never handled",
                queue.slug
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for queue in QUEUES {
        let redriven = world.haven(&["dlq", "redrive", &cause_of(queue), "--yes", "--json"]);
        assert_eq!(
            code(&redriven),
            Some(0),
            "{}: {}",
            queue.slug,
            said(&redriven)
        );
    }
    assert!(causes(&world, 0).await.is_empty());
}
