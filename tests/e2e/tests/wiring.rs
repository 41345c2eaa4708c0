//! The storefront with exactly the addresses of its role. Every page and route must reach what it
//! needs, and a dependency that does not respond must not delay a visitor.

use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{SETTLED_WITHIN, World, order};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

/// Needs a real shop: a fake has every table, but the storefront has only those of its `Role`.
#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_route_of_the_storefront_reaches_what_it_needs() {
    let world = World::open(&[]).await;
    let accepted = world.order("espresso", 2, "tok_ok").await;
    world.until(&accepted, &["confirmed"]).await;
    let id = accepted.body["order_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let document = world.get("/openapi.json").await.body;
    let routes =
        document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .filter(|(path, operations)| {
                // An event stream never ends, so there is no complete response.
                operations.get("get").is_some() && !path.ends_with("/events")
            });
    let mut paths: Vec<String> = routes
        .map(|(path, _)| path.replace("{product_id}", "espresso"))
        .collect();
    paths.extend(
        [
            "/",
            "/cart",
            "/orders",
            "/orders/{id}",
            "/orders/{id}/fragment",
            "/staff",
            "/staff/board",
            "/staff/orders/{id}",
        ]
        .map(str::to_owned),
    );
    paths.extend(["/staff/stock", "/staff/stock/espresso", "/staff/sign-in"].map(str::to_owned));
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        let path = path.replace("{id}", &id);
        let answer = world
            .as_staff(Method::GET, &path, &[("Accept", "text/html")], None)
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {:?}", answer.body);
        let text = answer.body.to_string();
        for leaked in [
            "unavailable",
            "cannot be read",
            "DispatchFailure",
            "ValidationException",
            "ServiceError",
        ] {
            assert!(!text.contains(leaked), "{path} says {leaked}: {text}");
        }
    }
    // The order timeline contains the stock ledger's entries.
    let journey = world
        .as_staff(
            Method::GET,
            &format!("/api/v1/orders/{id}/journey"),
            &[],
            None,
        )
        .await
        .body;
    let stock: Vec<&str> = journey["moments"]
        .as_array()
        .expect("moments")
        .iter()
        .filter(|moment| moment["record"] == "stock")
        .filter_map(|moment| moment["what"].as_str())
        .collect();
    assert_eq!(
        stock,
        ["reserved 2 × espresso", "sold 2 × espresso"],
        "{journey:#}"
    );

    a_delivery_is_on_its_way_when_it_leaves(&world).await;
    a_local_aws_that_hangs_keeps_no_visitor_waiting(&world).await;
}

async fn a_delivery_is_on_its_way_when_it_leaves(world: &World) {
    let mut delivery = order("latte", 1, "tok_ok");
    delivery["order_type"] = json!("delivery");
    delivery["customer"]["email"] = json!("rider@example.com");
    delivery["delivery_address"] =
        json!({ "line1": "12 Main Street", "city": "New York", "postal_code": "10001" });
    let key = Uuid::now_v7().to_string();
    let headers = [("Idempotency-Key", key.as_str())];
    let accepted = world
        .ask(Method::POST, "/api/v1/orders", &headers, Some(&delivery))
        .await;
    let confirmed = world.until(&accepted, &["confirmed"]).await;
    assert_eq!(confirmed["delivery_address"], delivery["delivery_address"]);
    let id = confirmed["order_id"].as_str().expect("an id").to_owned();
    let subjects = async || {
        let to_rider = world
            .mails()
            .await
            .into_iter()
            .filter(|(to, _)| to == "rider@example.com");
        to_rider.map(|(_, subject)| subject).collect::<Vec<_>>()
    };
    let until = async |what: &str| {
        let begun = Instant::now();
        while !subjects()
            .await
            .iter()
            .any(|subject| subject.contains(what))
        {
            assert!(
                begun.elapsed() < SETTLED_WITHIN,
                "no mail says {what}: {:?}",
                subjects().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    for status in ["preparing", "ready"] {
        assert_eq!(world.staff_sets(&id, status).await.status, StatusCode::OK);
    }
    // The parcel has a tracking number but is still in the shop.
    until("ready").await;
    let ready = world
        .as_staff(Method::GET, &format!("/api/v1/orders/{id}"), &[], None)
        .await
        .body;
    assert_eq!(ready["shipment"]["shipped_at"], Value::Null, "{ready:#}");
    assert!(
        !subjects()
            .await
            .iter()
            .any(|subject| subject.contains("on its way")),
        "{:?}",
        subjects().await
    );
    assert_eq!(
        world.staff_sets(&id, "completed").await.status,
        StatusCode::OK
    );
    until("on its way").await;
}

async fn a_local_aws_that_hangs_keeps_no_visitor_waiting(world: &World) {
    let aws = world.facts["aws_pid"].to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args([name, &aws])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "kill {name} {aws}");
    };
    assert_eq!(world.get("/api/v1/menu").await.status, StatusCode::OK);
    signal("-STOP");
    let begun = Instant::now();
    let mut asked = 0;
    // Longer than the second for which a cached copy is fresh, until the read has timed out.
    while begun.elapsed() < Duration::from_secs(4) {
        for path in ["/api/v1/menu", "/", "/cart"] {
            let begun = Instant::now();
            let answer = world
                .ask(Method::GET, path, &[("Accept", "text/html")], None)
                .await;
            let waited = begun.elapsed();
            if answer.status != StatusCode::OK || waited >= Duration::from_secs(1) {
                signal("-CONT");
                panic!("{path} answered {} after {waited:?}", answer.status);
            }
        }
        asked += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let marked = world.get("/api/v1/menu").await.body;
    signal("-CONT");
    assert!(asked > 3 && marked["as_of"].is_string(), "{marked:#}");
    let begun = Instant::now();
    while world.get("/api/v1/menu").await.body.get("as_of").is_some() {
        assert!(
            begun.elapsed() < SETTLED_WITHIN,
            "the copy is never renewed"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
