//! Times on pages: on the shop's clock, with the date if it is not today. The clock is
//! at noon UTC on Sunday, March 1, 2026, which is seven in the morning in New York.

use app::location::Location;
use app::ports::orders::OrderStore as _;
use axum::http::StatusCode;
use contract::route::{Method, ROUTES, RouteId, Surface};
use domain::Timestamp;
use domain::access::StaffRole;
use domain::hours::{Hours, Opening, Zone};
use domain::ids::OrderId;
use domain::order::Order;
use domain::saga::State;
use serde_json::json;
use time::Duration;
use uuid::Uuid;

use crate::pages::{open, submit};
use crate::{Client, NOON, an_espresso, token_as};

/// Creates an order that is ready to be prepared.
pub async fn confirmed(client: &Client, change: impl FnOnce(&mut Order)) -> OrderId {
    let mut new = app::laws::orders::new_order();
    new.order.order_id = OrderId(Uuid::now_v7());
    change(&mut new.order);
    let orders = &client.world.0.orders;
    orders
        .place(std::slice::from_ref(&new))
        .await
        .pop()
        .expect("an answer")
        .expect("placed");
    let step = app::laws::orders::step(&new, 1, State::Confirmed);
    orders
        .apply(&[step])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
    new.order.order_id
}

fn staff() -> String {
    format!(
        "staff={}",
        token_as(StaffRole::Staff, "Ana", NOON + Duration::hours(1))
    )
}

#[tokio::test]
async fn a_pickup_time_is_on_the_page_of_its_order_with_its_day() {
    let client = Client::new().await;
    for (pickup_at, shown) in [
        (json!("2026-03-02T13:30:00Z"), "Pickup: Mon 2 Mar, 8:30 am."),
        (json!("2026-03-01T13:30:00Z"), "Pickup: 8:30 am."),
        (json!(null), "Pickup: as soon as it is ready."),
    ] {
        let mut order = an_espresso();
        order["pickup_at"] = pickup_at;
        let receipt = client
            .order(&Uuid::now_v7().to_string(), &order)
            .await
            .json();
        let page = open(&client, "", &crate::words::page_path(&receipt))
            .await
            .text;
        assert!(page.contains(shown), "{shown}: {page}");
        assert!(
            page.contains("ordered 7:00 am") && !page.contains("UTC"),
            "{page}"
        );
    }
}

/// The staff board sorts by due time and marks overdue orders as late. An order for tomorrow is
/// never late today, even if it was placed long ago.
#[tokio::test]
async fn the_staff_board_sorts_by_due_time_and_marks_late_orders() {
    let client = Client::new().await;
    let order = async |number: &str, created_at: Timestamp, pickup_at: Option<Timestamp>| {
        confirmed(&client, |order| {
            order.order_number = number.to_owned();
            (order.created_at, order.pickup_at) = (created_at, pickup_at);
        })
        .await
    };
    order(
        "T-900",
        NOON - Duration::hours(30),
        Some(NOON + Duration::hours(25)),
    )
    .await;
    order("B-500", NOON - Duration::minutes(5), None).await;
    order(
        "C-200",
        NOON - Duration::minutes(1),
        Some(NOON + Duration::minutes(2)),
    )
    .await;
    order("D-100", NOON - Duration::minutes(12), None).await;
    let board = open(&client, &staff(), "/staff").await.text;
    let places: Vec<_> = ["D-100", "C-200", "B-500", "T-900"]
        .map(|number| board.find(number))
        .into();
    assert!(
        places.is_sorted() && places.iter().all(Option::is_some),
        "{places:?}: {board}"
    );
    assert_eq!(board.matches("is-late").count(), 1, "{board}");
    assert!(
        board.contains("<strong>2 min late</strong>") && board.contains("due in 1 d 1 h"),
        "{board}"
    );
    assert!(
        board.contains("Mon 2 Mar, 8:00 am") && board.contains("7:02 am"),
        "{board}"
    );
}

#[tokio::test]
async fn the_staff_board_shows_the_orders_that_are_due_first() {
    let client = Client::new().await;
    let order = async |number: String, pickup_at: Option<Timestamp>| {
        confirmed(&client, |order| {
            (order.order_number, order.pickup_at) = (number, pickup_at)
        })
        .await
    };
    // Ordered before all the others, and due before and after them.
    order("A-001".to_owned(), Some(NOON + Duration::minutes(1))).await;
    order("T-900".to_owned(), Some(NOON + Duration::hours(25))).await;
    for number in 0..450 {
        order(format!("B-{number:03}"), None).await;
    }
    let board = open(&client, &staff(), "/staff").await.text;
    assert!(
        board.contains("A-001") && board.contains("T-900") && board.contains("B-449"),
        "{board}"
    );
    assert_eq!(board.matches("<li class=\"ticket").count(), 452);
    assert!(!board.contains("More orders are open"));
    for number in 450..1_000 {
        order(format!("B-{number:03}"), None).await;
    }
    let board = open(&client, &staff(), "/staff").await.text;
    assert_eq!(board.matches("<li class=\"ticket").count(), 1_000);
    assert!(
        board.contains("This page shows only the orders that are due first")
            && board.contains("A-001")
            && !board.contains("T-900")
    );
}

/// A ready order waits for its customer and is not late.
#[tokio::test]
async fn a_ready_order_shows_since_when_and_is_not_late() {
    let client = Client::new().await;
    let id = confirmed(&client, |order| {
        order.pickup_at = Some(NOON + Duration::minutes(5))
    })
    .await;
    let mut new = app::laws::orders::new_order();
    let orders = &client.world.0.orders;
    new.order = orders.load(id).await.expect("read").expect("there").order;
    let mut ready = app::laws::orders::step(&new, 2, State::Ready);
    ready.at = NOON + Duration::minutes(2);
    orders
        .apply(&[ready])
        .await
        .pop()
        .expect("an answer")
        .expect("applied");
    client.later(Duration::minutes(17));
    let board = open(&client, &staff(), "/staff").await.text;
    assert!(
        board.contains("ready for 15 min") && !board.contains(" late"),
        "{board}"
    );
}

#[tokio::test]
async fn every_page_of_a_closed_shop_shows_when_it_opens() {
    let client = crate::mailbox::with_mails().await;
    let session = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let cookies = format!("{session}; {}", staff());
    let id = confirmed(&client, |_| {}).await.to_string();
    let routes = ROUTES.iter().filter(|route| {
        route.method == Method::Get
            && route.surface == Surface::Page
            // These routes return parts of other pages.
            && ![RouteId::OrderPageFragment, RouteId::BoardPageFragment].contains(&route.id)
    });
    let real = |path: &str| match path {
        "/staff/mailbox/{id}" => "/staff/mailbox/1@ses".to_owned(),
        path => path
            .replace("{id}", &id)
            .replace("{product_id}", "espresso"),
    };
    let pages: Vec<String> = routes
        .map(|route| real(route.path))
        .chain(["/nowhere".to_owned()])
        .collect();
    assert!(
        pages.len() > 12 && pages.iter().any(|path| path == "/checkout"),
        "{pages:?}"
    );
    let notices = async || {
        let mut notices = Vec::new();
        for path in &pages {
            let page = open(&client, &cookies, path).await.text;
            assert!(page.contains("<main"), "{path} is no page: {page}");
            notices.push(
                page.split_once("<p class=\"closed\">")
                    .map(|(_, rest)| rest.split("</p>").next().unwrap_or_default().to_owned()),
            );
        }
        notices
    };
    assert!(
        notices().await.iter().all(Option::is_none),
        "the shop is always open"
    );
    let hours = |opens: u16, weekday: usize| {
        let mut week = [None; 7];
        week[weekday] = Some(Opening::new(opens * 60, opens * 60 + 60).expect("hours"));
        Hours {
            zone: Zone::parse("America/New_York").expect("a zone"),
            week,
        }
    };
    for (hours, notice) in [
        (hours(8, 6), "We are closed. We open at 8:00 am."),
        (
            hours(15, 1),
            "We are closed. We open on Tue 3 Mar, 3:00 pm.",
        ),
    ] {
        client.shops.replace(vec![Location {
            hours,
            ..Location::initial()
        }]);
        for (path, found) in pages.iter().zip(notices().await) {
            assert_eq!(found.as_deref(), Some(notice), "{path}");
        }
    }
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let refused = crate::pages::check_out(
        &client,
        &cookie,
        "name=Ana&phone=%2B15550100123&email=ana%40example.com&order_type=pickup&payment_token=tok_ok&idempotency_key=k-1",
    )
    .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused
            .text
            .contains("We open on Tue 3 Mar, 3:00 pm. Choose a time."),
        "{}",
        refused.text
    );
    assert!(
        !refused.text.contains("As soon as it is ready"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn a_time_can_be_chosen_on_every_day_of_a_week() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let page = open(&client, &cookie, "/checkout").await.text;
    for (date, label) in [
        ("2026-03-01", "Today"),
        ("2026-03-02", "Tomorrow, Mon 2 Mar"),
        ("2026-03-03", "Tue 3 Mar"),
        ("2026-03-07", "Sat 7 Mar"),
    ] {
        assert!(
            page.contains(&format!("<option value=\"{date}\"")) && page.contains(label),
            "{label}: {page}"
        );
    }
    assert!(
        page.contains("<option value=\"2026-03-01T12:15:00Z\">7:15 am</option>"),
        "{page}"
    );
    let form = "name=Ana&order_type=pickup&pickup_day=2026-03-05&pickup_at=2026-03-01T12%3A15%3A00Z&idempotency_key=k-1";
    let other = submit(&client, &cookie, "/checkout/times", form).await;
    assert_eq!(other.status, StatusCode::OK);
    for kept in [
        "value=\"Ana\"",
        "value=\"k-1\"",
        "<option value=\"2026-03-05\" selected>",
        "\"2026-03-05T13:30:00Z\">8:30 am",
    ] {
        assert!(other.text.contains(kept), "{kept}: {}", other.text);
    }
    assert!(
        !other.text.contains("2026-03-01T12:15:00Z"),
        "the times of one day"
    );
    assert!(
        page.contains("As soon as it is ready") && !other.text.contains("As soon as it is ready")
    );
}

#[tokio::test]
async fn the_timeline_and_the_ledger_name_their_time_zone() {
    let client = Client::new().await;
    let id = confirmed(&client, |_| {}).await;
    for path in [
        format!("/staff/orders/{id}"),
        "/staff/stock/espresso".to_owned(),
    ] {
        let page = open(&client, &staff(), &path).await.text;
        assert!(
            page.contains("(America/New_York)") && page.contains("2026-03-01 07:00:00"),
            "{path}: {page}"
        );
    }
}
