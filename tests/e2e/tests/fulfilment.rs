//! Fulfillment of confirmed orders: tickets, parcels, and the customer's list of orders.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::{SETTLED_WITHIN, World, order};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

/// Repeats a request until its result is `Ok`.
async fn until<T, F: Future<Output = Result<T, String>>>(ask: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(seen) => assert!(begun.elapsed() < SETTLED_WITHIN, "{seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the cookie of a new session.
async fn a_session(shop: &str) -> String {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let page = http.get(shop).send().await.expect("the menu");
    let cookie = page
        .headers()
        .get(header::SET_COOKIE)
        .expect("a session")
        .to_str()
        .expect("text");
    cookie.split(';').next().expect("a pair").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_confirmed_order_gets_one_ticket_or_one_parcel_and_is_listed() {
    const ORDERS: usize = 12;
    let world = World::open(&[]).await;
    let cookie = a_session(world.facts["storefront"].as_str().expect("an address")).await;
    let mut accepted = Vec::new();
    for n in 0..ORDERS {
        let key = Uuid::now_v7().to_string();
        let mut body = order("espresso", 1, "tok_ok");
        if n % 3 == 2 {
            body["order_type"] = json!("delivery");
        }
        let headers = [
            ("Idempotency-Key", key.as_str()),
            ("Cookie", cookie.as_str()),
        ];
        accepted.push(
            world
                .ask(Method::POST, "/api/v1/orders", &headers, Some(&body))
                .await,
        );
        // Both roles are killed repeatedly while they have work.
        world.kill("fulfilment-worker");
        world.kill("projection-worker");
    }
    let (mut positions, mut parcels) = (BTreeSet::new(), BTreeSet::new());
    for answer in &accepted {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        world.until(answer, &["confirmed"]).await;
        let link = answer.body["links"]["self"].as_str().expect("a link");
        let made = until(|| async {
            let seen = world.get(link).await.body;
            let made = !seen["ticket"].is_null() || !seen["shipment"].is_null();
            if made {
                Ok(seen)
            } else {
                Err(format!("nothing was made of it: {seen:#}"))
            }
        })
        .await;
        match made["order_type"].as_str() {
            Some("delivery") => {
                assert!(parcels.insert(made["shipment"]["tracking_number"].to_string()))
            }
            _ => {
                assert!(positions.insert(made["ticket"]["position"].as_u64().expect("a position")))
            }
        }
    }
    assert_eq!(
        positions,
        (1..=8).collect::<BTreeSet<u64>>(),
        "one after the other, without a gap"
    );
    assert_eq!(parcels.len(), 4);
    let on_their_way = async || {
        world
            .mails()
            .await
            .into_iter()
            .filter(|(_, subject)| subject.contains("on its way"))
            .count()
    };
    assert_eq!(on_their_way().await, 0, "nothing has left the shop yet");

    let listed = || async {
        let listed = world
            .ask(Method::GET, "/api/v1/orders", &[("Cookie", &cookie)], None)
            .await
            .body;
        let all = listed["orders"].as_array().cloned().unwrap_or_default();
        let confirmed = all
            .iter()
            .filter(|order| order["status"] == "confirmed")
            .count();
        let done = listed["source"] == "view" && confirmed == ORDERS;
        if done {
            Ok(all)
        } else {
            Err(format!(
                "{confirmed} of {ORDERS} are listed as confirmed: {listed:#}"
            ))
        }
    };
    let all = until(listed).await;
    let ids: Vec<&Value> = accepted
        .iter()
        .rev()
        .map(|answer| &answer.body["order_id"])
        .collect();
    assert_eq!(
        all.iter()
            .map(|order| &order["order_id"])
            .collect::<Vec<_>>(),
        ids,
        "newest first"
    );
    let again = world.haven(&["orders", "reproject", "--json"]);
    assert!(again.status.success(), "{again:?}");
    let counted: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(counted["orders"], json!(ORDERS));
    assert_eq!(counted["schema"], "haven.reproject/1");
    assert_eq!(until(listed).await, all, "made again, it is the same");

    for delivery in accepted.iter().skip(2).step_by(3) {
        let id = delivery.body["order_id"].as_str().expect("an id");
        for status in ["preparing", "ready", "completed"] {
            let moved = world.staff_sets(id, status).await;
            assert_eq!(moved.status, StatusCode::OK, "{moved:?}");
        }
    }
    let told = until(|| async {
        let mails = on_their_way().await;
        if mails >= 4 {
            Ok(mails)
        } else {
            Err(format!("{mails} of 4 mails"))
        }
    })
    .await;
    assert_eq!(told, 4, "each once, when it leaves");
    assert_eq!(world.messages().await.2, 0, "nothing is parked");
}
