//! Stock on a running shop: one alert for each crossing even if a role is killed, and `haven
//! reconcile` after changes by hand.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Instant;

use app::ports::Source;
use app::ports::access::AuditEntry;
use app::ports::ledger::{HoldState, Ledger as _};
use app::ports::stock::{Reserved, Stock as _};
use contract::address::Address;
use contract::table::{PRODUCTS, RESERVATIONS};
use contract::topic::INVENTORY_ALERTS;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::{OrderId, ProductId};
use e2e::{Answer, SETTLED_WITHIN, World};
use platform::audit::operator;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use worker::stores::SystemSource;

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn document(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {error}"))
}

/// Returns name and subject of each difference, sorted, duplicates included.
fn names(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut names: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| (text(&found["name"]), text(&found["subject"])))
        .collect();
    names.sort();
    names
}

/// Runs statements on the shop's SQLite file, as a person with a shell would.
fn by_hand_in_sql(world: &World, statements: &str) {
    let path = world.facts["database_url"]
        .as_str()
        .expect("an address")
        .trim_start_matches("sqlite://")
        .to_owned();
    let script = "import sqlite3, sys\nfile = sqlite3.connect(sys.argv[1], timeout=10)\nfile.executescript(sys.argv[2])";
    let run = Command::new("python3")
        .args(["-c", script, &path, statements])
        .output()
        .expect("python3 runs");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// Makes one DynamoDB call, such as `delete_item`, as a person with a shell would.
fn by_hand_in_dynamodb(world: &World, call: &str, parameters: &Value) {
    let script = "getattr(client('dynamodb'), sys.argv[1])(**json.loads(sys.argv[2]))";
    let run = world.python(script, &[call, &parameters.to_string()]);
    assert!(
        run.status.success(),
        "{call}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

struct Tables {
    products: String,
    reservations: String,
}

impl Tables {
    async fn of(world: &World) -> Tables {
        let addresses = world.addresses().await;
        let name = |table| addresses[&Address::Table(table).variable()].clone();
        Tables {
            products: name(&PRODUCTS),
            reservations: name(&RESERVATIONS),
        }
    }

    /// Deletes an order's stock hold and holds its units again.
    async fn hold_again(&self, world: &World, order_id: OrderId, lines: &Lines) {
        let key = json!({ "reservation_id": { "S": order_id.to_string() } });
        by_hand_in_dynamodb(
            world,
            "delete_item",
            &json!({ "TableName": self.reservations, "Key": key }),
        );
        hold(world, order_id, lines).await;
    }
}

async fn hold(world: &World, order_id: OrderId, lines: &Lines) {
    let now = SystemSource.now();
    let held = world
        .stock()
        .await
        .reserve(order_id, lines, now, now + time::Duration::HOUR)
        .await;
    assert_eq!(held, Ok(Reserved::Held));
}

fn espresso() -> ProductId {
    ProductId::parse("espresso").expect("a slug")
}

fn one_espresso() -> Lines {
    Lines::merge([Line {
        product_id: espresso(),
        quantity: Quantity::new(1).expect("one"),
    }])
    .expect("one line")
}

async fn settled(world: &World, payment_token: &str, status: &str) -> OrderId {
    let accepted: Answer = world.order("espresso", 1, payment_token).await;
    world.until(&accepted, &[status]).await;
    accepted.body["order_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a UUID")
}

/// Inserts a copy of an order whose command was lost before any role received it.
fn forgotten_like(world: &World, like: OrderId) -> OrderId {
    let order_id = OrderId(Uuid::now_v7());
    let two_minutes_ago = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-2 minutes')";
    let columns = "tenant_id, location_id, order_type, customer_name, customer_phone, customer_email,
        special_instructions, pickup_at, subtotal_minor, tax_minor, total_minor, currency, request_hash, created_at";
    by_hand_in_sql(
        world,
        &format!(
            "BEGIN IMMEDIATE;
            INSERT INTO orders (order_id, order_number, state, status, step, version, tracking_token,
                idempotency_key_hash, updated_at, {columns})
            SELECT '{order_id}', 'Z-999', 'placed', 'pending', 'validating', 1, '{order_id}', '{order_id}',
                {two_minutes_ago}, {columns} FROM orders WHERE order_id = '{like}';
            INSERT INTO order_items SELECT '{order_id}', position, product_id, name, quantity, unit_price_minor
            FROM order_items WHERE order_id = '{like}';
            INSERT INTO order_history (order_id, seq, to_status, step, actor, at)
            VALUES ('{order_id}', 1, 'pending', 'validating', 'storefront', {two_minutes_ago});
            INSERT INTO payments (order_id, kind, amount_minor, currency, state, token, at)
            SELECT '{order_id}', 'charge', amount_minor, currency, 'requested', 'tok_ok', {two_minutes_ago}
            FROM payments WHERE order_id = '{like}' AND kind = 'charge';
            COMMIT;"
        ),
    );
    order_id
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_names_each_difference_and_repairs_only_the_safe_ones() {
    let world = World::open(&[]).await;
    let untouched = settled(&world, "tok_ok", "confirmed").await;
    let failed = settled(&world, "tok_declined", "failed").await;
    let mut sold = Vec::new();
    for _ in 0..4 {
        sold.push(settled(&world, "tok_ok", "confirmed").await);
    }
    let [still_held, without_stock, unrecorded, cancelled] = sold[..] else {
        unreachable!("four were sold")
    };
    let agreed = world.haven(&["reconcile", "--json"]);
    assert_eq!(
        (code(&agreed), &document(&agreed)["well"]),
        (Some(0), &json!(true)),
        "{:#}",
        document(&agreed)
    );

    let (stock, tables) = (world.stock().await, Tables::of(&world).await);
    tables.hold_again(&world, failed, &one_espresso()).await;
    stock
        .release(still_held, SystemSource.now())
        .await
        .expect("released");
    tables.hold_again(&world, still_held, &one_espresso()).await;
    stock
        .release(without_stock, SystemSource.now())
        .await
        .expect("released");
    let nobody = OrderId(Uuid::now_v7());
    hold(&world, nobody, &one_espresso()).await;
    let five_more = json!({
        "TableName": tables.products, "Key": { "product_id": { "S": "latte" } },
        "UpdateExpression": "SET available = available + :five",
        "ExpressionAttributeValues": { ":five": { "N": "5" } },
    });
    by_hand_in_dynamodb(&world, "update_item", &five_more);
    by_hand_in_sql(
        &world,
        &format!(
            "UPDATE payments SET state = 'unknown', charge_id = NULL WHERE order_id = '{unrecorded}';
            UPDATE orders SET state = 'cancelled', status = 'cancelled', step = 'done' WHERE order_id = '{cancelled}';"
        ),
    );
    let till =
        json!({ "amount_minor": 100, "currency": "USD", "token": "tok_ok", "reference": "a till" });
    let charges = format!(
        "{}/v1/charges",
        world.facts["payment_url"].as_str().expect("an address")
    );
    let charged = world
        .http
        .post(charges)
        .bearer_auth(world.payment_api_key())
        .header("Idempotency-Key", "by-hand");
    let charged = charged.json(&till).send().await;
    let charged: Value = charged.expect("an answer").json().await.expect("JSON");
    let overdue = forgotten_like(&world, untouched);

    let (order, money) = (
        |id: OrderId| format!("order {id}"),
        world.ledger().await.len(),
    );
    let of = |name: &str, subject: String| (name.to_owned(), subject);
    let safe = [
        of("hold-of-ended-order", order(failed)),
        of("sold-order-still-held", order(still_held)),
        of("hold-without-order", order(nobody)),
        of("payment-behind-gateway", order(unrecorded)),
        of("sale-of-ended-order", order(cancelled)),
        of("overdue-order", order(overdue)),
    ];
    let mut left = vec![
        of("sold-order-without-stock", order(without_stock)),
        of("money-owed", order(cancelled)),
        of(
            "charge-without-order",
            format!("charge {}", charged["charge_id"].as_str().expect("an id")),
        ),
        of("counters-do-not-add-up", "product latte".to_owned()),
        of("counters-are-not-the-ledger", "product latte".to_owned()),
    ];
    left.sort();
    let mut all: Vec<_> = safe.iter().chain(&left).cloned().collect();
    all.sort();

    let espressos = stock
        .product(&espresso())
        .await
        .expect("read")
        .expect("there")
        .counters;
    let read = world.haven(&["reconcile", "--json"]);
    assert_eq!(code(&read), Some(2));
    let found = document(&read);
    assert_eq!(names(&found["differences"]), all, "{found:#}");
    for difference in found["differences"].as_array().expect("a list") {
        let evidence = difference["evidence"].as_array().map_or(0, Vec::len);
        assert!(
            evidence > 0 && difference["meaning"].is_string() && difference["fixed"].is_null(),
            "{difference:#}"
        );
    }
    let text = world.haven(&["reconcile"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("Nothing was changed.") && text.contains("--fix releases the units"),
        "{text}"
    );
    assert_eq!(
        names(&document(&world.haven(&["reconcile", "--json"]))["differences"]),
        all,
        "reading changes nothing"
    );
    assert_eq!(
        stock
            .product(&espresso())
            .await
            .expect("read")
            .expect("there")
            .counters,
        espressos
    );

    let fixed = world.haven(&["reconcile", "--fix", "--json"]);
    assert_eq!(code(&fixed), Some(2), "some are left");
    let fixed = document(&fixed);
    assert_eq!(names(&fixed["left"]), left, "{fixed:#}");
    let done = fixed["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|found| found["fixed"] == true);
    assert_eq!(
        names(&done.cloned().collect()),
        BTreeSet::from(safe).into_iter().collect::<Vec<_>>()
    );

    // The overdue order continues, and its own saga charges the card.
    let path = format!("/api/v1/orders/{overdue}");
    let begun = Instant::now();
    loop {
        let seen = world.as_staff(Method::GET, &path, &[], None).await.body;
        if seen["status"] == "confirmed" {
            let actors = seen["history"]
                .as_array()
                .expect("a history")
                .iter()
                .map(|line| &line["actor"]);
            assert!(
                actors.into_iter().any(|actor| actor == "reconcile"),
                "{seen:#}"
            );
            break;
        }
        assert!(begun.elapsed() < SETTLED_WITHIN, "{seen:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(
        world.ledger().await.len(),
        money + 1,
        "no money moved but that order's"
    );
    let holds = stock.holds().await.expect("listed");
    for (order_id, state) in [
        (failed, HoldState::Released),
        (still_held, HoldState::Confirmed),
        (nobody, HoldState::Released),
        (cancelled, HoldState::Released),
    ] {
        assert!(
            holds
                .iter()
                .any(|hold| hold.order_id == order_id && hold.state == state),
            "{order_id}: {holds:?}"
        );
    }
    let ledger = world
        .as_staff(
            Method::GET,
            "/api/v1/admin/inventory/espresso/ledger",
            &[],
            None,
        )
        .await
        .body;
    let by_reconcile = ledger["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|entry| entry["actor"] == "reconcile");
    assert_eq!(by_reconcile.count(), 4, "{ledger:#}");
    let history = world
        .as_staff(
            Method::GET,
            &format!("/api/v1/orders/{unrecorded}"),
            &[],
            None,
        )
        .await
        .body;
    assert!(
        history["history"]
            .to_string()
            .contains("the charge was unknown, the gateway says captured"),
        "{history:#}"
    );
    let again = document(&world.haven(&["reconcile", "--fix", "--json"]));
    assert_eq!(
        (names(&again["differences"]), names(&again["left"])),
        (left.clone(), left),
        "done once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_is_recorded_in_the_audit_log() {
    let world = World::open(&[]).await;
    let seeded = async || -> Vec<Vec<String>> {
        let added = |entry: &AuditEntry| -> Vec<String> {
            assert_eq!(
                (&entry.actor, entry.subject.as_str(), &entry.before),
                (&operator(), "menu", &None)
            );
            let after: Value =
                serde_json::from_str(entry.after.as_deref().expect("products")).expect("JSON");
            serde_json::from_value(after["added"].clone()).expect("ids of products")
        };
        world.audit("menu.seed").await.iter().map(added).collect()
    };
    let first = seeded().await;
    assert_eq!(
        first.len(),
        1,
        "the first start of a shop adds the menu: {first:?}"
    );
    assert!(
        first[0].len() > 10 && first[0].iter().any(|id| id == "latte"),
        "{first:?}"
    );

    let seed = || {
        let seed = world.haven(&["seed"]);
        assert!(seed.status.success(), "{seed:?}");
        String::from_utf8_lossy(&seed.stdout).into_owned()
    };
    let nothing = seed();
    assert!(nothing.starts_with("0 of "), "{nothing}");
    assert_eq!(seeded().await, first, "nothing was added");

    let tables = Tables::of(&world).await;
    let latte = json!({ "TableName": tables.products, "Key": { "product_id": { "S": "latte" } } });
    by_hand_in_dynamodb(&world, "delete_item", &latte);
    let one = seed();
    assert!(one.starts_with("1 of "), "{one}");
    assert_eq!(seeded().await[1..], [vec!["latte".to_owned()]]);
    let nothing = seed();
    assert!(nothing.starts_with("0 of "), "{nothing}");
    assert_eq!(seeded().await.len(), 2, "nothing was added");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_in_progress_are_no_difference() {
    let world = World::open(&[]).await;
    let load = std::thread::scope(|scope| {
        let load =
            scope.spawn(|| world.haven(&["load", "--rate", "15", "--duration", "6s", "--json"]));
        let mut looks = 0;
        while !load.is_finished() {
            let output = world.haven(&["reconcile", "--json"]);
            assert_eq!(code(&output), Some(0), "{:#}", document(&output));
            looks += 1;
        }
        assert!(looks >= 3, "only {looks} looks");
        load.join().expect("it ended")
    });
    assert_eq!(
        code(&load),
        Some(0),
        "{}",
        String::from_utf8_lossy(&load.stdout)
    );
    let quiet = document(&world.haven(&["reconcile", "--json"]));
    assert_eq!(
        (&quiet["in_flight"], &quiet["moving_products"]),
        (&json!(0), &json!([])),
        "{quiet:#}"
    );
    assert!(
        quiet["compared"]["orders"]
            .as_u64()
            .is_some_and(|orders| orders >= 90),
        "{quiet:#}"
    );
}

#[test]
fn reconcile_needs_a_running_platform() {
    let nowhere = std::env::temp_dir().join("haven-e2e-no-state");
    let output = e2e::haven_command()
        .args(["reconcile", "--state"])
        .arg(nowhere)
        .output()
        .expect("haven runs");
    assert_eq!(code(&output), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no platform is running in"),
        "{output:?}"
    );
}

/// Returns event id and level of a product's alerts from the messages of a subscribed queue.
fn alerts_of(product: &str, bodies: &[String]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let envelopes = bodies.iter().filter_map(|body| {
        let body: Value = serde_json::from_str(body).ok()?;
        // SNS wraps a message unless raw delivery is set.
        body["Message"]
            .as_str()
            .map_or(Some(body.clone()), |inner| serde_json::from_str(inner).ok())
    });
    let of_it = envelopes.filter(|envelope| envelope["data"]["product_id"] == product);
    of_it
        .map(|envelope| {
            (
                text(&envelope["event_id"]),
                text(&envelope["data"]["level"]),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_are_notified_once_of_each_stock_level_despite_kills() {
    let world = World::open(&[]).await;
    let addresses = world.addresses().await;
    let queue = world
        .listen(&addresses[&Address::Topic(&INVENTORY_ALERTS).variable()])
        .await;
    let latte = world.stock_of("latte").await;
    let of = |name: &str| latte[name].as_i64().expect("a number");
    let (available, threshold) = (of("available"), of("low_stock_threshold"));
    assert!(available > threshold && threshold > 0, "{latte:#}");
    let change = async |product: &str, change: i64| {
        let path = format!("/api/v1/admin/inventory/{product}/adjust");
        let body = json!({ "change": change, "reason": "counted" });
        let answer = world.as_staff(Method::POST, &path, &[], Some(&body)).await;
        assert_eq!(answer.status, reqwest::StatusCode::OK, "{answer:?}");
    };
    // The stock falls to the threshold, to zero, rises, and falls to the threshold again.
    change("latte", threshold - available).await;
    world.kill("inventory-worker");
    change("latte", -threshold).await;
    world.kill("inventory-worker");
    change("latte", available).await;
    change("latte", threshold - available).await;
    world.kill("inventory-worker");
    // The last record of the stream: its alert comes after every repeated alert for the other
    // product, though the order between products is not guaranteed.
    let espresso = world.stock_of("espresso").await["available"]
        .as_i64()
        .expect("a number");
    change("espresso", -espresso).await;
    let (begun, mut heard) = (Instant::now(), Vec::new());
    while alerts_of("espresso", &heard).is_empty() || alerts_of("latte", &heard).len() < 3 {
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "{heard:#?}\n{}",
            world.log_of("inventory-worker")
        );
        heard.extend(world.receive(&queue).await);
    }
    let alerts = alerts_of("latte", &heard);
    let levels: Vec<&str> = alerts.iter().map(|(_, level)| level.as_str()).collect();
    let events: BTreeSet<&str> = alerts.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!((levels.len(), events.len()), (3, 3), "{alerts:?}");
    assert_eq!(
        levels.iter().filter(|level| **level == "low").count(),
        2,
        "{alerts:?}"
    );
    assert_eq!(code(&world.haven(&["reconcile"])), Some(0));
}
