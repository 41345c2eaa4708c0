//! Every route with every role: the response matches the decision of `may`.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use contract::route::ROUTES;
use domain::access::{Action, Actor, Denial, Resource, StaffRole, may};
use serde_json::json;
use time::Duration;

use crate::{Client, NOON, token_as};

const NO_ORDER: &str = "01890000-0000-7000-8000-000000000000";

fn real(path: &str) -> String {
    path.replace("{product_id}", "espresso")
        .replace("{id}", NO_ORDER)
        .replace("{*path}", "haven.css")
}

/// Returns true if the status of a request without a valid body shows that the access check passed.
fn is_let_through(status: StatusCode) -> bool {
    !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

#[tokio::test]
async fn every_operation_admits_exactly_the_roles_of_may() {
    let client = Client::new().await;
    let document = client.get("/openapi.json", &[]).await.json();
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let route = ROUTES
                .iter()
                .find(|route| {
                    route.path == path && route.method.as_str().eq_ignore_ascii_case(method)
                })
                .unwrap_or_else(|| panic!("{method} {path} is not in the access table"));
            let (method, action) = (route.method.as_str(), route.action);
            let documented = operation["x-roles"].as_array().map(Vec::len);
            for role in StaffRole::ALL {
                let bearer = format!(
                    "Bearer {}",
                    token_as(role, "Ana", NOON + Duration::hours(1))
                );
                let headers = [
                    ("authorization", bearer.as_str()),
                    ("if-match", "1"),
                    ("idempotency-key", "k"),
                ];
                let answer = client.json(method, &real(path), &headers, &json!({})).await;
                // The webhook's handler decides by the signature.
                let allowed = match may(Actor::Staff(role), action, Resource::Shop) {
                    Err(_) if action == Action::ReceiveWebhook => true,
                    decided => decided.is_ok(),
                };
                let what = format!("{method} {path} as {}: {}", role.code(), answer.status);
                assert_eq!(is_let_through(answer.status), allowed, "{what}");
                if !allowed {
                    let needed = answer.json()["needs_role"].as_array().map(Vec::len);
                    assert_eq!(needed, action.staff().map(<[StaffRole]>::len), "{what}");
                    assert!(documented.is_none() || documented == needed, "{what}");
                }
                tried += 1;
            }
            let answer = client
                .json(method, &real(path), &[("idempotency-key", "k")], &json!({}))
                .await;
            let denied = may(Actor::Visitor, action, Resource::Shop) == Err(Denial::NotSignedIn);
            let expected = denied && action != Action::ReceiveWebhook;
            let refused = answer.status == StatusCode::UNAUTHORIZED;
            assert_eq!(
                refused, expected,
                "{method} {path} as a visitor: {}",
                answer.status
            );
        }
    }
    assert!(tried > 100, "only {tried} were tried");
}

#[tokio::test]
async fn the_staff_pages_admit_exactly_the_roles_of_may() {
    let client = Client::new().await;
    for route in ROUTES
        .iter()
        .filter(|route| route.path.starts_with("/staff"))
    {
        let (method, path, action) = (route.method.as_str(), route.path, route.action);
        for role in StaffRole::ALL {
            let cookie = format!("staff={}", token_as(role, "Ana", NOON + Duration::hours(1)));
            let form = ("content-type", "application/x-www-form-urlencoded");
            let headers = [("cookie", cookie.as_str()), ("accept", "text/html"), form];
            let answer = client.send(method, &real(path), &headers, "").await;
            let allowed = may(Actor::Staff(role), action, Resource::Shop).is_ok();
            assert_eq!(
                is_let_through(answer.status),
                allowed,
                "{method} {path} as {}: {}",
                role.code(),
                answer.status
            );
        }
        let answer = client
            .send(method, &real(path), &[("accept", "text/html")], "")
            .await;
        if action != Action::SignIn {
            let to = (answer.status, answer.header("location"));
            assert_eq!(
                to,
                (StatusCode::SEE_OTHER, "/staff/sign-in"),
                "{method} {path}"
            );
        }
    }
}

/// The router answers every row of the table, and 405 for every other method of its path.
#[tokio::test]
async fn the_router_has_exactly_the_routes_of_the_access_table() {
    let client = Client::new().await;
    for path in ROUTES
        .iter()
        .map(|route| route.path)
        .collect::<BTreeSet<_>>()
    {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            let known = ROUTES.iter().any(|route| {
                let of_route = route.method.as_str();
                route.path == path && (of_route == method || (of_route, method) == ("GET", "HEAD"))
            });
            let answer = client.response(method, &real(path), &[], "").await;
            let routed = answer.status() != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(
                routed,
                known,
                "{method} {path} answered {}",
                answer.status()
            );
        }
    }
    assert_eq!(
        client.get("/api/v1/nothing", &[]).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn support_can_cancel_orders_and_not_move_them() {
    let client = Client::new().await;
    let order = crate::staff::confirmed(&client).await;
    let bearer = format!(
        "Bearer {}",
        token_as(StaffRole::Support, "Ana", NOON + Duration::hours(1))
    );
    let headers = [("authorization", bearer.as_str()), ("if-match", "2")];
    let path = format!("/api/v1/admin/orders/{order}/status");
    let moved = client
        .json("PUT", &path, &headers, &json!({ "status": "preparing" }))
        .await;
    assert_eq!(moved.status, StatusCode::FORBIDDEN, "{}", moved.text);
    let many = json!({ "changes": [{ "id": order, "version": 2, "status": "preparing" }] });
    let moved = client
        .json("POST", "/api/v1/admin/orders/status", &headers, &many)
        .await;
    assert_eq!(moved.status, StatusCode::FORBIDDEN, "{}", moved.text);
    let cancelled = client
        .json(
            "PUT",
            &path,
            &headers,
            &json!({ "status": "cancelled", "note": "asked by phone" }),
        )
        .await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
}
