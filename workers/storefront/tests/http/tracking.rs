//! Tracking tokens: how they reach the server, and what a person without one can learn.

use axum::http::StatusCode;
use uuid::Uuid;

use crate::pages::{open, submit};
use crate::{Answer, Client};

/// Returns a page without the session cookie that it sets.
fn said(answer: &Answer) -> (StatusCode, String) {
    (answer.status, answer.text.clone())
}

#[tokio::test]
async fn the_script_exchanges_the_token_of_a_link_for_a_cookie() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let link = receipt["links"]["page"].as_str().expect("a link");
    let (page, fragment) = link
        .split_once("#t=")
        .expect("the token is in the fragment");
    assert!(
        !page.contains('?') && receipt["tracking_token"] == fragment,
        "{link}"
    );

    // The server sees the link without its fragment. The page asks for number and address, and
    // loads the script.
    let asks = open(&client, "", page).await;
    assert_eq!(asks.status, StatusCode::NOT_FOUND);
    assert!(
        asks.text.contains("/static/track.js") && asks.text.contains("name=\"order_number\""),
        "{}",
        asks.text
    );
    let script = client.get("/static/track.js", &[]).await.text;
    let (before, answered) = script.split_once("fetch(").expect("a request");
    assert!(
        before.contains("location.hash") && !before.contains("forget()"),
        "a lost response does not remove the token"
    );
    assert!(
        answered.contains("answer.status !== 404") && answered.contains("forget()"),
        "{script}"
    );
    let opened = submit(
        &client,
        "",
        &format!("{page}/open"),
        &format!("t={fragment}"),
    )
    .await;
    assert_eq!(opened.status, StatusCode::NO_CONTENT, "{}", opened.text);
    let cookie = opened.header("set-cookie");
    assert!(
        cookie.starts_with("track=")
            && cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let order = open(&client, &opened.cookie(), page).await;
    assert_eq!(order.status, StatusCode::OK);
    assert!(
        !order.text.contains(fragment),
        "the page does not contain the token"
    );
    // Following and canceling need no token in a URL either.
    let events = client
        .response(
            "GET",
            &format!("/api/v1{page}/events"),
            &[("cookie", &opened.cookie())],
            "",
        )
        .await;
    assert_eq!(events.status(), StatusCode::OK);
    let cancelled = submit(&client, &opened.cookie(), &format!("{page}/cancel"), "").await;
    assert_eq!(
        (cancelled.status, cancelled.header("location")),
        (StatusCode::SEE_OTHER, page)
    );
}

#[tokio::test]
async fn a_browser_follows_several_orders() {
    let client = Client::new().await;
    let mut cookie = String::new();
    let mut pages = Vec::new();
    for _ in 0..3 {
        let receipt = client.accepted().await;
        let (page, token) = receipt["links"]["page"]
            .as_str()
            .and_then(|link| link.split_once("#t="))
            .expect("a link");
        cookie = submit(
            &client,
            &cookie,
            &format!("{page}/open"),
            &format!("t={token}"),
        )
        .await
        .cookie();
        pages.push(page.to_owned());
    }
    for page in pages {
        assert_eq!(
            open(&client, &cookie, &page).await.status,
            StatusCode::OK,
            "{page}"
        );
    }
}

#[tokio::test]
async fn without_a_token_an_existing_order_looks_like_a_missing_one() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let page = receipt["links"]["page"]
        .as_str()
        .and_then(|link| link.split('#').next())
        .expect("a link")
        .to_owned();
    let nowhere = format!("/orders/{}", Uuid::now_v7());
    assert_eq!(
        said(&open(&client, "", &page).await),
        said(&open(&client, "", &nowhere).await)
    );
    assert_eq!(
        open(&client, "", &page).await.text,
        open(&client, "", "/orders/not-an-id").await.text
    );
    for token in ["", "t=", "t=guess", "x=1"] {
        let [known, unknown] = [&page, &nowhere].map(|page| format!("{page}/open"));
        let known = submit(&client, "", &known, token).await;
        let unknown = submit(&client, "", &unknown, token).await;
        assert_eq!(
            (known.status, known.header("set-cookie")),
            (StatusCode::NOT_FOUND, ""),
            "{token}"
        );
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_lookup_form_finds_an_order_and_reveals_nothing_about_others() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let number = receipt["order_number"].as_str().expect("a number");
    for (number, email) in [
        (number.to_owned(), "ana%40example.com"),
        (number.to_lowercase(), "+Ana%40Example.com+"),
    ] {
        let found = submit(
            &client,
            "",
            "/orders",
            &format!("order_number={number}&email={email}"),
        )
        .await;
        assert_eq!(found.status, StatusCode::SEE_OTHER, "{}", found.text);
        assert_eq!(
            open(&client, &found.cookie(), found.header("location"))
                .await
                .status,
            StatusCode::OK
        );
    }
    let wrong = submit(
        &client,
        "",
        "/orders",
        &format!("order_number={number}&email=bob%40example.com"),
    )
    .await;
    let unknown = submit(
        &client,
        "",
        "/orders",
        "order_number=Z-999&email=bob%40example.com",
    )
    .await;
    assert_eq!(
        (wrong.status, unknown.status),
        (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND)
    );
    assert!(wrong.text.contains("We found no order"), "{}", wrong.text);
    assert_eq!(
        wrong.text.replace(number, "?"),
        unknown.text.replace("Z-999", "?")
    );
}

#[tokio::test]
async fn programs_send_the_token_in_a_header_and_old_ones_in_the_query() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let token = receipt["tracking_token"].as_str().expect("a token");
    let path = format!(
        "/api/v1/orders/{}",
        receipt["order_id"].as_str().expect("an id")
    );
    assert_eq!(
        client.get(&path, &[("tracking-token", token)]).await.status,
        StatusCode::OK
    );
    assert_eq!(
        client
            .get(&path, &[("tracking-token", "guess")])
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        client
            .get(&format!("{path}?token={token}"), &[])
            .await
            .status,
        StatusCode::OK
    );
    // A link of an older mail works, and sets a cookie for the page's next requests.
    let page = format!("/orders/{}", receipt["order_id"].as_str().expect("an id"));
    let opened = open(&client, "", &format!("{page}?token={token}")).await;
    assert_eq!(opened.status, StatusCode::OK);
    let track = opened
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let track = track
        .filter(|cookie| cookie.starts_with("track="))
        .map(|cookie| cookie.split(';').next());
    let track = track.flatten().next().expect("a cookie").to_owned();
    assert_eq!(open(&client, &track, &page).await.status, StatusCode::OK);
}
