//! The pages as a browser without scripts uses them: forms, redirects and errors at their fields.

use app::ports::stock::Stock as _;
use axum::http::StatusCode;
use domain::access::StaffRole;
use domain::ids::ProductId;

use crate::{Answer, Client, NOON, token, token_as};

/// The headers that a browser sends with every form of ours.
const BROWSER: [(&str, &str); 3] = [
    ("accept", "text/html"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("sec-fetch-site", "same-origin"),
];

pub async fn submit(client: &Client, cookie: &str, path: &str, form: &str) -> Answer {
    let headers: Vec<_> = BROWSER.into_iter().chain([("cookie", cookie)]).collect();
    client.send("POST", path, &headers, form.to_owned()).await
}

pub async fn open(client: &Client, cookie: &str, path: &str) -> Answer {
    client
        .get(path, &[("accept", "text/html"), ("cookie", cookie)])
        .await
}

/// Sends the checkout form with the values that its page currently shows.
pub async fn check_out(client: &Client, cookie: &str, form: &str) -> Answer {
    let page = open(client, cookie, "/checkout").await.text;
    let mut form = form.to_owned();
    for name in ["expected_total_minor", "cart_version", "shown_lines"] {
        if page.contains(&format!("name=\"{name}\"")) {
            form.push_str(&format!("&{name}={}", hidden(&page, name)));
        }
    }
    submit(client, cookie, "/checkout", &form).await
}

/// Returns the value of a hidden field.
pub fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .expect("a hidden field");
    rest.split('"').next().expect("its end").to_owned()
}

#[tokio::test]
async fn plain_forms_place_an_order_and_a_second_submit_places_no_second_order() {
    let client = Client::new().await;
    let added = submit(&client, "", "/cart/items", "product_id=espresso&quantity=2").await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let cookie = added.cookie();
    let checkout = open(&client, &cookie, "/checkout").await;
    let key = hidden(&checkout.text, "idempotency_key");
    let form = |name: &str| {
        format!(
            "name={name}&phone=%2B15550100123&email=ana%40example.com&order_type=pickup&special_instructions=\
             &payment_token=tok_ok&idempotency_key={key}"
        )
    };
    let refused = check_out(&client, &cookie, &form("")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.text.contains("ana@example.com"),
        "the input is kept"
    );
    assert_eq!(hidden(&refused.text, "idempotency_key"), key);

    let first = check_out(&client, &cookie, &form("Ana")).await;
    assert_eq!(first.status, StatusCode::SEE_OTHER, "{}", first.text);
    assert!(
        open(&client, &first.cookie(), first.header("location"))
            .await
            .text
            .contains("Espresso")
    );
    submit(
        &client,
        &cookie,
        "/cart/items",
        "product_id=flat-white&quantity=1",
    )
    .await;
    let second = check_out(&client, &cookie, &form("Ana")).await;
    assert_eq!(second.header("location"), first.header("location"));
    let cart = client
        .get("/api/v1/cart", &[("cookie", &second.cookie())])
        .await
        .json();
    assert_eq!(cart["units"], 1, "a product that was added later stays");
}

#[tokio::test]
async fn a_refusal_for_too_many_open_orders_keeps_the_input() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    client.pending_max(0);
    let form = "name=Ana&phone=%2B15550100123&email=ana%40example.com&order_type=pickup&special_instructions=oat\
                &payment_token=tok_ok&idempotency_key=k-1";
    let refused = check_out(&client, &cookie, form).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text.contains("ana@example.com") && refused.text.contains("oat"));
}

#[tokio::test]
async fn a_late_change_is_answered_with_who_changed_the_order_and_its_status() {
    let client = Client::new().await;
    let id = crate::staff::confirmed(&client).await;
    let [ana, ben] = ["Ana", "Ben"]
        .map(|name| format!("staff={}", token(name, NOON + time::Duration::hours(1))));
    let path = format!("/staff/orders/{id}/status");
    let moved = submit(&client, &ben, &path, "status=preparing&version=2").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (StatusCode::SEE_OTHER, "/staff")
    );
    let late = submit(&client, &ana, &path, "status=cancelled&version=2").await;
    assert_eq!(late.header("location"), format!("/staff?late={id}"));
    let board = open(&client, &ana, late.header("location")).await;
    assert!(
        board
            .text
            .contains("Ben already changed order A-047. Its status is now: being prepared."),
        "{}",
        board.text
    );
}

#[tokio::test]
async fn a_restock_form_that_is_sent_twice_counts_once() {
    let client = Client::new().await;
    let staff = format!("staff={}", token("Ana", NOON + time::Duration::hours(1)));
    let page = open(&client, &staff, "/staff/stock").await;
    let id = hidden(&page.text, "movement_id");
    for _ in 0..2 {
        let form = format!("units=5&reason=delivery&movement_id={id}");
        let done = submit(&client, &staff, "/staff/stock/espresso/restock", &form).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    }
    let espresso = ProductId::parse("espresso").expect("a slug");
    let stocked = client
        .world
        .0
        .stock
        .product(&espresso)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(stocked.counters.available, 15);
    let refused = submit(
        &client,
        &staff,
        "/staff/stock/espresso/restock",
        "units=-5&reason=typo",
    )
    .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("typo"), "the input is kept");
}

#[tokio::test]
async fn the_stock_pages_show_suggestions_and_the_ledger() {
    let client = Client::new().await;
    let staff = format!(
        "staff={}",
        token_as(StaffRole::Manager, "Ana", NOON + time::Duration::hours(1))
    );
    let page = open(&client, &staff, "/staff/stock").await.text;
    assert!(
        page.contains("<td data-label=\"Order\">3</td>"),
        "three croissants, up to their threshold: {page}"
    );
    let id = hidden(&page, "movement_id");
    let form = format!("units=2&reason=past+its+day&movement_id={id}");
    for _ in 0..2 {
        let done = submit(&client, &staff, "/staff/stock/espresso/write-off", &form).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    }
    let ledger = open(&client, &staff, "/staff/stock/espresso").await.text;
    assert!(
        ledger.contains("written off")
            && ledger.contains("past its day")
            && ledger.contains("8 available")
    );
    assert_eq!(ledger.matches("written off").count(), 1, "once");
    assert_eq!(
        open(&client, &staff, "/staff/stock/tea").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_staff_pages_ask_for_a_token() {
    let client = Client::new().await;
    for path in ["/staff", "/staff/stock", "/staff/stock/espresso"] {
        let redirected = open(&client, "", path).await;
        assert_eq!(
            (redirected.status, redirected.header("location")),
            (StatusCode::SEE_OTHER, "/staff/sign-in"),
            "{path}"
        );
    }
    assert_eq!(
        submit(&client, "", "/staff/sign-in", "token=guess")
            .await
            .status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let good = format!("token={}", token("Ana", NOON + time::Duration::hours(1)));
    let signed_in = submit(&client, "", "/staff/sign-in", &good).await;
    let cookie = signed_in.header("set-cookie").to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert_eq!(
        open(&client, &signed_in.cookie(), "/staff").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_form_has_the_notification_channels_and_keeps_the_choice() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    assert!(
        open(&client, &cookie, "/checkout")
            .await
            .text
            .contains("name=\"notify\"")
    );
    let form = |phone: &str, notify: &str| {
        format!(
            "name=Ana&phone={phone}&email=ana%40example.com&notify={notify}&order_type=pickup&special_instructions=\
             &payment_token=tok_ok&idempotency_key=k-1"
        )
    };
    let refused = check_out(&client, &cookie, &form("555+010+0123+x12", "sms")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("id=\"e-phone\""), "{}", refused.text);
    assert!(
        refused.text.contains("value=\"sms\" selected"),
        "the choice is kept"
    );
    let unknown = check_out(&client, &cookie, &form("%2B15550100123", "pigeon")).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(unknown.text.contains("id=\"e-notify\""), "{}", unknown.text);

    let placed = check_out(&client, &cookie, &form("%2B15550100123", "sms")).await;
    assert_eq!(placed.status, StatusCode::SEE_OTHER, "{}", placed.text);
    let order = client
        .get(
            &format!("/api/v1{}", placed.header("location")),
            &[("cookie", &placed.cookie())],
        )
        .await;
    let order = order.json();
    assert_eq!(order["notify"]["sms"], true);
}

/// The page can register a service worker for browser notifications, and works without it.
#[tokio::test]
async fn the_order_page_can_offer_browser_notifications() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let path = format!("/orders/{}", receipt["order_id"].as_str().expect("an id"));
    let token = receipt["tracking_token"].as_str().expect("a token");
    let page = client
        .get(&path, &[("accept", "text/html"), ("tracking-token", token)])
        .await;
    assert!(
        page.text.contains("id=\"tell-me\"") && page.text.contains("hidden>"),
        "hidden without a script"
    );
    let worker = client.get("/static/notices.js", &[]).await;
    assert_eq!(
        (worker.status, worker.header("content-type")),
        (StatusCode::OK, "text/javascript; charset=utf-8")
    );
    let script = client.get("/static/haven.js", &[]).await;
    assert!(
        script.text.contains("\"/static/notices.js\""),
        "the script has the path of the worker"
    );
}

/// After a lost response the product may already be in the cart. The script must show the cart
/// instead of adding the product again.
#[tokio::test]
async fn the_script_shows_the_cart_when_the_result_of_adding_is_unknown() {
    let script = Client::new().await.get("/static/haven.js", &[]).await.text;
    assert!(script.contains("location.assign(\"/cart\")"), "{script}");
    assert!(
        !script.contains(".submit()"),
        "no form is sent a second time"
    );
}
