//! The customer pays the price that was shown.

use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::scope::Scope;
use axum::http::StatusCode;
use domain::cart::{Line, Quantity};
use domain::ids::ProductId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::pages::{hidden, open, submit};
use crate::{Answer, Client, an_espresso};

/// Changes the price of an espresso, and makes the storefront read it.
async fn set_price(client: &Client, minor: i64) {
    let shown =
        async || client.get("/api/v1/menu/espresso", &[]).await.json()["price_minor"].clone();
    shown().await;
    client
        .world
        .0
        .stock
        .set_price(&ProductId::parse("espresso").expect("a slug"), minor);
    let restock = json!({ "quantity": 1, "reason": "so that the menu is read again" });
    client
        .as_staff(
            "POST",
            "/api/v1/admin/inventory/espresso/restock",
            &[],
            Some(&restock),
        )
        .await;
    assert_eq!(shown().await, minor);
}

pub async fn orders(client: &Client) -> usize {
    let filter = OrderFilter {
        limit: 10,
        ..OrderFilter::default()
    };
    client
        .world
        .0
        .orders
        .list(&Scope::Everything, &filter)
        .await
        .expect("listed")
        .len()
}

fn expecting(total: i64) -> Value {
    let mut order = an_espresso();
    order["expected_total_minor"] = json!(total);
    order
}

#[tokio::test]
async fn an_order_with_another_total_is_refused_and_its_key_stays_unused() {
    let client = Client::new().await;
    // 8.87 % of 3.00 is 0.27.
    assert_eq!(
        client.order("k-0", &expecting(327)).await.status,
        StatusCode::ACCEPTED
    );
    set_price(&client, 330).await;
    let refused = client.order("k-1", &expecting(327)).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (
            StatusCode::CONFLICT,
            vec!["expected_total_minor".to_owned()]
        )
    );
    let problem = refused.json();
    assert_eq!(
        problem["type"],
        "https://brewhaven.example/problems/price-changed"
    );
    assert_eq!(
        (&problem["total_minor"], &problem["currency"]),
        (&json!(359), &json!("USD"))
    );
    let price = json!({ "kind": "unit_price", "product_id": "espresso", "name": "Espresso", "was": 300, "now": 330 });
    assert_eq!(
        problem["changes"],
        json!([{ "kind": "total", "was": 327, "now": 359 }, price])
    );
    assert_eq!(orders(&client).await, 1, "nothing was placed");

    let placed = client.order("k-1", &expecting(359)).await;
    assert_eq!(
        (placed.status, placed.json()["total_minor"].as_i64()),
        (StatusCode::ACCEPTED, Some(359))
    );
    // A repeat of a placed order gets the same answer, whatever total it expects.
    set_price(&client, 340).await;
    for repeat in [expecting(359), expecting(1), an_espresso()] {
        assert_eq!(client.order("k-1", &repeat).await.text, placed.text);
    }
    assert_eq!(
        client.order("k-2", &an_espresso()).await.status,
        StatusCode::ACCEPTED,
        "an order without expected amounts is placed"
    );
    for wrong in [json!("3.27"), json!(3.27), json!(true)] {
        let mut order = an_espresso();
        order["expected_total_minor"] = wrong;
        assert_eq!(
            client.order("k-3", &order).await.fields(),
            ["expected_total_minor"]
        );
    }
}

#[tokio::test]
async fn a_cart_that_changed_in_another_tab_is_not_ordered() {
    let client = Client::new().await;
    let add = async |cookie: &str, product: &str| {
        let line = json!({ "product_id": product, "quantity": 1 });
        client
            .json("POST", "/api/v1/cart/items", &[("cookie", cookie)], &line)
            .await
    };
    let first = add("", "espresso").await;
    let (cookie, version) = (first.cookie(), first.json()["version"].clone());
    assert!(
        version
            .as_i64()
            .is_some_and(|version| version > 0 && version < 1 << 53),
        "{version}"
    );
    let mut order = an_espresso();
    order.as_object_mut().expect("an object").remove("items");
    (order["cart"], order["cart_version"]) = (json!(true), version.clone());
    let place = async |order: &Value| {
        let headers = [("cookie", cookie.as_str()), ("idempotency-key", "k-1")];
        client.json("POST", "/api/v1/orders", &headers, order).await
    };
    let second = add(&cookie, "flat-white").await.json();
    let refused = place(&order).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::CONFLICT, vec!["cart_version".to_owned()])
    );
    assert_eq!(refused.json()["cart_version"], second["version"]);
    order["cart_version"] = second["version"].clone();
    assert_eq!(place(&order).await.status, StatusCode::ACCEPTED);
    let cart = client
        .get("/api/v1/cart", &[("cookie", &cookie)])
        .await
        .json();
    assert_eq!(cart["units"], 0);
    // The same lines have the same cart version.
    let again = add(&cookie, "espresso").await.json();
    assert_eq!(again["version"], version);
    let mut items = an_espresso();
    items["cart_version"] = version;
    assert_eq!(
        client.order("k-2", &items).await.fields(),
        ["cart_version"],
        "the order is not from a cart"
    );
}

#[tokio::test]
async fn the_cart_shows_price_changes_since_a_line_was_added() {
    let client = Client::new().await;
    let cookie = submit(&client, "", "/cart/items", "product_id=espresso&quantity=1")
        .await
        .cookie();
    let page = async || open(&client, &cookie, "/cart").await.text;
    assert!(!page().await.contains("changed from"));
    set_price(&client, 330).await;
    let text = "The price of Espresso changed from $3.00 to $3.30 since you added it.";
    assert!(page().await.contains(text), "{}", page().await);
    let line = client
        .get("/api/v1/cart", &[("cookie", &cookie)])
        .await
        .json()["lines"][0]
        .clone();
    assert_eq!(
        (&line["seen_unit_price_minor"], &line["unit_price_minor"]),
        (&json!(300), &json!(330))
    );
}

/// The completed checkout form of a session with two espressos.
pub struct Checkout {
    pub cookie: String,
    pub page: String,
}

impl Checkout {
    pub async fn open(client: &Client) -> Checkout {
        let cookie = submit(client, "", "/cart/items", "product_id=espresso&quantity=2")
            .await
            .cookie();
        let page = open(client, &cookie, "/checkout").await.text;
        Checkout { cookie, page }
    }

    /// Sends the form with the values that the page currently shows.
    pub async fn submit(&mut self, client: &Client) -> Answer {
        self.submit_with(client, "payment_token=tok_ok").await
    }

    /// Sends the form with additional fields.
    pub async fn submit_with(&mut self, client: &Client, more: &str) -> Answer {
        let answer = submit(client, &self.cookie, "/checkout", &self.form(more)).await;
        if answer.status != StatusCode::SEE_OTHER {
            self.page = answer.text.clone();
        }
        answer
    }

    /// Returns the form as a browser sends it.
    pub fn form(&self, more: &str) -> String {
        let mut form = format!(
            "name=Ana&phone=%2B15550100123&email=ana%40example.com&special_instructions=oat&order_type=pickup&{more}"
        );
        for name in [
            "idempotency_key",
            "expected_total_minor",
            "cart_version",
            "shown_lines",
        ] {
            form.push_str(&format!("&{name}={}", hidden(&self.page, name)));
        }
        form
    }
}

#[tokio::test]
async fn the_form_is_kept_and_a_repeat_places_the_order_at_the_new_price() {
    let client = Client::new().await;
    let mut checkout = Checkout::open(&client).await;
    set_price(&client, 330).await;
    let refused = checkout.submit(&client).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    for kept in [
        "The total changed from $6.53 to $7.19.",
        "Espresso now costs $3.30, not $3.00.",
        "value=\"Ana\"",
        "value=\"ana@example.com\"",
        ">oat</textarea>",
        "Place order for $7.19",
    ] {
        assert!(refused.text.contains(kept), "{kept}: {}", refused.text);
    }
    assert_eq!(orders(&client).await, 0);
    let placed = checkout.submit(&client).await;
    assert_eq!(placed.status, StatusCode::SEE_OTHER, "{}", placed.text);
    let own = placed.cookie();
    let order = client
        .get(
            &format!("/api/v1{}", placed.header("location")),
            &[("cookie", &own)],
        )
        .await
        .json();
    assert_eq!(order["total_minor"], 719);
}

#[tokio::test]
async fn the_form_shows_cart_changes_by_another_tab() {
    let client = Client::new().await;
    let mut checkout = Checkout::open(&client).await;
    submit(
        &client,
        &checkout.cookie,
        "/cart/items",
        "product_id=flat-white&quantity=1",
    )
    .await;
    submit(
        &client,
        &checkout.cookie,
        "/cart/items/espresso",
        "quantity=1",
    )
    .await;
    let refused = checkout.submit(&client).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    for text in [
        "Your cart has changed",
        "1 × Flat white was added to your cart.",
        "Your cart now has 1 × Espresso, not 2.",
    ] {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    assert_eq!(checkout.submit(&client).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_form_without_its_amounts_places_no_order() {
    let client = Client::new().await;
    let checkout = Checkout::open(&client).await;
    let form = format!(
        "name=Ana&phone=%2B15550100123&email=ana%40example.com&order_type=pickup&payment_token=tok_ok&idempotency_key={}",
        Uuid::now_v7()
    );
    let refused = submit(&client, &checkout.cookie, "/checkout", &form).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(
        refused.text.contains("Please check the total below")
            && refused.text.contains("value=\"Ana\"")
    );
    assert_eq!(orders(&client).await, 0);
}

#[tokio::test]
async fn a_cart_that_another_tab_emptied_is_a_conflict_and_the_form_is_kept() {
    let client = Client::new().await;
    let mut checkout = Checkout::open(&client).await;
    let key = hidden(&checkout.page, "idempotency_key");
    submit(&client, &checkout.cookie, "/cart/clear", "").await;
    let refused = checkout.submit(&client).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    for kept in [
        "Espresso is no longer in your cart.",
        "value=\"Ana\"",
        ">oat</textarea>",
        "Your cart is empty",
    ] {
        assert!(refused.text.contains(kept), "{kept}: {}", refused.text);
    }
    assert!(
        !refused.text.contains("Place order"),
        "the empty cart has no button: {}",
        refused.text
    );

    // After the cart is filled again, the form can be sent.
    submit(
        &client,
        &checkout.cookie,
        "/cart/items",
        "product_id=espresso&quantity=1",
    )
    .await;
    let form = checkout.form("payment_token=tok_ok");
    checkout.page = submit(&client, &checkout.cookie, "/checkout/times", &form)
        .await
        .text;
    assert!(
        checkout.page.contains("value=\"Ana\"") && checkout.page.contains("Place order for $3.27")
    );
    assert_eq!(
        hidden(&checkout.page, "idempotency_key"),
        key,
        "the key placed no order"
    );
    assert_eq!(checkout.submit(&client).await.status, StatusCode::SEE_OTHER);
    assert_eq!(orders(&client).await, 1);
}

#[tokio::test]
async fn a_cart_that_another_tab_ordered_is_not_ordered_twice_and_the_form_is_kept() {
    let client = Client::new().await;
    let mut first = Checkout::open(&client).await;
    let page = open(&client, &first.cookie, "/checkout").await.text;
    let placed = first.submit(&client).await;
    // A browser that has lost its session also gets its form back.
    for cookie in [placed.cookie(), String::new()] {
        let mut second = Checkout {
            cookie,
            page: page.clone(),
        };
        let refused = second.submit(&client).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
        assert!(
            refused.text.contains("value=\"ana@example.com\""),
            "{}",
            refused.text
        );
        assert!(
            refused.text.contains("Espresso is no longer in your cart."),
            "{}",
            refused.text
        );
    }
    assert_eq!(orders(&client).await, 1);
}

#[tokio::test]
async fn an_empty_cart_is_reported_to_a_client_that_expected_lines() {
    let client = Client::new().await;
    let line = json!({ "product_id": "espresso", "quantity": 1 });
    let cart = client.json("POST", "/api/v1/cart/items", &[], &line).await;
    let cookie = cart.cookie();
    let mut order = an_espresso();
    order.as_object_mut().expect("an object").remove("items");
    order["cart"] = json!(true);
    let place = async |order: &Value| {
        client
            .json(
                "POST",
                "/api/v1/orders",
                &[("cookie", &cookie), ("idempotency-key", "k-1")],
                order,
            )
            .await
    };
    client
        .send("DELETE", "/api/v1/cart", &[("cookie", &cookie)], "")
        .await;
    let nothing = place(&order).await;
    assert_eq!(
        (nothing.status, nothing.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["items".to_owned()])
    );
    (order["cart_version"], order["expected_total_minor"]) =
        (cart.json()["version"].clone(), json!(327));
    let refused = place(&order).await;
    assert_eq!(
        (refused.status, &refused.json()["total_minor"]),
        (StatusCode::CONFLICT, &json!(0)),
        "{}",
        refused.text
    );
    assert_eq!(refused.fields(), ["expected_total_minor", "cart_version"]);
    assert!(
        refused.text.contains("your cart is empty"),
        "{}",
        refused.text
    );
    let empty = client
        .get("/api/v1/cart", &[("cookie", &cookie)])
        .await
        .json();
    assert_eq!(refused.json()["cart_version"], empty["version"]);
}

/// A line that another tab adds while an order is being placed is neither ordered nor lost.
#[tokio::test]
async fn lines_added_while_the_order_is_placed_stay_in_the_cart() {
    let client = Client::new().await;
    let line = |product: &str| Line {
        product_id: ProductId::parse(product).expect("a slug"),
        quantity: Quantity::new(1).expect("1 to 99"),
    };
    for more in ["flat-white", "espresso"] {
        let mut checkout = Checkout::open(&client).await;
        client.world.0.carts.add_meanwhile(line(more));
        let placed = checkout.submit(&client).await;
        assert_eq!(placed.status, StatusCode::SEE_OTHER, "{}", placed.text);
        let cart = client
            .get("/api/v1/cart", &[("cookie", &placed.cookie())])
            .await
            .json();
        assert_eq!(
            (&cart["units"], &cart["lines"][0]["product_id"]),
            (&json!(1), &json!(more)),
            "{cart:#}"
        );
    }
    let added = client
        .json(
            "POST",
            "/api/v1/cart/items",
            &[],
            &json!({ "product_id": "espresso", "quantity": 1 }),
        )
        .await;
    let cookie = added.cookie();
    client.world.0.carts.add_meanwhile(line("flat-white"));
    let mut order = an_espresso();
    order.as_object_mut().expect("an object").remove("items");
    order["cart"] = json!(true);
    let headers = [("cookie", cookie.as_str()), ("idempotency-key", "k-1")];
    let placed = client
        .json("POST", "/api/v1/orders", &headers, &order)
        .await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.text);
    let cart = client
        .get("/api/v1/cart", &[("cookie", &placed.cookie())])
        .await
        .json();
    assert_eq!(
        (&cart["units"], &cart["lines"][0]["product_id"]),
        (&json!(1), &json!("flat-white")),
        "{cart:#}"
    );
}
