//! Tests of the carts on a real Redis that requires TLS and a password, like ElastiCache.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_redis::RedisCarts;
use app::ports::carts::CartStore as _;
use contract::cause::chain;
use servers::Certificates;

const PASSWORD: &str = "correct-horse-battery";
/// Set for the child process, whose roots include the server's.
const URL: &str = "HAVEN_TEST_TLS_URL";

struct Server {
    url: String,
    certificates: Certificates,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn server() -> Option<Server> {
    if !servers::has("redis") {
        return None;
    }
    let certificates = Certificates::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string();
    drop(listener);
    let mut process = Command::new("redis-server");
    process
        .args([
            "--port",
            "0",
            "--tls-port",
            &port,
            "--bind",
            "127.0.0.1",
            "--tls-auth-clients",
            "no",
        ])
        .arg("--tls-cert-file")
        .arg(&certificates.certificate)
        .arg("--tls-key-file")
        .arg(&certificates.key)
        .args([
            "--requirepass",
            PASSWORD,
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .stdout(Stdio::null());
    let mut process = process.spawn().ok()?;
    let begun = Instant::now();
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        if process.try_wait().expect("a child").is_some() {
            println!("skipped: this redis-server has no TLS");
            return None;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "redis does not answer on port {port}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(Server {
        url: format!("rediss://localhost:{port}"),
        certificates,
        process,
    })
}

#[test]
fn carts_are_kept_behind_tls_and_a_password() {
    let Some(server) = server() else { return };
    // A process reads its roots from its environment, as in the container image.
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "inside::a_client_whose_roots_know_the_server",
            "--nocapture",
        ])
        .env("SSL_CERT_FILE", &server.certificates.root)
        .env(URL, &server.url)
        .output()
        .expect("it runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[tokio::test]
async fn an_unverified_server_gets_no_password() {
    let Some(server) = server() else { return };
    let carts = RedisCarts::connect_as(&server.url, Some(PASSWORD))
        .await
        .expect("a URL");
    let told = chain(&carts.ping().await.expect_err("nobody vouches for it"));
    assert!(!told.contains(PASSWORD), "{told}");
}

mod inside {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the outer test passes the URL")]
    async fn a_client_whose_roots_know_the_server() {
        let Ok(url) = std::env::var(URL) else { return };
        let carts = RedisCarts::connect_as(&url, Some(PASSWORD))
            .await
            .expect("a URL");
        carts.ping().await.expect("it answers");
        assert!(carts.get("somebody").await.expect("read").lines.is_empty());

        for (url, password) in [
            (url.as_str(), None),
            (&url, Some("wrong-horse")),
            (&url.replace("localhost", "127.0.0.1"), Some(PASSWORD)),
        ] {
            let carts = RedisCarts::connect_as(url, password).await.expect("a URL");
            let told = chain(&carts.ping().await.expect_err("it lets nobody in"));
            println!("{told}");
            assert!(!told.contains("horse") && !told.contains('\n'), "{told}");
        }
        let refused = RedisCarts::connect_as("not a URL", Some(PASSWORD)).await;
        let told = chain(&refused.err().expect("no URL"));
        assert!(!told.contains(PASSWORD), "{told}");
    }
}
