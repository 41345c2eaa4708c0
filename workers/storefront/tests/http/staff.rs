//! Acts of staff: status changes with a version, stock changes with a reason.

use app::ports::orders::OrderStore as _;
use app::ports::stock::Stock as _;
use axum::http::StatusCode;
use domain::ids::ProductId;
use domain::order::Status;
use domain::saga::State;
use serde_json::json;

use crate::Client;

/// Creates an order that is ready to be prepared, as the workers leave it: version 2.
pub async fn confirmed(client: &Client) -> String {
    let new = app::laws::orders::new_order();
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
    let read = orders
        .load(new.order.order_id)
        .await
        .expect("read")
        .expect("there")
        .order;
    assert_eq!((read.status, read.version), (Status::Confirmed, 2));
    new.order.order_id.to_string()
}

#[tokio::test]
async fn concurrent_status_changes_do_not_undo_each_other() {
    let client = Client::new().await;
    let path = format!("/api/v1/admin/orders/{}/status", confirmed(&client).await);
    let preparing = json!({ "status": "preparing" });
    let first = client
        .as_staff("PUT", &path, &[("if-match", "2")], Some(&preparing))
        .await;
    assert_eq!(
        (first.status, first.header("etag")),
        (StatusCode::OK, "\"3\"")
    );
    let second = client
        .as_staff(
            "PUT",
            &path,
            &[("if-match", "\"2\"")],
            Some(&json!({ "status": "cancelled" })),
        )
        .await;
    assert_eq!(second.status, StatusCode::PRECONDITION_FAILED);
    let blind = client.as_staff("PUT", &path, &[], Some(&preparing)).await;
    assert_eq!(
        (blind.status, blind.fields()),
        (
            StatusCode::PRECONDITION_REQUIRED,
            vec!["If-Match".to_owned()]
        )
    );
}

#[tokio::test]
async fn an_illegal_status_change_is_refused() {
    let client = Client::new().await;
    let path = format!("/api/v1/admin/orders/{}/status", confirmed(&client).await);
    let jump = client
        .as_staff(
            "PUT",
            &path,
            &[("if-match", "2")],
            Some(&json!({ "status": "completed" })),
        )
        .await;
    assert_eq!(jump.status, StatusCode::CONFLICT);
    let unknown = client
        .as_staff(
            "PUT",
            &path,
            &[("if-match", "2")],
            Some(&json!({ "status": "burnt" })),
        )
        .await;
    assert_eq!(
        (unknown.status, unknown.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["status".to_owned()])
    );
}

#[tokio::test]
async fn the_next_page_continues_after_the_last_order() {
    let client = Client::new().await;
    for _ in 0..3 {
        client.accepted().await;
    }
    let page = client
        .as_staff(
            "GET",
            "/api/v1/admin/orders?limit=2&status=pending",
            &[],
            None,
        )
        .await
        .json();
    assert_eq!(page["orders"].as_array().map(Vec::len), Some(2));
    let next = page["next_before"].as_str().expect("there is more");
    let rest = client
        .as_staff(
            "GET",
            &format!("/api/v1/admin/orders?limit=2&before={next}"),
            &[],
            None,
        )
        .await
        .json();
    assert_eq!(
        (
            rest["orders"].as_array().map(Vec::len),
            rest["next_before"].is_null()
        ),
        (Some(1), true)
    );
    for wrong in [
        "limit=0",
        "limit=201",
        "status=burnt",
        "before=x",
        "sort=name",
    ] {
        let refused = client
            .as_staff("GET", &format!("/api/v1/admin/orders?{wrong}"), &[], None)
            .await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert_eq!(refused.fields(), [wrong.split('=').next().expect("a name")]);
    }
}

#[tokio::test]
async fn stock_changes_need_a_reason_and_are_idempotent_by_their_id() {
    let client = Client::new().await;
    let path = "/api/v1/admin/inventory/espresso/restock";
    let refused = client
        .as_staff("POST", path, &[], Some(&json!({ "quantity": 5 })))
        .await;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["reason".to_owned()])
    );
    let delivery =
        json!({ "quantity": 5, "reason": "Monday's delivery", "movement_id": "delivery-7" });
    for _ in 0..2 {
        assert_eq!(
            client
                .as_staff("POST", path, &[], Some(&delivery))
                .await
                .json()["available"],
            15
        );
    }
    let path = "/api/v1/admin/inventory/espresso/adjust";
    let too_many = client
        .as_staff(
            "POST",
            path,
            &[],
            Some(&json!({ "change": -16, "reason": "spilt" })),
        )
        .await;
    assert_eq!(
        (too_many.status, too_many.fields()),
        (StatusCode::CONFLICT, vec!["change".to_owned()])
    );
    let spilt = client
        .as_staff(
            "POST",
            path,
            &[],
            Some(&json!({ "change": -4, "reason": "spilt" })),
        )
        .await
        .json();
    assert_eq!(
        (spilt["available"].as_i64(), spilt["written_off"].as_i64()),
        (Some(11), Some(4))
    );
    let found = json!({ "change": 1, "reason": "found" });
    let nowhere = client
        .as_staff(
            "POST",
            "/api/v1/admin/inventory/tea/adjust",
            &[],
            Some(&found),
        )
        .await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    let espresso = ProductId::parse("espresso").expect("a slug");
    let kept = client
        .world
        .0
        .stock
        .product(&espresso)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(kept.counters.available, 11);
}

#[tokio::test]
async fn the_ledger_shows_write_offs_with_actor_and_reason() {
    let client = Client::new().await;
    let path = "/api/v1/admin/inventory/espresso/write-off";
    let spilt = json!({ "quantity": 4, "reason": "spilt", "movement_id": "spilt-1" });
    for _ in 0..2 {
        let after = client
            .as_staff("POST", path, &[], Some(&spilt))
            .await
            .json();
        assert_eq!(
            (after["available"].as_i64(), after["written_off"].as_i64()),
            (Some(6), Some(4))
        );
    }
    let refused = client
        .as_staff(
            "POST",
            path,
            &[],
            Some(&json!({ "quantity": -4, "reason": "spilt" })),
        )
        .await;
    assert_eq!(
        (refused.status, refused.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["quantity".to_owned()]
        )
    );

    let ledger = "/api/v1/admin/inventory/espresso/ledger";
    let first = client
        .as_staff("GET", &format!("{ledger}?limit=1"), &[], None)
        .await
        .json();
    let entry = &first["entries"][0];
    let of = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    assert_eq!((of("kind"), of("reference"), of("actor"), of("note")), {
        let said = ["write_off", "spilt-1", "Ana", "spilt"].map(str::to_owned);
        let [kind, reference, actor, note] = said;
        (kind, reference, actor, note)
    });
    assert_eq!(
        (entry["units"].as_i64(), entry["available_change"].as_i64()),
        (Some(4), Some(-4))
    );
    let next = first["next_before"]
        .as_str()
        .expect("there is more")
        .replace('#', "%23")
        .replace(':', "%3A");
    let rest = client
        .as_staff("GET", &format!("{ledger}?before={next}"), &[], None)
        .await
        .json();
    assert_eq!(
        (
            &rest["entries"][0]["reference"],
            rest["next_before"].is_null()
        ),
        (&json!("opening"), true)
    );
    for wrong in ["limit=0", "limit=201", "before=id%23spilt-1", "sort=at"] {
        let refused = client
            .as_staff("GET", &format!("{ledger}?{wrong}"), &[], None)
            .await;
        assert_eq!(
            refused.fields(),
            [wrong.split('=').next().expect("a name")],
            "{wrong}"
        );
    }
    let nowhere = client
        .as_staff("GET", "/api/v1/admin/inventory/tea/ledger", &[], None)
        .await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn suggestions_list_sold_out_products_first() {
    let client = Client::new().await;
    let answer = client
        .as_staff("GET", "/api/v1/admin/stock/suggestions?days=7", &[], None)
        .await
        .json();
    assert_eq!(answer["days"], 7);
    let first = &answer["suggestions"][0];
    assert_eq!(
        (&first["product_id"], &first["suggested_quantity"]),
        (&json!("croissant"), &json!(3))
    );
    assert_eq!(
        (first["days_left"].is_null(), &first["sold_per_day"]),
        (true, &json!(0.0))
    );
    for wrong in ["days=0", "days=91", "days=x", "weeks=1"] {
        let refused = client
            .as_staff(
                "GET",
                &format!("/api/v1/admin/stock/suggestions?{wrong}"),
                &[],
                None,
            )
            .await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

/// A change that succeeded is answered as made even if its history cannot be read afterwards.
#[tokio::test]
async fn a_change_succeeds_although_its_history_cannot_be_read() {
    let client = Client::new().await;
    let (moved, cancelled) = (confirmed(&client).await, client.accepted().await);
    client.world.0.orders.lose_histories();
    let path = format!("/api/v1/admin/orders/{moved}/status");
    let answer = client
        .as_staff(
            "PUT",
            &path,
            &[("if-match", "2")],
            Some(&json!({ "status": "preparing" })),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        (&answer.json()["status"], &answer.json()["version"]),
        (&json!("preparing"), &json!(3))
    );
    let cancel = cancelled["links"]["cancel"].as_str().expect("a link");
    let answer = client.json("POST", cancel, &[], &json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
}
