//! A client that asks too much or is too slow, over real sockets: other clients must not suffer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use app::ports::orders::OrderStore as _;
use axum::http::StatusCode;
use contract::dependency::Dependency;
use storefront::server::{Limits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{Client, an_espresso};

const SHORT: Duration = Duration::from_millis(400);
const PLENTY: Duration = Duration::from_secs(15);

fn limits() -> Limits {
    Limits {
        headers_within: SHORT,
        ..Limits::default()
    }
}

/// Serves the client's shop on its own port until its shutdown.
async fn open(client: &Client, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(
        listener,
        client.router.clone(),
        limits,
        client.shutdown.clone(),
    ));
    address
}

async fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("written");
}

const MENU: &str = "GET /api/v1/menu HTTP/1.1\r\nhost: shop.example\r\n\r\n";

/// Reads the head of the response and the part of its body that arrives with it.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains("\r\n\r\n") {
            let mut bytes = [0; 16 * 1024];
            let read = stream.read(&mut bytes).await.expect("readable");
            assert!(read > 0, "closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    };
    timeout(PLENTY, reading).await.expect("an answer in time");
    text
}

async fn menu(address: SocketAddr) -> String {
    let mut stream = connected(address).await;
    send(&mut stream, MENU).await;
    answer(&mut stream).await
}

/// Sends an order and returns the status and the `Retry-After` in seconds.
async fn order(address: SocketAddr, forwarded_for: &str) -> (u16, Option<u32>) {
    let (body, key) = (an_espresso().to_string(), Uuid::now_v7());
    let mut stream = connected(address).await;
    let head = format!(
        "POST /api/v1/orders HTTP/1.1\r\nhost: shop.example\r\ncontent-type: application/json\r\n\
         idempotency-key: {key}\r\nx-forwarded-for: {forwarded_for}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    send(&mut stream, &head).await;
    let answer = answer(&mut stream).await;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let after = answer
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse().ok());
    (status, after)
}

#[tokio::test]
async fn slow_headers_end_the_connection_and_delay_no_other_client() {
    let client = Client::new().await;
    let address = open(&client, limits()).await;
    let mut slow = connected(address).await;
    send(&mut slow, "GET / HTTP/1.1\r\nx-slow: ").await;
    let begun = Instant::now();
    let (mut reads, mut writes) = slow.into_split();
    let trickling = tokio::spawn(async move {
        while writes.write_all(b"a").await.is_ok() {
            tokio::time::sleep(SHORT / 8).await;
        }
    });
    assert!(
        menu(address).await.starts_with("HTTP/1.1 200"),
        "others are served meanwhile"
    );
    let mut rest = Vec::new();
    let _ = timeout(PLENTY, reads.read_to_end(&mut rest))
        .await
        .expect("closed");
    assert!(
        begun.elapsed() >= SHORT,
        "a slow line gets its time: {:?}",
        begun.elapsed()
    );
    trickling.abort();
}

#[tokio::test]
async fn a_connection_between_requests_is_kept_and_an_unused_one_is_closed() {
    let client = Client::new().await;
    let limits = Limits {
        idle_within: SHORT * 5,
        ..limits()
    };
    let address = open(&client, limits).await;
    let mut stream = connected(address).await;
    for _ in 0..3 {
        send(&mut stream, MENU).await;
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        // Longer than the limit for headers, and shorter than the limit for idle connections.
        tokio::time::sleep(SHORT * 2).await;
    }
    let mut idle = connected(address).await;
    let mut rest = Vec::new();
    let _ = timeout(PLENTY, idle.read_to_end(&mut rest))
        .await
        .expect("closed");
}

#[tokio::test]
async fn idle_connections_are_closed_for_new_clients() {
    let client = Client::new().await;
    let limits = Limits {
        connections_max: 8,
        idle_within: PLENTY * 4,
        ..limits()
    };
    let address = open(&client, limits).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(connected(address).await);
    }
    // A connection with an occasional request is not the longest idle one.
    let mut used = connected(address).await;
    for _ in 0..5 {
        send(&mut used, MENU).await;
        assert!(answer(&mut used).await.starts_with("HTTP/1.1 200"));
        // Fewer than the connections that have been idle for longer.
        for _ in 0..3 {
            held.push(connected(address).await);
        }
        assert!(menu(address).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn one_client_cannot_use_all_connections_even_with_requests_in_flight() {
    let client = Client::new().await;
    let limits = Limits {
        connections_max: 8,
        of_a_client_max: 4,
        idle_within: PLENTY * 4,
        ..limits()
    };
    let address = open(&client, limits).await;
    let order = client.accepted().await;
    let events = order["links"]["events"].as_str().expect("a link");
    let mut held = Vec::new();
    for _ in 0..4 {
        // A response that has begun is in flight.
        let mut following = connected(address).await;
        send(
            &mut following,
            &format!("GET {events} HTTP/1.1\r\nhost: shop.example\r\n\r\n"),
        )
        .await;
        assert!(answer(&mut following).await.starts_with("HTTP/1.1 200"));
        held.push(following);
    }
    let mut fifth = connected(address).await;
    let _ = fifth.write_all(MENU.as_bytes()).await;
    let read = timeout(PLENTY, fifth.read(&mut [0])).await.expect("closed");
    assert!(!matches!(read, Ok(1..)), "its fifth is refused");
    // Another address of this machine.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.2:0".parse().expect("an address"))
        .expect("bound");
    let mut other = socket.connect(address).await.expect("connected");
    send(&mut other, MENU).await;
    assert!(answer(&mut other).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn ten_thousand_carts_of_one_client_evict_no_other_cart() {
    let client = Client::set(|settings| settings.trusted_proxies = 1).await;
    let line = r#"{"product_id":"espresso","quantity":1}"#;
    let headers = [
        ("content-type", "application/json"),
        ("x-forwarded-for", "203.0.113.5"),
    ];
    let quiet = client
        .send("POST", "/api/v1/cart/items", &headers, line)
        .await
        .cookie();
    let headers = [
        ("content-type", "application/json"),
        ("x-forwarded-for", "203.0.113.99"),
    ];
    let mut refused = 0;
    let mut kept = String::new();
    for number in 0..10_001 {
        let answer = client
            .send("POST", "/api/v1/cart/items", &headers, line)
            .await;
        match answer.status {
            StatusCode::OK => kept = answer.cookie(),
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            other => panic!("{number}: {other} {}", answer.text),
        }
    }
    assert!(refused > 8_000, "{refused} were refused");
    let cart = client
        .get("/api/v1/cart", &[("cookie", &quiet)])
        .await
        .json();
    assert_eq!(cart["units"], 1, "another client's cart is still there");
    // An existing cart still accepts products.
    let headers = [headers[0], headers[1], ("cookie", kept.as_str())];
    assert_eq!(
        client
            .send("POST", "/api/v1/cart/items", &headers, line)
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn guesses_of_order_numbers_are_rate_limited() {
    let client = Client::new().await;
    let address = open(&client, limits()).await;
    for (path, tries) in [
        ("/orders", 8),
        ("/orders/01890000-0000-7000-8000-000000000000/open", 60),
    ] {
        let mut statuses = Vec::new();
        for _ in 0..tries {
            let mut stream = connected(address).await;
            let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n\r\nt=guess";
            send(
                &mut stream,
                &format!("POST {path} HTTP/1.1\r\nhost: shop.example\r\n{form}"),
            )
            .await;
            statuses.push(answer(&mut stream).await[9..12].to_owned());
        }
        assert_eq!(statuses[tries - 1], "429", "{path}: {statuses:?}");
    }
}

/// Several storefronts with a shared store allow a client no more than one storefront does.
#[tokio::test]
async fn counts_of_the_shared_store_limit_this_storefront() {
    let client = Client::set(|settings| settings.trusted_proxies = 1).await;
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-forwarded-for", "203.0.113.5"),
    ];
    let sign_in = async || {
        client
            .send("POST", "/staff/sign-in", &headers, "token=guess")
            .await
            .status
    };
    assert_eq!(sign_in().await, StatusCode::UNPROCESSABLE_ENTITY);
    // Simulates the count of other storefronts.
    client
        .world
        .0
        .counts
        .lock()
        .expect("not poisoned")
        .insert("sign-ins:203.0.113.5".to_owned(), 20);
    assert_eq!(sign_in().await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn orders_of_a_session_at_other_storefronts_count() {
    let client = Client::set(|settings| settings.orders_per_minute = 600).await;
    let line = serde_json::json!({ "product_id": "espresso", "quantity": 1 });
    let cookie = client
        .json("POST", "/api/v1/cart/items", &[], &line)
        .await
        .cookie();
    let id = cookie.split('.').nth(1).expect("an id");
    let key = format!("session-orders:{}", storefront::digest(id.as_bytes()));
    client
        .world
        .0
        .counts
        .lock()
        .expect("not poisoned")
        .insert(key.clone(), 29);
    let mut statuses = Vec::new();
    for number in ["k-1", "k-2"] {
        let headers = [("cookie", cookie.as_str()), ("idempotency-key", number)];
        statuses.push(
            client
                .json("POST", "/api/v1/orders", &headers, &an_espresso())
                .await
                .status,
        );
    }
    assert_eq!(
        statuses,
        [StatusCode::ACCEPTED, StatusCode::TOO_MANY_REQUESTS],
        "the thirtieth, and one more"
    );
    assert_eq!(
        client.world.0.counts.lock().expect("not poisoned")[&key],
        31
    );
}

#[tokio::test]
async fn a_client_that_reads_no_response_is_disconnected() {
    let client = Client::new().await;
    let address = open(
        &client,
        Limits {
            read_within: SHORT,
            ..limits()
        },
    )
    .await;
    let mut deaf = connected(address).await;
    let asking = async {
        // Writes until every buffer is full and the connection is reset.
        while deaf.write_all(MENU.as_bytes()).await.is_ok() {}
    };
    timeout(PLENTY, asking).await.expect("let go");
    assert!(menu(address).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_408() {
    let client = Client::new().await;
    let address = open(&client, limits()).await;
    let mut slow = connected(address).await;
    send(
        &mut slow,
        "POST /api/v1/orders HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 100\r\n\r\n{",
    )
    .await;
    assert_eq!(
        order(address, "").await.0,
        202,
        "others are served meanwhile"
    );
    assert!(answer(&mut slow).await.starts_with("HTTP/1.1 408"));
    let mut large = connected(address).await;
    send(
        &mut large,
        "POST /checkout HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 999999\r\n\r\n",
    )
    .await;
    assert!(
        answer(&mut large).await.starts_with("HTTP/1.1 413"),
        "at once, without its body"
    );
}

/// Behind a proxy every connection has the proxy's address. A connection with a request in flight
/// is never closed to make room.
#[tokio::test]
async fn one_client_with_slow_bodies_behind_a_proxy_blocks_no_other_client() {
    const CONNECTIONS: usize = 256;
    let client = Client::set(|settings| settings.trusted_proxies = 1).await;
    let all = Limits {
        connections_max: CONNECTIONS,
        of_a_client_max: CONNECTIONS,
        ..limits()
    };
    let address = open(&client, all).await;
    let (mut held, begun) = (Vec::new(), Instant::now());
    for _ in 0..CONNECTIONS + 40 {
        let mut slow = connected(address).await;
        let head = "POST /cart/items HTTP/1.1\r\nhost: shop.example\r\nx-forwarded-for: 203.0.113.5\r\ncontent-length: 100";
        send(&mut slow, &format!("{head}\r\n\r\np")).await;
        held.push(slow);
    }
    let mut other = connected(address).await;
    send(
        &mut other,
        &MENU.replace("\r\n\r\n", "\r\nx-forwarded-for: 203.0.113.6\r\n\r\n"),
    )
    .await;
    assert!(answer(&mut other).await.starts_with("HTTP/1.1 200"));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "before the first of the slow bodies was given up"
    );
    let last = held.last_mut().expect("many");
    let refused = answer(last).await;
    assert!(
        refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 1"),
        "{refused}"
    );
}

#[tokio::test]
async fn forged_addresses_do_not_avoid_the_order_limit() {
    let client =
        Client::set(|settings| (settings.orders_per_minute, settings.trusted_proxies) = (6, 1))
            .await;
    let address = open(&client, limits()).await;
    let mut refused = None;
    for forged in 0..6 {
        let (status, after) = order(address, &format!("192.0.2.{forged}, 203.0.113.5")).await;
        match status {
            202 => assert!(forged < 5, "five orders at once, and no sixth"),
            429 => refused = after,
            other => panic!("{other}"),
        }
    }
    assert!(
        refused.is_some_and(|after| (1..=10).contains(&after)),
        "{refused:?}"
    );
    assert_eq!(
        order(address, "203.0.113.5, 203.0.113.6").await.0,
        202,
        "another address"
    );
    assert!(
        menu(address).await.starts_with("HTTP/1.1 200"),
        "looking is free"
    );
}

#[tokio::test]
async fn guesses_of_staff_tokens_are_rate_limited() {
    let client = Client::new().await;
    let address = open(&client, limits()).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let mut stream = connected(address).await;
        let form =
            "content-type: application/x-www-form-urlencoded\r\ncontent-length: 8\r\n\r\ntoken=ab";
        send(
            &mut stream,
            &format!("POST /staff/sign-in HTTP/1.1\r\nhost: shop.example\r\n{form}"),
        )
        .await;
        statuses.push(answer(&mut stream).await[9..12].to_owned());
    }
    assert_eq!(
        (statuses[0].as_str(), statuses[7].as_str()),
        ("422", "429"),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn an_outage_refuses_the_routes_that_need_the_dependency_and_no_other() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let mine = receipt["links"]["self"]
        .as_str()
        .expect("a link")
        .to_owned();
    let set =
        |down: &[Dependency]| *client.world.0.down.lock().expect("not poisoned") = down.to_vec();

    set(&[Dependency::Stock]);
    let refused = client.order("k-1", &an_espresso()).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "7")
    );
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(client.get("/api/v1/menu", &[]).await.status, StatusCode::OK);
    assert_eq!(
        client.get(&mine, &[]).await.status,
        StatusCode::OK,
        "no stock is needed to look at an order"
    );

    set(&[Dependency::Database]);
    assert_eq!(
        client.get(&mine, &[]).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        client.order("k-1", &an_espresso()).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(client.get("/api/v1/menu", &[]).await.status, StatusCode::OK);

    set(&[]);
    assert_eq!(
        client.order("k-1", &an_espresso()).await.status,
        StatusCode::ACCEPTED,
        "the same key, later"
    );
}

#[tokio::test]
async fn one_order_cannot_use_all_places_of_followers() {
    let client = Client::new().await;
    let (new, other) = (
        app::laws::orders::new_order(),
        app::laws::orders::new_order(),
    );
    for order in [&new, &other] {
        client
            .world
            .0
            .orders
            .place(std::slice::from_ref(order))
            .await
            .pop()
            .expect("an answer")
            .expect("placed");
    }
    let follow = async |order: &app::ports::orders::NewOrder| {
        let path = format!(
            "/api/v1/orders/{}/events?token={}",
            order.order.order_id, order.tracking_token
        );
        client.response("GET", &path, &[], "").await
    };
    let mut following = Vec::new();
    for _ in 0..20 {
        let response = follow(&new).await;
        assert_eq!(response.status(), StatusCode::OK);
        following.push(response);
    }
    let refused = follow(&new).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "10");
    assert_eq!(follow(&other).await.status(), StatusCode::OK);
    following.pop();
    assert_eq!(
        follow(&new).await.status(),
        StatusCode::OK,
        "a place is free again"
    );
}
