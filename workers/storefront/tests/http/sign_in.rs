//! Staff tokens from sign-in to sign-out, and their entries in the audit log.

use app::ports::access::{AuditLog as _, StaffTokens as _};
use axum::http::StatusCode;
use domain::access::StaffRole;
use serde_json::{Value, json};
use storefront::staff::issue;
use time::Duration;

use crate::pages::{open, submit};
use crate::{Client, NOON, SIGNING_KEY, recorded};

#[tokio::test]
async fn sign_out_revokes_the_token_everywhere() {
    let client = Client::new().await;
    let record = recorded(StaffRole::Barista, "Ana", NOON + Duration::hours(12));
    client
        .world
        .0
        .orders
        .record_token(&record)
        .await
        .expect("recorded");
    let token = issue(SIGNING_KEY, &record);
    let signed_in = submit(&client, "", "/staff/sign-in", &format!("token={token}")).await;
    assert_eq!(
        (signed_in.status, signed_in.header("location")),
        (StatusCode::SEE_OTHER, "/staff")
    );
    let cookie = format!("staff={token}");
    let board = open(&client, &cookie, "/staff").await;
    assert!(
        board.text.contains("action=\"/staff/sign-out\""),
        "every staff page has the button"
    );

    let out = submit(&client, &cookie, "/staff/sign-out", "").await;
    assert_eq!(
        (out.status, out.header("location")),
        (StatusCode::SEE_OTHER, "/staff/sign-in")
    );
    assert!(
        out.header("set-cookie").starts_with("staff=; ")
            && out.header("set-cookie").contains("Max-Age=0")
    );
    // A copy of the cookie, and the same token as a bearer token, are refused at once.
    assert_eq!(
        open(&client, &cookie, "/staff").await.status,
        StatusCode::SEE_OTHER
    );
    let bearer = format!("Bearer {token}");
    let refused = client
        .get("/api/v1/admin/orders", &[("authorization", &bearer)])
        .await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(
        refused.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("revoked")),
        "{}",
        refused.text
    );
    let known = client.world.0.orders.staff_tokens().await.expect("read");
    assert_eq!(known[0].revoked_at, Some(NOON));

    let entries = client.world.0.orders.audit_entries(10).await.expect("read");
    let acts: Vec<_> = entries
        .iter()
        .map(|entry| (entry.actor.as_str(), entry.action.as_str()))
        .collect();
    assert_eq!(acts, [("Ana", "staff.sign_out"), ("Ana", "staff.sign_in")]);
    assert_eq!(entries[0].subject, format!("staff-token/{}", record.id));
    assert!(
        !format!("{entries:?}").contains(&token),
        "never the token itself"
    );
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_another_of_the_same_person_is_not() {
    let client = Client::new().await;
    let [lost, kept] =
        [0, 1].map(|_| recorded(StaffRole::Barista, "Ana", NOON + Duration::hours(12)));
    client.revoked.replace(vec![lost.id]);
    for (record, status) in [(&lost, StatusCode::UNAUTHORIZED), (&kept, StatusCode::OK)] {
        let bearer = format!("Bearer {}", issue(SIGNING_KEY, record));
        let answer = client
            .get("/api/v1/admin/inventory", &[("authorization", &bearer)])
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    client.revoked.replace(Vec::new());
    let bearer = format!("Bearer {}", issue(SIGNING_KEY, &lost));
    let answer = client
        .get("/api/v1/admin/inventory", &[("authorization", &bearer)])
        .await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "the list is what was read last"
    );
}

#[tokio::test]
async fn off_the_laptop_the_staff_cookie_is_tied_to_the_host() {
    let client = Client::with(true).await;
    let token = issue(
        SIGNING_KEY,
        &recorded(StaffRole::Barista, "Ana", NOON + Duration::hours(1)),
    );
    let signed_in = submit(&client, "", "/staff/sign-in", &format!("token={token}")).await;
    let cookie = signed_in.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-staff=")
            && cookie.contains("; Secure")
            && cookie.contains("Path=/;"),
        "{cookie}"
    );
    assert_eq!(
        open(&client, &format!("__Host-staff={token}"), "/staff")
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        open(&client, &format!("staff={token}"), "/staff")
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn acts_of_staff_stand_in_the_audit_log() {
    let client = Client::new().await;
    let order = crate::staff::confirmed(&client).await;
    let path = format!("/api/v1/admin/orders/{order}/status");
    let preparing = json!({ "status": "preparing" });
    client
        .as_staff("PUT", &path, &[("if-match", "2")], Some(&preparing))
        .await;
    let stale = client
        .as_staff("PUT", &path, &[("if-match", "2")], Some(&preparing))
        .await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let delivery =
        json!({ "quantity": 5, "reason": "Monday's delivery", "movement_id": "delivery-7" });
    for _ in 0..2 {
        client
            .as_staff(
                "POST",
                "/api/v1/admin/inventory/espresso/restock",
                &[],
                Some(&delivery),
            )
            .await;
    }
    let spilt = json!({ "quantity": 2, "reason": "spilt" });
    client
        .as_staff(
            "POST",
            "/api/v1/admin/inventory/espresso/write-off",
            &[],
            Some(&spilt),
        )
        .await;

    let mut entries = client.world.0.orders.audit_entries(10).await.expect("read");
    entries.reverse();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry.action.as_str(), entry.subject.as_str()))
        .collect();
    let moved = format!("order/{order}");
    let expected = [
        ("order.move", moved.as_str()),
        ("stock.receive", "product/espresso"),
        ("stock.write_off", "product/espresso"),
    ];
    assert_eq!(seen, expected, "what was refused is no act");
    assert!(
        entries
            .iter()
            .all(|entry| entry.actor == "Ana" && entry.at == NOON),
        "{entries:?}"
    );
    let read = |text: &Option<String>| -> Value {
        serde_json::from_str(text.as_deref().expect("JSON")).expect("JSON")
    };
    assert_eq!(
        read(&entries[0].before),
        json!({ "status": "confirmed", "version": 2 })
    );
    assert_eq!(
        read(&entries[0].after),
        json!({ "status": "preparing", "step": "fulfilment", "version": 3 })
    );
    assert_eq!(read(&entries[1].after)["available"], 15);
    assert_eq!(read(&entries[2].after)["change"], -2);
}

/// A cancellation has the same action name on every path.
#[tokio::test]
async fn a_cancellation_by_staff_is_recorded_as_one_on_every_path() {
    let client = Client::new().await;
    let orders = [
        crate::staff::confirmed(&client).await,
        crate::staff::confirmed(&client).await,
        crate::staff::confirmed(&client).await,
    ];
    let cancelled = json!({ "status": "cancelled", "note": "asked by phone" });
    let path = format!("/api/v1/admin/orders/{}/status", orders[0]);
    client
        .as_staff("PUT", &path, &[("if-match", "2")], Some(&cancelled))
        .await;
    let many = json!({ "changes": [{ "id": orders[1], "version": 2, "status": "cancelled" }] });
    client
        .as_staff("POST", "/api/v1/admin/orders/status", &[], Some(&many))
        .await;
    for _ in 0..2 {
        client
            .as_staff(
                "POST",
                &format!("/api/v1/orders/{}/cancel", orders[2]),
                &[],
                Some(&json!({})),
            )
            .await;
    }
    let mut entries = client.world.0.orders.audit_entries(10).await.expect("read");
    entries.reverse();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry.action.clone(), entry.subject.clone()))
        .collect();
    let expected = orders.map(|id| ("order.cancel_as_staff".to_owned(), format!("order/{id}")));
    assert_eq!(seen, expected, "once each");
    let before = entries[0]
        .before
        .as_deref()
        .map(serde_json::from_str::<Value>);
    assert_eq!(
        before.expect("JSON").expect("JSON"),
        json!({ "status": "confirmed", "version": 2 })
    );
}
