//! Placing an order: idempotency, limits, prices.

use app::ports::orders::OrderFilter;
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use app::ports::stock::Stock as _;
use axum::http::StatusCode;
use domain::ids::ProductId;
use serde_json::{Value, json};

use crate::{Client, an_espresso};

#[tokio::test]
async fn the_same_key_and_body_give_the_same_answer_and_one_order() {
    let client = Client::new().await;
    let first = client.order("k-1", &an_espresso()).await;
    let mut spelled_otherwise = an_espresso();
    spelled_otherwise["customer"]["name"] = json!("  Ana ");
    spelled_otherwise["order_type"] = json!("pickup");
    let second = client.order("k-1", &spelled_otherwise).await;
    assert_eq!(
        (first.status, second.status),
        (StatusCode::ACCEPTED, StatusCode::ACCEPTED)
    );
    assert_eq!(first.text, second.text);
    let all = client
        .world
        .0
        .orders
        .list(
            &Scope::Everything,
            &OrderFilter {
                limit: 10,
                ..OrderFilter::default()
            },
        )
        .await;
    assert_eq!(all.expect("listed").len(), 1);
}

#[tokio::test]
async fn a_key_that_was_used_for_something_else_is_refused() {
    let client = Client::new().await;
    client.order("k-1", &an_espresso()).await;
    let mut other = an_espresso();
    other["items"][0]["quantity"] = json!(2);
    let refused = client.order("k-1", &other).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.fields(), ["Idempotency-Key"]);
}

#[tokio::test]
async fn an_order_without_a_key_is_refused() {
    let client = Client::new().await;
    let refused = client
        .json("POST", "/api/v1/orders", &[], &an_espresso())
        .await;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::BAD_REQUEST, vec!["Idempotency-Key".to_owned()])
    );
}

#[tokio::test]
async fn one_response_names_every_invalid_field() {
    let client = Client::new().await;
    let wrong = json!({
        "customer": { "name": "A\u{0}na", "phone": "call me", "email": "nobody", "vip": true },
        "items": [{ "product_id": "espresso", "quantity": 0 }, { "product_id": "Not A Slug", "quantity": 1.5 },
            { "product_id": "espresso", "quantity": "2", "price_minor": 1 }],
        "payment_token": "4242424242424242",
        "order_type": "drone",
        "pickup_at": "tomorrow",
        "total_minor": 1,
    });
    let refused = client.order("k-1", &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let fields = refused.fields();
    for field in [
        "customer.name",
        "customer.vip",
        "items[0].quantity",
        "items[1].product_id",
        "items[1].quantity",
        "items[2].quantity",
        "items[2].price_minor",
        "pickup_at",
        "total_minor",
    ] {
        assert!(
            fields.iter().any(|named| named == field),
            "{field} is not among {fields:?}"
        );
    }
}

#[tokio::test]
async fn quantities_outside_one_to_ninety_nine_are_refused() {
    let client = Client::new().await;
    for quantity in [
        json!(0),
        json!(100),
        json!(-1),
        json!(1.5),
        json!("2"),
        json!(null),
        json!(1e30),
    ] {
        let mut order = an_espresso();
        order["items"][0]["quantity"] = quantity.clone();
        let refused = client.order("k-1", &order).await;
        assert_eq!(
            refused.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{quantity}"
        );
        assert_eq!(refused.fields(), ["items[0].quantity"], "{quantity}");
    }
}

#[tokio::test]
async fn unknown_and_sold_out_products_are_reported() {
    let client = Client::new().await;
    let mut unknown = an_espresso();
    unknown["items"][0]["product_id"] = json!("unicorn-latte");
    let refused = client.order("k-1", &unknown).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["items[0].product_id".to_owned()]
        )
    );

    let mut sold_out = an_espresso();
    sold_out["items"][0]["product_id"] = json!("croissant");
    assert_eq!(
        client.order("k-2", &sold_out).await.status,
        StatusCode::CONFLICT
    );
}

#[tokio::test]
async fn a_repeat_succeeds_when_the_shop_is_full_or_sold_out() {
    let client = Client::new().await;
    let mut all = an_espresso();
    all["items"][0]["quantity"] = json!(10);
    let first = client.order("k-1", &all).await;
    let espresso = ProductId::parse("espresso").expect("a slug");
    let lines = domain::cart::Lines::merge([domain::cart::Line {
        product_id: espresso,
        quantity: domain::cart::Quantity::new(10).expect("1 to 99"),
    }]);
    let order_id = first.json()["order_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let stock = &client.world.0.stock;
    stock
        .reserve(order_id, &lines.expect("lines"), crate::NOON, crate::NOON)
        .await
        .expect("held");
    client.pending_max(1);

    assert_eq!(client.order("k-1", &all).await.text, first.text);
    let turned_away = client.order("k-2", &an_espresso()).await;
    assert_eq!(turned_away.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        turned_away.header("retry-after").parse::<u32>().is_ok(),
        "the response has Retry-After"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_or_not_json_is_refused() {
    let client = Client::new().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "k-1"),
    ];
    assert_eq!(
        client
            .send("POST", "/api/v1/orders", &headers, large)
            .await
            .status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    for body in ["", "{", "[]", "null", "\u{0}"] {
        let refused = client.send("POST", "/api/v1/orders", &headers, body).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (StatusCode::BAD_REQUEST, vec!["body".to_owned()]),
            "{body:?}"
        );
    }
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("idempotency-key", "k-1"),
    ];
    let refused = client.send("POST", "/api/v1/orders", &form, "a=b").await;
    assert_eq!(
        (refused.status, refused.fields()),
        (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            vec!["Content-Type".to_owned()]
        )
    );
}

#[tokio::test]
async fn a_cart_is_ordered_at_current_prices_and_is_empty_afterwards() {
    let client = Client::new().await;
    let line = json!({ "product_id": "espresso", "quantity": 2 });
    let added = client.json("POST", "/api/v1/cart/items", &[], &line).await;
    let cookie = added.cookie();
    assert_eq!(
        (added.status, added.json()["subtotal_minor"].as_i64()),
        (StatusCode::OK, Some(600))
    );
    let mut order = an_espresso();
    order.as_object_mut().expect("an object").remove("items");
    order["cart"] = json!(true);
    let headers = [("cookie", cookie.as_str()), ("idempotency-key", "k-1")];
    let accepted = client
        .json("POST", "/api/v1/orders", &headers, &order)
        .await;
    // 8.87 % of 6.00 is 0.53.
    assert_eq!(
        (accepted.status, accepted.json()["total_minor"].as_i64()),
        (StatusCode::ACCEPTED, Some(653))
    );
    let cart = client
        .get("/api/v1/cart", &[("cookie", &cookie)])
        .await
        .json();
    assert_eq!(cart["units"], 0);

    let again = client
        .json("POST", "/api/v1/orders", &headers, &order)
        .await;
    assert_eq!(
        again.text, accepted.text,
        "the repeat is recognized though the cart is empty now"
    );
}

#[tokio::test]
async fn notification_channels_are_stored_and_part_of_the_request() {
    let client = Client::new().await;
    let ask = |notify: Value| {
        let mut order = an_espresso();
        order["notify"] = notify;
        order
    };
    let notify = async |key: &str, body: &Value| {
        let receipt = client.order(key, body).await;
        assert_eq!(receipt.status, StatusCode::ACCEPTED, "{}", receipt.text);
        let page = receipt.json()["links"]["self"]
            .as_str()
            .expect("a link")
            .to_owned();
        client.get(&page, &[]).await.json()["notify"].clone()
    };
    assert_eq!(
        notify("n-1", &an_espresso()).await,
        json!({ "email": true, "sms": false }),
        "e-mail by default"
    );
    assert_eq!(
        notify("n-2", &ask(json!({ "sms": true }))).await,
        json!({ "email": true, "sms": true })
    );
    assert_eq!(
        notify("n-3", &ask(json!({ "email": false }))).await,
        json!({ "email": false, "sms": false })
    );

    let usual = ask(json!({ "email": true, "sms": false }));
    assert_eq!(
        client.order("n-1", &usual).await.status,
        StatusCode::ACCEPTED,
        "the same preferences, with both fields"
    );
    assert_eq!(
        client
            .order("n-1", &ask(json!({ "sms": true })))
            .await
            .status,
        StatusCode::UNPROCESSABLE_ENTITY
    );

    for (notify, field) in [
        (json!({ "sms": "yes" }), "notify.sms"),
        (json!({ "pigeon": true }), "notify.pigeon"),
        (json!("sms"), "notify"),
    ] {
        assert_eq!(client.order("n-4", &ask(notify)).await.fields(), [field]);
    }
    let mut switchboard = ask(json!({ "sms": true }));
    switchboard["customer"]["phone"] = json!("555 010 0123 x12");
    assert_eq!(
        client.order("n-5", &switchboard).await.fields(),
        ["customer.phone"],
        "a number with an extension cannot get texts"
    );
}

/// Pasted text is normalized, so that it cannot reorder the text of the staff board, a mail or a
/// terminal.
#[tokio::test]
async fn texts_are_stored_normalized() {
    let client = Client::new().await;
    let mut pasted = an_espresso();
    pasted["customer"] = json!({
        "name": "\u{202e}Zoe\u{308}\u{200b} \u{1f468}\u{200d}\u{1f469}",
        "phone": "\u{200e}\u{ff0b}1\u{a0}(212) 555\u{2011}0123 ext. 12",
        "email": "zoe@b\u{fc}cher.example",
    });
    pasted["special_instructions"] = json!("oat milk\r\nno \u{2066}sugar\u{2069}");
    let placed = client.order("text-1", &pasted).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.text);
    let path = placed.json()["links"]["self"]
        .as_str()
        .expect("a link")
        .to_owned();
    let stored = client.get(&path, &[]).await.json();
    let customer = json!({ "name": "Zoë \u{1f468}\u{200d}\u{1f469}", "phone": "+12125550123", "phone_extension": "12",
        "email": "zoe@xn--bcher-kva.example" });
    assert_eq!(
        (&stored["customer"], &stored["special_instructions"]),
        (&customer, &json!("oat milk\nno sugar"))
    );
    assert_eq!(
        client.order("text-1", &pasted).await.json(),
        placed.json(),
        "the repeat is the same request"
    );

    for (field, value) in [
        ("name", "\u{202e}\u{200b}"),
        ("phone", "555 0123"),
        ("email", "a..b@example.com"),
        ("email", "ana@1.2.3.4"),
        ("email", "ana@-x.example"),
    ] {
        let mut wrong = an_espresso();
        wrong["customer"][field] = json!(value);
        let refused = client.order("text-2", &wrong).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                vec![format!("customer.{field}")]
            )
        );
    }
}
