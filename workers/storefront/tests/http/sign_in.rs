//! Staff tokens from sign-in to sign-out, and their entries in the audit log.

use app::ports::access::{AuditLog as _, StaffTokens as _};
use axum::http::StatusCode;
use domain::access::StaffRole;
use serde_json::{Value, json};
use storefront::sign_in_link::{self, LIFE, MAILBOX};
use storefront::staff::issue;
use time::Duration;

use crate::pages::{open, submit};
use crate::{Answer, Client, NOON, SIGNING_KEY, recorded};

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
async fn with_secure_cookies_the_staff_cookie_is_bound_to_the_host() {
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
async fn acts_of_staff_are_in_the_audit_log() {
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
async fn a_cancellation_by_staff_has_one_action_on_every_path() {
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

/// Records a token for a link that expires after `life`. Returns the link token, from the fragment
/// of the link.
async fn link_token(client: &Client, life: Duration) -> String {
    let record = recorded(StaffRole::Staff, "local staff", NOON + life);
    let orders = &client.world.0.orders;
    orders.record_token(&record).await.expect("recorded");
    let address = sign_in_link::address("http://shop.example", SIGNING_KEY, &record, None);
    let token = address.strip_prefix("http://shop.example/staff/sign-in#link=");
    token.expect("a fragment").to_owned()
}

async fn sign_in(client: &Client, token: &str) -> Answer {
    submit(client, "", "/staff/sign-in", &format!("token={token}")).await
}

#[tokio::test]
async fn a_link_signs_in_once_with_a_session_that_can_be_revoked() {
    let client = Client::new().await;
    let link = link_token(&client, LIFE).await;
    let bearer = format!("Bearer {link}");
    let refused = client
        .get("/api/v1/admin/orders", &[("authorization", &bearer)])
        .await;
    assert_eq!(
        refused.status,
        StatusCode::UNAUTHORIZED,
        "a link is no staff token"
    );
    let cookie = format!("staff={link}");
    let refused = open(&client, &cookie, "/staff").await;
    assert_eq!(refused.header("location"), "/staff/sign-in");

    let (one, other) = tokio::join!(sign_in(&client, &link), sign_in(&client, &link));
    let (signed_in, late) = match one.status {
        StatusCode::SEE_OTHER => (one, other),
        _ => (other, one),
    };
    assert_eq!(
        (signed_in.status, signed_in.header("location")),
        (StatusCode::SEE_OTHER, "/staff")
    );
    let again = sign_in(&client, &link).await;
    for used in [late, again] {
        assert_eq!(used.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(used.text.contains("used before"), "{}", used.text);
        assert_eq!(used.header("set-cookie"), "");
    }

    let cookie = signed_in.cookie();
    assert!(cookie.starts_with("staff=hv2.") && !cookie.contains(&link));
    assert!(signed_in.header("set-cookie").contains("SameSite=Strict"));
    assert_eq!(
        open(&client, &cookie, "/staff").await.status,
        StatusCode::OK
    );
    let known = client.world.0.orders.staff_tokens().await.expect("read");
    let (sessions, links): (Vec<_>, Vec<_>) = known
        .into_iter()
        .partition(|token| token.revoked_at.is_none());
    assert_eq!((sessions.len(), links.len()), (1, 1));
    let session = &sessions[0];
    assert_eq!(
        (session.name.as_str(), session.role, session.expires_at),
        ("local staff", StaffRole::Staff, NOON + Duration::hours(12))
    );
    let acts = client.world.0.orders.audit_entries(10).await.expect("read");
    assert_eq!(acts.len(), 1, "{acts:?}");
    assert_eq!(
        (acts[0].action.as_str(), acts[0].subject.as_str()),
        (
            "staff.sign_in",
            format!("staff-token/{}", session.id).as_str()
        )
    );
    let after = acts[0].after.as_deref().unwrap_or_default();
    assert!(after.contains(&links[0].id.to_string()), "{after}");

    client.revoked.replace(vec![session.id]);
    assert_eq!(
        open(&client, &cookie, "/staff").await.header("location"),
        "/staff/sign-in"
    );
}

#[tokio::test]
async fn a_link_is_refused_after_a_minute_and_if_it_was_changed() {
    let client = Client::new().await;
    let (link, longer) = (
        link_token(&client, LIFE).await,
        link_token(&client, LIFE + Duration::SECOND).await,
    );
    let unrecorded = recorded(StaffRole::Staff, "local staff", NOON + LIFE);
    let [unrecorded, foreign] = [SIGNING_KEY, "another key"].map(|key| {
        let address = sign_in_link::address("", key, &unrecorded, None);
        let (_, token) = address.split_once("#link=").expect("a fragment");
        token.to_owned()
    });
    let changed = format!("{}x", &link[..link.len() - 1]);
    for invalid in [&longer, &unrecorded, &foreign, &changed] {
        let refused = sign_in(&client, invalid).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(
            refused.text.contains("not a sign-in link"),
            "{}",
            refused.text
        );
    }
    client.later(LIFE);
    let expired = sign_in(&client, &link).await;
    assert_eq!(expired.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(expired.text.contains("has expired"), "{}", expired.text);

    let aws = Client::with(true).await;
    let link = link_token(&aws, LIFE).await;
    let refused = sign_in(&aws, &link).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let known = aws.world.0.orders.staff_tokens().await.expect("read");
    assert!(
        known.iter().all(|token| token.revoked_at.is_none()),
        "refused before the database is asked: {known:?}"
    );
}

#[tokio::test]
async fn a_link_leads_to_the_mailbox_and_to_no_page_of_its_own_choice() {
    let client = Client::new().await;
    let record = recorded(StaffRole::Staff, "local staff", NOON + LIFE);
    let address = sign_in_link::address("", SIGNING_KEY, &record, Some(MAILBOX));
    assert!(address.ends_with("&page=mailbox"), "{address}");
    for (page, first) in [
        (MAILBOX, "/staff/mailbox"),
        ("", "/staff"),
        ("https://evil.example", "/staff"),
    ] {
        let link = link_token(&client, LIFE).await;
        let form = format!("token={link}&page={page}");
        let signed_in = submit(&client, "", "/staff/sign-in", &form).await;
        assert_eq!(signed_in.header("location"), first);
    }
    let page = open(&client, "", "/staff/sign-in").await;
    assert!(page.text.contains("src=\"/static/signin.js\""));
    let script = client.get("/static/signin.js", &[]).await;
    assert_eq!(script.status, StatusCode::OK);
    for part in ["#link=", "history.replaceState", "form.submit()"] {
        assert!(script.text.contains(part), "{part}");
    }
}
