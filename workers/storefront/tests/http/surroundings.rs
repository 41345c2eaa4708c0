//! The middleware around every response: headers, cookies, one format of errors, and no requests
//! from other sites.

use axum::http::StatusCode;
use serde_json::json;

use crate::{Client, an_espresso};

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let client = Client::new().await;
    for path in [
        "/",
        "/cart",
        "/api/v1/menu",
        "/nowhere",
        "/staff",
        "/openapi.json",
        "/static/nothing.css",
    ] {
        let answer = client.get(path, &[]).await;
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'self'"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(
            answer.header("referrer-policy"),
            "no-referrer",
            "{path}: an address may tell what somebody does"
        );
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
    }
    assert_eq!(
        client.get("/", &[]).await.header("cache-control"),
        "no-store"
    );
}

#[tokio::test]
async fn cookies_are_http_only_and_bound_to_the_host_on_tls() {
    let line = json!({ "product_id": "espresso", "quantity": 1 });
    let laptop = Client::new()
        .await
        .json("POST", "/api/v1/cart/items", &[], &line)
        .await;
    let cookie = laptop.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("sid=")
            && cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    assert!(cookie.contains("Max-Age=604800"), "a week: {cookie}");
    let cloud = Client::with(true).await;
    let added = cloud.json("POST", "/api/v1/cart/items", &[], &line).await;
    let cookie = added.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("__Host-sid=")
            && cookie.contains("Secure")
            && cookie.contains("Path=/;"),
        "{cookie}"
    );
    assert!(
        added
            .header("strict-transport-security")
            .starts_with("max-age=")
    );
}

#[tokio::test]
async fn writes_from_another_site_are_refused() {
    let client = Client::new().await;
    let line = json!({ "product_id": "espresso", "quantity": 1 });
    for headers in [
        [("sec-fetch-site", "cross-site"), ("accept", "*/*")],
        [("sec-fetch-site", "same-site"), ("accept", "*/*")],
        [("origin", "https://evil.example"), ("accept", "*/*")],
        [("origin", "null"), ("accept", "*/*")],
    ] {
        let answer = client
            .json("POST", "/api/v1/cart/items", &headers, &line)
            .await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (StatusCode::FORBIDDEN, ""),
            "{headers:?}"
        );
    }
    let followed = client
        .get(
            "/",
            &[("sec-fetch-site", "cross-site"), ("accept", "text/html")],
        )
        .await;
    assert_eq!(
        followed.status,
        StatusCode::OK,
        "a link to the shop may stand anywhere"
    );
    for own in [
        vec![
            ("origin", "http://shop.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        // A form of a page with the policy `no-referrer`.
        vec![("origin", "null"), ("sec-fetch-site", "same-origin")],
        // An older browser, and a program.
        vec![("origin", "http://shop.example")],
        vec![],
    ] {
        let answer = client.json("POST", "/api/v1/cart/items", &own, &line).await;
        assert_eq!(answer.status, StatusCode::OK, "{own:?}");
    }
}

#[tokio::test]
async fn an_error_is_a_problem_for_programs_and_a_page_for_people() {
    let client = Client::new().await;
    let problem = client.get("/api/v1/menu/nothing", &[]).await;
    assert_eq!(
        (problem.status, problem.header("content-type")),
        (StatusCode::NOT_FOUND, "application/problem+json")
    );
    let body = problem.json();
    for field in ["type", "title", "status", "detail", "request_id"] {
        assert!(!body[field].is_null(), "{field} is missing: {body}");
    }
    assert_eq!(body["request_id"], problem.header("x-request-id"));
    let page = client.get("/nowhere", &[("accept", "text/html")]).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (StatusCode::NOT_FOUND, "text/html; charset=utf-8")
    );
    let wrong_method = client.send("DELETE", "/api/v1/menu", &[], "").await;
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD")
    );
    // Errors of the router itself have the same format.
    for (answer, kind) in [
        (client.get("/nowhere", &[]).await, "not-found"),
        (wrong_method, "method-not-allowed"),
        (client.get("/api/v1/menu/%FF", &[]).await, "bad-request"),
    ] {
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{kind}: {}",
            answer.text
        );
        assert!(
            answer.json()["type"]
                .as_str()
                .is_some_and(|kind_url| kind_url.ends_with(kind)),
            "{kind}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_panic_is_answered_500_and_the_next_request_is_served() {
    let client = Client::new().await;
    client.panics(true);
    let failed = client.get("/cart", &[]).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        failed.json()["type"]
            .as_str()
            .is_some_and(|kind_url| kind_url.ends_with("internal")),
        "{}",
        failed.text
    );
    client.panics(false);
    assert_eq!(client.get("/cart", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn input_of_people_is_escaped_on_pages() {
    let client = Client::new().await;
    let mut order = an_espresso();
    order["customer"]["name"] = json!("<script>alert(1)</script>");
    order["special_instructions"] = json!("\"><img src=x onerror=alert(1)>");
    let receipt = client.order("k-1", &order).await.json();
    let path = format!("/orders/{}", receipt["order_id"].as_str().expect("an id"));
    let token = receipt["tracking_token"].as_str().expect("a token");
    let page = client
        .get(&path, &[("accept", "text/html"), ("tracking-token", token)])
        .await;
    assert_eq!(page.status, StatusCode::OK);
    let board = client
        .as_staff("GET", "/staff", &[("accept", "text/html")], None)
        .await;
    for html in [page.text, board.text] {
        assert!(
            !html.contains("<script>alert") && !html.contains("<img src=x"),
            "{html}"
        );
    }
}
