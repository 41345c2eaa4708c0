//! Tax by location, opening hours and pickup slots, as a customer sees them. The clock is at noon
//! UTC on Sunday, March 1, 2026.

use std::collections::BTreeSet;
use std::sync::Arc;

use app::location::Location;
use app::ports::orders::OrderStore as _;
use app::ports::views::{OrderView, OrderViews as _};
use axum::http::StatusCode;
use domain::hours::{Hours, Opening, SlotRule, Zone};
use domain::ids::LocationId;
use domain::money::TaxRate;
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::pages::{check_out, open, submit};
use crate::{Client, an_espresso};

/// Returns a location in New York, where it is 7:00. It opens on Sundays from 8:00 to 9:00, with
/// two slots of half an hour and two places each.
fn corner() -> Location {
    let mut week = [None; 7];
    week[6] = Some(Opening::new(8 * 60, 9 * 60).expect("hours"));
    Location {
        hours: Hours {
            zone: Zone::parse("America/New_York").expect("a zone"),
            week,
        },
        slots: SlotRule::new(30, 2).expect("a rule"),
        ..Location::initial()
    }
}

async fn a_corner_shop() -> Client {
    let client = Client::new().await;
    client.shops.replace(vec![corner()]);
    client
}

fn at(time: &str) -> Value {
    let mut order = an_espresso();
    order["pickup_at"] = json!(time);
    order
}

#[tokio::test]
async fn an_order_has_the_tax_rate_of_its_location_at_that_time() {
    let client = Client::new().await;
    let airport = |millionths| Location {
        location_id: LocationId::parse("airport").expect("a slug"),
        tax: TaxRate::of_millionths(millionths),
        ..Location::initial()
    };
    client
        .shops
        .replace(vec![Location::initial(), airport(125_000)]);
    let mut there = an_espresso();
    there["location_id"] = json!("airport");
    let here = client.accepted().await;
    let first = client.order("there-1", &there).await.json();
    assert_eq!(
        (here["tax_minor"].as_i64(), first["tax_minor"].as_i64()),
        (Some(27), Some(38)),
        "8.875 and 12.5 % of 3.00"
    );
    // After a change of the tax rate, placed orders keep their rate and a repeat gets the same
    // answer.
    client
        .shops
        .replace(vec![Location::initial(), airport(200_000)]);
    assert_eq!(client.order("there-1", &there).await.json(), first);
    let path = first["links"]["self"].as_str().expect("a link").to_owned();
    let stored = client.get(&path, &[]).await.json();
    assert_eq!(
        (&stored["tax_basis_points"], &stored["tax_rate_millionths"]),
        (&json!(1_250), &json!(125_000))
    );
    assert_eq!(
        client.order("there-2", &there).await.json()["tax_minor"],
        60
    );
    // The same key with another location is a different request.
    let elsewhere = client.order("there-1", &an_espresso()).await;
    assert_eq!(
        (elsewhere.status, elsewhere.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["Idempotency-Key".to_owned()]
        )
    );
    there["location_id"] = json!("moon");
    let nowhere = client.order("there-3", &there).await;
    assert_eq!(
        (nowhere.status, nowhere.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["location_id".to_owned()]
        )
    );
}

#[tokio::test]
async fn the_slots_of_a_day_use_the_time_zone_of_the_shop() {
    let client = a_corner_shop().await;
    let day = client
        .get("/api/v1/pickup-slots?date=2026-03-01", &[])
        .await
        .json();
    assert_eq!(day["time_zone"], "America/New_York");
    let starts: Vec<_> = day["slots"]
        .as_array()
        .expect("slots")
        .iter()
        .map(|slot| slot["starts_at"].as_str().expect("a time"))
        .collect();
    assert_eq!(starts, ["2026-03-01T13:00:00Z", "2026-03-01T13:30:00Z"]);
    // A week later daylight saving time has begun.
    let later = client
        .get("/api/v1/pickup-slots?date=2026-03-08", &[])
        .await
        .json();
    assert_eq!(later["slots"][0]["starts_at"], "2026-03-08T12:00:00Z");
    let closed = client
        .get("/api/v1/pickup-slots?date=2026-03-02", &[])
        .await
        .json();
    assert_eq!(closed["slots"], json!([]));
    for (query, field) in [
        ("date=tomorrow", "date"),
        ("date=2026-02-28", "date"),
        ("date=2026-03-10", "date"),
        ("location_id=moon", "location_id"),
        ("day=1", "day"),
    ] {
        let refused = client
            .get(&format!("/api/v1/pickup-slots?{query}"), &[])
            .await;
        assert_eq!(
            (refused.status, refused.fields()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec![field.to_owned()])
        );
    }
}

/// The checkout's script shows these labels. In the night when clocks go back, two slots have the
/// same local time.
#[tokio::test]
async fn every_slot_of_a_day_has_a_unique_label() {
    let client = Client::new().await;
    client.shops.replace(vec![Location {
        slots: SlotRule::new(60, 2).expect("a rule"),
        ..Location::initial()
    }]);
    // From March 1 to October 31.
    client.later(time::Duration::days(244));
    let day = client
        .get("/api/v1/pickup-slots?date=2026-11-01", &[])
        .await
        .json();
    let words: Vec<&str> = day["slots"]
        .as_array()
        .expect("slots")
        .iter()
        .map(|slot| slot["local_time"].as_str().expect("words"))
        .collect();
    assert_eq!(
        words[..4],
        ["12:00 am", "1:00 am EDT", "1:00 am EST", "2:00 am"]
    );
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), 25, "{words:?}");
    let script = client.get("/static/haven.js", &[]).await.text;
    assert!(script.contains("slot.local_time"), "{script}");
}

#[tokio::test]
async fn the_slots_that_are_offered_are_those_that_can_be_ordered() {
    let client = Client::new().await;
    client.shops.replace(vec![Location {
        slots: SlotRule::new(60, 2).expect("a rule"),
        ..Location::initial()
    }]);
    let restock = json!({ "quantity": 500, "reason": "delivery" });
    let path = "/api/v1/admin/inventory/espresso/restock";
    assert_eq!(
        client
            .as_staff("POST", path, &[], Some(&restock))
            .await
            .status,
        StatusCode::OK
    );
    // The slot that began at seven in New York is in progress.
    client.later(time::Duration::minutes(5));
    let mut offered = 0;
    for day in 1..=8 {
        let day = client
            .get(&format!("/api/v1/pickup-slots?date=2026-03-0{day}"), &[])
            .await
            .json();
        let slots = day["slots"].as_array().expect("slots");
        for slot in slots.iter().filter(|slot| slot["state"] == "open") {
            let starts_at = slot["starts_at"].as_str().expect("a time");
            let placed = client
                .order(&Uuid::now_v7().to_string(), &at(starts_at))
                .await;
            assert_eq!(
                placed.status,
                StatusCode::ACCEPTED,
                "{slot}: {}",
                placed.text
            );
            offered += 1;
        }
    }
    assert_eq!(
        offered,
        7 * 24,
        "from one o'clock on, and on the last day until noon UTC"
    );
}

#[tokio::test]
async fn past_times_and_closed_times_are_refused_with_the_reason() {
    let client = a_corner_shop().await;
    for (time, why) in [
        ("2026-03-01T11:30:00Z", "is in the past"),
        ("2026-03-01T12:30:00Z", "outside the opening hours"),
        ("2026-03-01T14:00:00Z", "outside the opening hours"),
        ("2026-03-02T13:00:00Z", "opens at 2026-03-08T12:00:00Z"),
        ("2026-03-20T13:00:00Z", "seven days"),
    ] {
        let refused = client.order(&Uuid::now_v7().to_string(), &at(time)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{time}");
        assert_eq!(refused.fields(), ["pickup_at"]);
        assert!(refused.text.contains(why), "{time}: {}", refused.text);
    }
    let now = client.order("now", &an_espresso()).await;
    assert_eq!(
        (now.status, now.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["pickup_at".to_owned()]
        )
    );
    assert!(
        now.text.contains("opens at 2026-03-01T13:00:00Z"),
        "{}",
        now.text
    );
}

#[tokio::test]
async fn the_last_place_goes_to_one_order_and_is_free_after_its_failure() {
    let client = a_corner_shop().await;
    let order = at("2026-03-01T13:40:00Z");
    let first = client.order("first", &order).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    let client = Arc::new(client);
    let many = join_all((0..64).map(|n| {
        let (client, order) = (client.clone(), order.clone());
        async move { client.order(&format!("many-{n}"), &order).await }
    }))
    .await;
    let accepted: Vec<_> = many
        .iter()
        .filter(|answer| answer.status == StatusCode::ACCEPTED)
        .collect();
    assert_eq!(accepted.len(), 1);
    let refused = many
        .iter()
        .find(|answer| answer.status != StatusCode::ACCEPTED)
        .expect("one");
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::CONFLICT, vec!["pickup_at".to_owned()])
    );
    assert_eq!(
        refused.json()["type"],
        "https://brewhaven.example/problems/slot-full"
    );
    let slot = async || {
        client
            .get("/api/v1/pickup-slots?date=2026-03-01", &[])
            .await
            .json()["slots"][1]
            .clone()
    };
    assert_eq!(
        (
            slot().await["left"].as_i64(),
            slot().await["state"].as_str()
        ),
        (Some(0), Some("full"))
    );
    // A repeat of an accepted order is not a new order.
    assert_eq!(client.order("first", &order).await.json(), first.json());

    // The failed order frees its place.
    let id = first.json()["order_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let orders = &client.world.0.orders;
    let mut new = app::laws::orders::new_order();
    new.order = orders.load(id).await.expect("read").expect("there").order;
    let ended = app::laws::orders::step(&new, 1, domain::saga::State::Failed);
    orders
        .apply(&[ended])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
    assert_eq!(slot().await["left"], 1);
    assert_eq!(
        client.order("again", &order).await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_session_lists_its_orders_also_without_the_order_view() {
    let client = Client::new().await;
    let cookie = client
        .json(
            "POST",
            "/api/v1/cart/items",
            &[],
            &json!({ "product_id": "espresso", "quantity": 1 }),
        )
        .await
        .cookie();
    let headers = [("cookie", cookie.as_str()), ("idempotency-key", "mine")];
    let placed = client
        .json("POST", "/api/v1/orders", &headers, &an_espresso())
        .await
        .json();
    client.accepted().await;
    let list = async || {
        client
            .get("/api/v1/orders", &[("cookie", cookie.as_str())])
            .await
            .json()
    };
    assert_eq!(
        (
            list().await["orders"].clone(),
            list().await["source"].clone()
        ),
        (json!([]), json!("view")),
        "not yet"
    );
    let id = placed["order_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let stored = client
        .world
        .0
        .orders
        .load(id)
        .await
        .expect("read")
        .expect("there");
    client
        .world
        .0
        .views
        .show(&[OrderView::of(&stored)])
        .await
        .pop()
        .expect("an answer")
        .expect("shown");
    let shown = list().await;
    assert_eq!(
        (
            shown["orders"][0]["order_id"].clone(),
            shown["source"].clone()
        ),
        (placed["order_id"].clone(), json!("view"))
    );
    assert!(
        !shown.to_string().contains("ana@example.com"),
        "a view has no address"
    );
    client.world.0.views.set_out_of_reach(true);
    let fallback = list().await;
    assert_eq!(
        (fallback["orders"].clone(), fallback["source"].clone()),
        (shown["orders"].clone(), json!("orders"))
    );
    assert_eq!(
        client.get("/api/v1/orders", &[]).await.json()["orders"],
        json!([]),
        "without a session the list is empty"
    );
    assert_eq!(
        client.get("/api/v1/orders?limit=0", &[]).await.fields(),
        ["limit"]
    );
}

#[tokio::test]
async fn the_checkout_offers_free_times_and_keeps_the_input() {
    let client = a_corner_shop().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let page = open(&client, &cookie, "/checkout").await;
    assert!(
        page.text.contains("value=\"2026-03-01T13:30:00Z\"") && page.text.contains(">8:30 am"),
        "{}",
        page.text
    );
    let place = async |pickup_at: &str| {
        let body = format!(
            "name=Ana&phone=%2B15550100123&email=ana%40example.com&order_type=pickup&payment_token=tok_ok\
             &idempotency_key={}&pickup_at={pickup_at}",
            Uuid::now_v7()
        );
        check_out(&client, &cookie, &body).await
    };
    let closed = place("").await;
    assert_eq!(closed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        closed.text.contains("id=\"e-time\"") && closed.text.contains("value=\"Ana\""),
        "{}",
        closed.text
    );
    assert_eq!(place("soon").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        place("2026-03-01T13:30:00Z").await.status,
        StatusCode::SEE_OTHER
    );
}
