//! Sessions of customers: their owner, their expiry, and the orders and carts that stay with the
//! browser when the id changes.

use app::ports::orders::{OrderFilter, OrderStore as _};
use app::use_cases::project::Show as _;
use axum::http::StatusCode;
use serde_json::{Value, json};
use time::Duration;

use crate::pages::{check_out, hidden, open, submit};
use crate::{Answer, Client, NOON, an_espresso};

fn espresso() -> Value {
    json!({ "product_id": "espresso", "quantity": 1 })
}

async fn begun(client: &Client) -> String {
    client
        .json("POST", "/api/v1/cart/items", &[], &espresso())
        .await
        .cookie()
}

async fn units(client: &Client, cookie: &str) -> i64 {
    client
        .get("/api/v1/cart", &[("cookie", cookie)])
        .await
        .json()["units"]
        .as_i64()
        .expect("a number")
}

/// Orders the cart with the checkout form, as a browser does.
async fn checked_out(client: &Client, cookie: &str, key: &str) -> Answer {
    let form = format!(
        "name=Ana&phone=%2B15550100123&email=ana%40example.com&notify=email&order_type=pickup&special_instructions=\
         &payment_token=tok_ok&idempotency_key={key}"
    );
    check_out(client, cookie, &form).await
}

#[tokio::test]
async fn an_id_that_the_server_did_not_issue_is_replaced() {
    let client = Client::new().await;
    let ours = begun(&client).await;
    let (signed, _) = ours.rsplit_once('.').expect("signed");
    let planted = [
        "sid=AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        format!("sid={}", "a".repeat(64)),
        "sid=".to_owned(),
        signed.to_owned(),
        format!("{signed}."),
        format!("{ours}A"),
        ours.replacen("sid=1.", "sid=1.A", 1),
    ];
    for cookie in planted {
        let answer = client
            .json(
                "POST",
                "/api/v1/cart/items",
                &[("cookie", &cookie)],
                &espresso(),
            )
            .await;
        let fresh = answer.cookie();
        assert!(fresh.starts_with("sid=1.") && fresh != cookie, "{cookie}");
        assert_eq!(units(&client, &fresh).await, 1, "a cart of its own");
        assert_eq!(units(&client, &cookie).await, 0, "{cookie} is no session");
    }
    let goes_on = client
        .json(
            "POST",
            "/api/v1/cart/items",
            &[("cookie", &ours)],
            &espresso(),
        )
        .await;
    assert_eq!(
        goes_on.header("set-cookie"),
        "",
        "a session of ours goes on"
    );
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_a_used_one_is_renewed_until_its_absolute_end() {
    let client = Client::new().await;
    let mut cookie = begun(&client).await;
    client.later(Duration::minutes(59));
    assert_eq!(
        client
            .get("/", &[("cookie", &cookie)])
            .await
            .header("set-cookie"),
        "",
        "renewed at most once an hour"
    );
    client.later(Duration::minutes(1));
    let renewed = client.get("/", &[("cookie", &cookie)]).await;
    assert!(
        renewed.header("set-cookie").contains("Max-Age=604800"),
        "{}",
        renewed.header("set-cookie")
    );
    let id = |cookie: &str| cookie.split('.').nth(1).expect("an id").to_owned();
    assert_eq!(id(&renewed.cookie()), id(&cookie), "the id stays");

    // The server enforces the expiry even if the browser ignores Max-Age.
    client.later(Duration::days(7) - Duration::hours(1));
    assert!(
        client.get("/", &[("cookie", &cookie)]).await.cookie() != cookie,
        "the old cookie is idle for seven days"
    );
    assert_eq!(units(&client, &cookie).await, 0);

    cookie = begun(&client).await;
    let first = id(&cookie);
    for _ in 0..29 {
        client.later(Duration::days(1));
        cookie = client.get("/", &[("cookie", &cookie)]).await.cookie();
        assert_eq!(id(&cookie), first, "used every day");
    }
    client.later(Duration::days(1));
    let over = client.get("/", &[("cookie", &cookie)]).await.cookie();
    assert_ne!(id(&over), first, "thirty days are the end");
}

#[tokio::test]
async fn a_planted_session_does_not_see_the_order_placed_from_it() {
    let client = Client::new().await;
    let planted = begun(&client).await;
    let placed = checked_out(&client, &planted, "k-1").await;
    assert_eq!(placed.status, StatusCode::SEE_OTHER, "{}", placed.text);
    let page = placed.header("location").to_owned();
    assert!(!page.contains("token") && !page.contains('#'), "{page}");
    let mine = placed.cookie();
    assert_ne!(mine, planted);
    assert_eq!(open(&client, &mine, &page).await.status, StatusCode::OK);
    assert_eq!(
        open(&client, &planted, &page).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        client
            .get(&format!("/api/v1{page}"), &[("cookie", &planted)])
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_form_that_is_sent_twice_finds_its_own_order_from_either_session() {
    let client = Client::new().await;
    let before = begun(&client).await;
    let first = checked_out(&client, &before, "k-1").await;
    // First a second click before the browser had the response, then the form again after it.
    let second = checked_out(&client, &before, "k-1").await;
    let after = checked_out(&client, &first.cookie(), "k-1").await;
    for again in [&second, &after] {
        assert_eq!(
            (again.status, again.header("location")),
            (StatusCode::SEE_OTHER, first.header("location"))
        );
    }
    assert_eq!(
        open(&client, &second.cookie(), first.header("location"))
            .await
            .status,
        StatusCode::OK
    );
    let orders = client
        .world
        .0
        .orders
        .list(
            &app::ports::scope::Scope::Everything,
            &OrderFilter {
                limit: 10,
                ..OrderFilter::default()
            },
        )
        .await
        .expect("read");
    assert_eq!(orders.len(), 1);
}

#[tokio::test]
async fn orders_and_cart_lines_of_another_tab_follow_the_browser() {
    let client = Client::new().await;
    let mut cookie = begun(&client).await;
    let mut orders = Vec::new();
    for key in ["k-1", "k-2", "k-3"] {
        let placed = checked_out(&client, &cookie, key).await;
        assert_eq!(placed.status, StatusCode::SEE_OTHER, "{}", placed.text);
        orders.push(
            placed
                .header("location")
                .trim_start_matches("/orders/")
                .to_owned(),
        );
        let tab = cookie;
        client
            .json(
                "POST",
                "/api/v1/cart/items",
                &[("cookie", &tab)],
                &espresso(),
            )
            .await;
        // The form is sent again from the tab's session before the checkout.
        let again = checked_out(&client, &tab, key).await;
        cookie = again.cookie();
        assert_eq!(units(&client, &cookie).await, 1, "the cart followed");
        assert_eq!(units(&client, &tab).await, 0);
    }
    for stored in client
        .world
        .0
        .orders
        .list_stored(
            &app::ports::scope::Scope::Everything,
            &OrderFilter {
                limit: 10,
                ..OrderFilter::default()
            },
        )
        .await
        .expect("read")
    {
        client
            .world
            .0
            .views
            .show_one(app::ports::views::OrderView::of(&stored))
            .await
            .expect("shown");
    }
    orders.reverse();
    for out_of_reach in [false, true] {
        client.world.0.views.set_out_of_reach(out_of_reach);
        let listed = client
            .get("/api/v1/orders?limit=2", &[("cookie", &cookie)])
            .await
            .json();
        let ids = |page: &Value| -> Vec<String> {
            let orders = page["orders"].as_array().expect("orders").iter();
            orders
                .map(|order| order["order_id"].as_str().expect("an id").to_owned())
                .collect()
        };
        assert_eq!(
            ids(&listed),
            orders[..2],
            "newest first, from {}",
            listed["source"]
        );
        let next = listed["next_before"].as_str().expect("there is more");
        let rest = client
            .get(
                &format!("/api/v1/orders?before={next}"),
                &[("cookie", &cookie)],
            )
            .await
            .json();
        assert_eq!(ids(&rest), orders[2..]);
    }
}

#[tokio::test]
async fn a_browser_with_many_ids_needs_one_query() {
    let client = Client::new().await;
    let mut cookie = begun(&client).await;
    let mut orders = Vec::new();
    for number in 0..9 {
        let placed = checked_out(&client, &cookie, &format!("k-{number}")).await;
        orders.push(
            placed
                .header("location")
                .trim_start_matches("/orders/")
                .to_owned(),
        );
        cookie = placed.cookie();
        client
            .json(
                "POST",
                "/api/v1/cart/items",
                &[("cookie", &cookie)],
                &espresso(),
            )
            .await;
    }
    orders.reverse();
    let listed = client
        .get("/api/v1/orders", &[("cookie", &cookie)])
        .await
        .json();
    let ids: Vec<_> = listed["orders"]
        .as_array()
        .expect("orders")
        .iter()
        .map(|order| order["order_id"].as_str())
        .collect();
    assert_eq!(
        ids,
        orders
            .iter()
            .map(|id| Some(id.as_str()))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        listed["source"], "orders",
        "the view takes a question for each id"
    );
}

#[tokio::test]
async fn the_id_changes_at_staff_sign_in_and_the_cart_stays() {
    let client = Client::new().await;
    let before = begun(&client).await;
    let token = crate::token("Ana", NOON + Duration::hours(1));
    let signed_in = submit(
        &client,
        &before,
        "/staff/sign-in",
        &format!("token={token}"),
    )
    .await;
    let cookies: Vec<_> = signed_in
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let session = cookies
        .iter()
        .find(|cookie| cookie.starts_with("sid="))
        .expect("a session");
    let after = session.split(';').next().expect("a value");
    assert_ne!(after, before);
    assert_eq!(
        (units(&client, after).await, units(&client, &before).await),
        (1, 0)
    );
}

/// Orders the cart through the API.
async fn ordered(client: &Client, cookie: &str, key: &str) -> Answer {
    let mut order = an_espresso();
    order.as_object_mut().expect("an object").remove("items");
    order["cart"] = json!(true);
    client
        .json(
            "POST",
            "/api/v1/orders",
            &[("cookie", cookie), ("idempotency-key", key)],
            &order,
        )
        .await
}

#[tokio::test]
async fn the_id_changes_when_a_program_orders_its_cart() {
    let client = Client::new().await;
    let items = json!({ "items": an_espresso()["items"], "customer": an_espresso()["customer"], "payment_token": "tok_ok" });
    let planted = begun(&client).await;
    let headers = [("cookie", planted.as_str()), ("idempotency-key", "k-0")];
    let earlier = client
        .json("POST", "/api/v1/orders", &headers, &items)
        .await;
    assert_eq!(
        (earlier.status, earlier.header("set-cookie")),
        (StatusCode::ACCEPTED, ""),
        "an order without a cart"
    );

    let placed = ordered(&client, &planted, "k-1").await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.text);
    let mine = placed.cookie();
    assert_ne!(mine.split('.').nth(1), planted.split('.').nth(1));
    let path = |answer: &Answer| {
        format!(
            "/api/v1/orders/{}",
            answer.json()["order_id"].as_str().expect("an id")
        )
    };
    let sees = async |cookie: &str, answer: &Answer| {
        client
            .get(&path(answer), &[("cookie", cookie)])
            .await
            .status
    };
    assert_eq!(sees(&mine, &placed).await, StatusCode::OK);
    assert_eq!(
        sees(&mine, &earlier).await,
        StatusCode::OK,
        "what the id before has placed"
    );
    assert_eq!(
        sees(&planted, &placed).await,
        StatusCode::NOT_FOUND,
        "the previous id does not own the order"
    );
    assert_eq!(sees(&planted, &earlier).await, StatusCode::OK, "its own");

    // A repeat by a client without cookies and by one with cookies gets the same response and the
    // same order.
    let again = ordered(&client, &planted, "k-1").await;
    assert_eq!(
        (again.status, &again.text),
        (StatusCode::ACCEPTED, &placed.text)
    );
    assert_eq!(sees(&again.cookie(), &placed).await, StatusCode::OK);
    let again = ordered(&client, &mine, "k-1").await;
    assert_eq!(
        (again.status, &again.text),
        (StatusCode::ACCEPTED, &placed.text)
    );
    assert_eq!(sees(&again.cookie(), &placed).await, StatusCode::OK);
    let headers = [("cookie", mine.as_str()), ("idempotency-key", "k-0")];
    assert_eq!(
        client
            .json("POST", "/api/v1/orders", &headers, &items)
            .await
            .text,
        earlier.text
    );
}

#[tokio::test]
async fn an_id_that_the_server_did_not_issue_does_not_outlive_a_staff_sign_in() {
    let client = Client::new().await;
    let token = crate::token("Ana", NOON + Duration::hours(1));
    let planted = "sid=1.AAAAAAAAAAAAAAAAAAAAAA.1.1..AAAA";
    let signed_in = submit(
        &client,
        planted,
        "/staff/sign-in",
        &format!("token={token}"),
    )
    .await;
    let mut cookies = signed_in
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let session = cookies
        .find(|cookie| cookie.starts_with("sid="))
        .expect("a session of ours");
    assert!(!session.contains("AAAAAAAAAAAAAAAAAAAAAA"), "{session}");
}

#[tokio::test]
async fn an_order_of_a_program_belongs_to_the_session_that_it_sends() {
    let client = Client::new().await;
    let cookie = begun(&client).await;
    let headers = [("cookie", cookie.as_str()), ("idempotency-key", "k-1")];
    let order = client
        .json("POST", "/api/v1/orders", &headers, &an_espresso())
        .await
        .json();
    let path = format!(
        "/api/v1/orders/{}",
        order["order_id"].as_str().expect("an id")
    );
    assert_eq!(
        client.get(&path, &[("cookie", &cookie)]).await.status,
        StatusCode::OK
    );
    // The order stays visible after the browser's next checkout.
    let page = open(&client, &cookie, "/checkout").await.text;
    let placed = checked_out(&client, &cookie, &hidden(&page, "idempotency_key")).await;
    assert_eq!(
        client
            .get(&path, &[("cookie", &placed.cookie())])
            .await
            .status,
        StatusCode::OK
    );
}
