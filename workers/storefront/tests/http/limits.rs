//! What a client that asks too much, or takes too long, costs the others: over real sockets.

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
    Limits { headers_within: SHORT, ..Limits::default() }
}

/// Serves the client's shop on a port of its own until its shutdown.
async fn open(client: &Client, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, client.router.clone(), limits, client.shutdown.clone()));
    address
}

async fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("written");
}

const MENU: &str = "GET /api/v1/menu HTTP/1.1\r\nhost: shop.example\r\n\r\n";

/// The answer's head and as much of its body as came with it.
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

/// An order; gives the status and after how many seconds to come again.
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
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let after = answer.lines().find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse().ok());
    (status, after)
}

#[tokio::test]
async fn headers_a_byte_at_a_time_end_the_connection_and_hold_up_nobody() {
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
    assert!(menu(address).await.starts_with("HTTP/1.1 200"), "others are served meanwhile");
    let mut rest = Vec::new();
    let _ = timeout(PLENTY, reads.read_to_end(&mut rest)).await.expect("closed");
    assert!(begun.elapsed() >= SHORT, "a slow line gets its time: {:?}", begun.elapsed());
    trickling.abort();
}

#[tokio::test]
async fn a_connection_between_two_requests_is_kept_and_one_without_any_is_not() {
    let client = Client::new().await;
    let limits = Limits { idle_within: SHORT * 5, ..limits() };
    let address = open(&client, limits).await;
    let mut stream = connected(address).await;
    for _ in 0..3 {
        send(&mut stream, MENU).await;
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        // Longer than headers may take, shorter than it may be idle.
        tokio::time::sleep(SHORT * 2).await;
    }
    let mut idle = connected(address).await;
    let mut rest = Vec::new();
    let _ = timeout(PLENTY, idle.read_to_end(&mut rest)).await.expect("closed");
}

#[tokio::test]
async fn beyond_its_connections_the_shop_lets_clients_wait_and_serves_them_when_one_has_gone() {
    let client = Client::new().await;
    let limits = Limits { connections_max: 4, idle_within: SHORT, ..limits() };
    let address = open(&client, limits).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connected(address).await);
    }
    let begun = Instant::now();
    assert!(menu(address).await.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() >= SHORT / 2, "there was no place: {:?}", begun.elapsed());
}

#[tokio::test]
async fn whoever_reads_no_answer_is_let_go() {
    let client = Client::new().await;
    let address = open(&client, Limits { read_within: SHORT, ..limits() }).await;
    let mut deaf = connected(address).await;
    let asking = async {
        // Until the answers fill every buffer on the way, and then the connection is reset.
        while deaf.write_all(MENU.as_bytes()).await.is_ok() {}
    };
    timeout(PLENTY, asking).await.expect("let go");
    assert!(menu(address).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let client = Client::new().await;
    let address = open(&client, limits()).await;
    let mut slow = connected(address).await;
    send(&mut slow, "POST /api/v1/orders HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 100\r\n\r\n{").await;
    assert_eq!(order(address, "").await.0, 202, "others are served meanwhile");
    assert!(answer(&mut slow).await.starts_with("HTTP/1.1 408"));
    let mut large = connected(address).await;
    send(&mut large, "POST /checkout HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 999999\r\n\r\n").await;
    assert!(answer(&mut large).await.starts_with("HTTP/1.1 413"), "at once, without its body");
}

#[tokio::test]
async fn one_address_may_not_order_for_ever_whatever_it_says_it_is() {
    let client = Client::set(|settings| (settings.orders_per_minute, settings.trusted_proxies) = (6, 1)).await;
    let address = open(&client, limits()).await;
    let mut refused = None;
    for forged in 0..6 {
        let (status, after) = order(address, &format!("192.0.2.{forged}, 203.0.113.5")).await;
        match status {
            202 => assert!(forged < 5, "five at once, and not a sixth"),
            429 => refused = after,
            other => panic!("{other}"),
        }
    }
    assert!(refused.is_some_and(|after| (1..=10).contains(&after)), "{refused:?}");
    assert_eq!(order(address, "203.0.113.5, 203.0.113.6").await.0, 202, "another address");
    assert!(menu(address).await.starts_with("HTTP/1.1 200"), "looking is free");
}

#[tokio::test]
async fn guessing_staff_tokens_is_slow() {
    let client = Client::new().await;
    let address = open(&client, limits()).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let mut stream = connected(address).await;
        let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 8\r\n\r\ntoken=ab";
        send(&mut stream, &format!("POST /staff/sign-in HTTP/1.1\r\nhost: shop.example\r\n{form}")).await;
        statuses.push(answer(&mut stream).await[9..12].to_owned());
    }
    assert_eq!((statuses[0].as_str(), statuses[7].as_str()), ("422", "429"), "{statuses:?}");
}

#[tokio::test]
async fn while_something_is_down_what_needs_it_is_refused_at_once_and_the_rest_goes_on() {
    let client = Client::new().await;
    let receipt = client.accepted().await;
    let mine = receipt["links"]["self"].as_str().expect("a link").to_owned();
    let set = |down: &[Dependency]| *client.world.0.down.lock().expect("not poisoned") = down.to_vec();

    set(&[Dependency::Stock]);
    let refused = client.order("k-1", &an_espresso()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "7"));
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(client.get("/api/v1/menu", &[]).await.status, StatusCode::OK);
    assert_eq!(client.get(&mine, &[]).await.status, StatusCode::OK, "no stock is needed to look at an order");

    set(&[Dependency::Database]);
    assert_eq!(client.get(&mine, &[]).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client.order("k-1", &an_espresso()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client.get("/api/v1/menu", &[]).await.status, StatusCode::OK);

    set(&[]);
    assert_eq!(client.order("k-1", &an_espresso()).await.status, StatusCode::ACCEPTED, "the same key, later");
}

#[tokio::test]
async fn one_order_does_not_take_every_follower_s_place() {
    let client = Client::new().await;
    let (new, other) = (app::laws::orders::new_order(), app::laws::orders::new_order());
    for order in [&new, &other] {
        client.world.0.orders.place(std::slice::from_ref(order)).await.pop().expect("an answer").expect("placed");
    }
    let follow = async |order: &app::ports::orders::NewOrder| {
        let path = format!("/api/v1/orders/{}/events?token={}", order.order.order_id, order.tracking_token);
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
    assert_eq!(follow(&new).await.status(), StatusCode::OK, "a place was given back");
}
