//! Tests of the carts on a real Redis: the server at `HAVEN_TEST_REDIS_URL`, or one that the test
//! starts from the `PATH`. Without either, a test prints one line and returns. With
//! `HAVEN_REQUIRE=redis` it fails instead.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_redis::RedisCarts;
use app::laws;
use app::ports::carts::{CART_LIFETIME, CartStore};
use app::ports::{Backend, StoreError};
use chassis::renewal::Renewal;
use contract::cause::chain;
use domain::cart::Quantity;
use redis::AsyncCommands as _;

/// The given server, or one that the test started and stops at the end.
struct Server {
    url: String,
    own: Option<(Child, PathBuf)>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, folder)) = &mut self.own {
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "HAVEN_REQUIRE is for tests")]
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        let required = std::env::var("HAVEN_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "redis"),
            "redis is required and was not found"
        );
        println!("skipped: no redis-server on the PATH, and HAVEN_TEST_REDIS_URL is not set");
    }
    found
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

async fn started(program: &PathBuf, port: u16) -> Server {
    let folder = std::env::temp_dir().join(format!("haven-redis-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory");
    let child = Command::new(program)
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
        ])
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let server = Server {
        url: format!("redis://127.0.0.1:{port}/"),
        own: Some((child, folder)),
    };
    let client = redis::Client::open(server.url.as_str()).expect("a URL");
    let begun = Instant::now();
    while client.get_multiplexed_async_connection().await.is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "redis does not answer on port {port}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server
}

#[expect(
    clippy::disallowed_methods,
    reason = "HAVEN_TEST_REDIS_URL is for tests"
)]
async fn server() -> Option<Server> {
    if let Some(url) = std::env::var("HAVEN_TEST_REDIS_URL")
        .ok()
        .filter(|url| !url.is_empty())
    {
        return Some(Server { url, own: None });
    }
    Some(started(&program()?, free_port()).await)
}

async fn bare(server: &Server) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(server.url.as_str()).expect("a URL");
    client
        .get_multiplexed_async_connection()
        .await
        .expect("connected")
}

/// Returns a session id that no other test uses, because the server may be shared.
fn session(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), free_port())
}

#[tokio::test]
async fn the_adapter_passes_the_laws_of_carts() {
    let Some(server) = server().await else { return };
    laws::carts::all(&RedisCarts::connect(&server.url).await.expect("connected")).await;
}

#[tokio::test]
async fn every_change_extends_the_expiry_and_a_read_does_not() {
    let Some(server) = server().await else { return };
    let carts = RedisCarts::connect(&server.url).await.expect("connected");
    let session = session("expiring");
    let mut connection = bare(&server).await;
    let tea = laws::carts::line("tea", 1);
    let key = format!("cart:{session}");
    for verb in ["add", "set", "remove of another", "get"] {
        if verb != "add" {
            let _: bool = connection.expire(&key, 10).await.expect("set");
        }
        match verb {
            "add" => drop(carts.add(&session, &tea, 250).await.expect("added")),
            "set" => drop(
                carts
                    .set(&session, &tea.product_id, Quantity::new(2).expect("two"))
                    .await
                    .expect("set"),
            ),
            "get" => drop(carts.get(&session).await.expect("read")),
            _ => drop(
                carts
                    .remove(&session, &laws::carts::line("cake", 1).product_id)
                    .await
                    .expect("removed"),
            ),
        }
        let left: u64 = connection.ttl(&key).await.expect("it ends one day");
        let full = CART_LIFETIME.as_secs();
        assert_eq!(left > 10, verb != "get", "{verb}: {left} s");
        assert!(left <= full, "{verb}: {left} s");
    }
    let _: bool = connection.pexpire(&key, 1).await.expect("set");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(
        carts.get(&session).await.expect("read").lines.is_empty(),
        "forgotten"
    );
}

#[tokio::test]
async fn an_invalid_cart_is_deleted() {
    let Some(server) = server().await else { return };
    let carts = RedisCarts::connect(&server.url).await.expect("connected");
    let mut connection = bare(&server).await;
    let tea = laws::carts::line("tea", 1);
    let two = Quantity::new(2).expect("two");
    for broken in [
        "text", "list", "words", "fraction", "zero", "many", "product", "products",
    ] {
        for verb in ["get", "add", "set", "remove", "clear"] {
            let session = session(broken);
            let key = format!("cart:{session}");
            match broken {
                "text" => connection.set(&key, "not a hash").await.expect("set"),
                "list" => connection.rpush(&key, "not a hash").await.expect("set"),
                "words" => connection.hset(&key, "tea", "three").await.expect("set"),
                "fraction" => connection.hset(&key, "tea", "1.5").await.expect("set"),
                "zero" => connection.hset(&key, "tea", 0).await.expect("set"),
                "many" => connection
                    .hset(&key, "tea", "99999999999999999999")
                    .await
                    .expect("set"),
                "product" => connection.hset(&key, "T\u{e9}a", 1).await.expect("set"),
                _ => {
                    let fields: Vec<(String, u32)> =
                        (0..51).map(|number| (format!("p-{number}"), 1)).collect();
                    connection
                        .hset_multiple::<_, _, _, ()>(&key, &fields)
                        .await
                        .expect("set");
                }
            }
            let left = match verb {
                "get" => carts.get(&session).await.expect("read"),
                "add" => carts.add(&session, &tea, 250).await.expect("added"),
                "set" => carts
                    .set(&session, &tea.product_id, two)
                    .await
                    .expect("asked")
                    .unwrap_or_default(),
                "remove" => carts
                    .remove(&session, &tea.product_id)
                    .await
                    .expect("removed"),
                _ => {
                    carts.clear(&session).await.expect("cleared");
                    carts.get(&session).await.expect("read")
                }
            };
            assert_eq!(
                left.lines.units(),
                u32::from(verb == "add"),
                "{verb} on {broken}"
            );
            assert_eq!(
                carts.get(&session).await.expect("read"),
                left,
                "{verb} on {broken}"
            );
        }
    }
}

#[tokio::test]
async fn an_unavailable_server_is_reported_and_reconnected() {
    // The test stops this server, so it needs one of its own.
    let Some(program) = program() else { return };
    let port = free_port();
    let server = started(&program, port).await;
    let carts = RedisCarts::connect(&server.url).await.expect("connected");
    let tea = laws::carts::line("tea", 1);
    carts.add("s", &tea, 250).await.expect("added");
    drop(server);
    let begun = Instant::now();
    let away = carts.get("s").await.expect_err("it is away");
    assert!(
        matches!(
            away,
            StoreError::Unavailable {
                backend: Backend::Carts,
                ..
            }
        ),
        "{away:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let server = started(&program, port).await;
    let begun = Instant::now();
    // An empty server has no cached scripts either.
    while carts.add("s", &tea, 250).await.is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it is not found again"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("found again after {:?}", begun.elapsed());
    drop(server);
    let port = free_port();
    let early = RedisCarts::connect(&format!("redis://127.0.0.1:{port}/"))
        .await
        .expect("it need not be there yet");
    assert!(early.ping().await.is_err() && early.get("s").await.is_err());
    let _server = started(&program, port).await;
    let begun = Instant::now();
    while early.ping().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(RedisCarts::connect("not a URL").await.is_err());
}

#[tokio::test]
async fn a_changed_password_is_reported_and_the_new_one_used_without_a_restart() {
    // The test changes the password, so it needs a server of its own.
    let Some(program) = program() else { return };
    let server = started(&program, free_port()).await;
    let mut owner = bare(&server).await;
    let rotate = async |owner: &mut redis::aio::MultiplexedConnection, password: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("requirepass").arg(password);
        let _: () = set.query_async(owner).await.expect("set");
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL")
            .arg("TYPE")
            .arg("normal")
            .arg("SKIPME")
            .arg("yes");
        let killed: u32 = kill.query_async(owner).await.expect("killed");
        killed
    };
    rotate(&mut owner, "of-monday").await;
    let carts = RedisCarts::connect_as(&server.url, Some("of-monday"))
        .await
        .expect("connected");
    let tea = laws::carts::line("tea", 1);
    carts.add("s", &tea, 250).await.expect("added");
    assert_eq!(
        rotate(&mut owner, "of-tuesday").await,
        1,
        "its connection is cut"
    );
    let begun = Instant::now();
    // The first calls only report the lost connection.
    let told = loop {
        match carts.get("s").await {
            Err(error @ StoreError::LoginRefused { .. }) => break chain(&error),
            other => assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it does not say why: {other:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!told.contains("of-"), "{told}");
    carts.set_password("of-tuesday").expect("a password");
    assert_eq!(carts.get("s").await.expect("let in").lines.units(), 1);
    // A store with a renewal reads the next password itself.
    let read = || async { Ok("of-wednesday".to_owned()) };
    let carts = carts.renewing(Some(Renewal::new(read)));
    rotate(&mut owner, "of-wednesday").await;
    let begun = Instant::now();
    let cart = loop {
        match carts.get("s").await {
            Ok(cart) => break cart,
            Err(error) => assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it does not read the password: {error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(cart.lines.units(), 1);
}

#[tokio::test]
async fn requests_of_a_client_are_counted_across_storefronts_and_expire() {
    let Some(server) = server().await else { return };
    let [one, other] = [0, 1].map(|_| RedisCarts::connect(&server.url));
    let (one, other) = (
        one.await.expect("connected"),
        other.await.expect("connected"),
    );
    let key = session("look-ups");
    let minute = Duration::from_secs(60);
    assert_eq!(one.count(&key, minute).await, Ok(1));
    assert_eq!(
        other.count(&key, minute).await,
        Ok(2),
        "another storefront counts on"
    );
    assert_eq!(
        other.count(&session("other"), minute).await,
        Ok(1),
        "another client has its own"
    );
    let mut connection = bare(&server).await;
    let left: u64 = connection
        .ttl(format!("limit:{key}"))
        .await
        .expect("it ends");
    assert!((1..=60).contains(&left), "{left}");
    let _: bool = connection
        .pexpire(format!("limit:{key}"), 1)
        .await
        .expect("set");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(one.count(&key, minute).await, Ok(1));
}
