//! A gateway for tests, with a client and helper functions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use payment_gateway::{Config, serve};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Maximum wait of a test. Long, because the machine may be busy compiling.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a test checks that there is no answer.
pub const A_WHILE: Duration = Duration::from_millis(400);

/// The API key of the test gateways.
pub const API_KEY: &str = "api-key-of-the-tests";

/// The ledger file of one test, removed on drop.
pub struct LedgerFile(pub PathBuf);

impl LedgerFile {
    pub fn new() -> LedgerFile {
        LedgerFile(
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.jsonl", Uuid::now_v7())),
        )
    }

    pub fn with(content: &str) -> LedgerFile {
        let file = LedgerFile::new();
        std::fs::write(&file.0, content).unwrap();
        file
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    /// Waits until `count` entries are written.
    pub async fn until_lines(&self, count: usize) {
        // The gateway creates the file.
        let lines = || {
            std::fs::read_to_string(&self.0)
                .unwrap_or_default()
                .lines()
                .count()
        };
        until(async || (lines() >= count).then_some(())).await
    }

    pub fn config(&self) -> Config {
        Config {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            ledger: self.0.clone(),
            webhook_url: None,
            webhook_secret: String::new(),
            api_key: API_KEY.to_owned(),
        }
    }
}

impl Drop for LedgerFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A client of a gateway.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    authorization: Option<String>,
}

pub struct Gateway {
    pub client: Client,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

/// A complete response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

impl Gateway {
    pub async fn start(file: &LedgerFile) -> Gateway {
        Gateway::start_with(file.config()).await
    }

    pub async fn start_with(config: Config) -> Gateway {
        let listener = TcpListener::bind(config.bind).await.unwrap();
        let client = Client::new(listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(config, listener, shutdown.clone()));
        Gateway {
            client,
            shutdown,
            served,
        }
    }

    /// Stops the gateway as SIGTERM would, and checks that it ended without an error.
    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.served)
            .await
            .expect("the gateway stops in time")
            .unwrap()
            .unwrap();
    }

    /// Returns the reason why the gateway did not start.
    pub async fn refusal(self) -> String {
        let error = timeout(PATIENCE, self.served)
            .await
            .expect("the gateway refuses in time")
            .unwrap()
            .unwrap_err();
        format!("{error:#}")
    }
}

impl std::ops::Deref for Gateway {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        static PROVIDER: Once = Once::new();
        PROVIDER
            .call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Client {
            http,
            url: format!("http://{address}"),
            authorization: Some(format!("Bearer {API_KEY}")),
        }
    }

    /// Returns the same client with another `Authorization` header, or none.
    pub fn authorized_by(&self, authorization: Option<&str>) -> Client {
        Client {
            authorization: authorization.map(str::to_owned),
            ..self.clone()
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        self.authorization.iter().fold(request, |request, value| {
            request.header("Authorization", value)
        })
    }

    pub async fn post(
        &self,
        path: &str,
        key: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.request(Method::POST, path).body(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        read(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        read(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        read(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    /// Charges 4.50 EUR for the order `order-1`.
    pub async fn charge(&self, key: &str, token: &str) -> Answer {
        self.post("/v1/charges", Some(key), charge_body(token).to_string())
            .await
    }

    pub async fn refund(&self, key: &str, charge_id: &str, amount_minor: i64) -> Answer {
        let body = json!({ "charge_id": charge_id, "amount_minor": amount_minor });
        self.post("/v1/refunds", Some(key), body.to_string()).await
    }

    pub async fn find(&self, key: &str) -> Answer {
        self.get(&format!("/v1/charges?idempotency_key={key}"))
            .await
    }

    pub async fn entries(&self) -> Vec<Value> {
        let answer = self.get("/v1/ledger").await;
        assert_eq!(answer.status, 200);
        answer.json()["entries"].as_array().unwrap().clone()
    }

    /// Captures 4.50 EUR and returns the id of the charge.
    pub async fn captured(&self, key: &str) -> String {
        let answer = self.charge(key, "tok_ok").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["charge_id"].as_str().unwrap().to_owned()
    }

    /// Waits until the charge with this key can be found.
    pub async fn until_found(&self, key: &str) -> Answer {
        until(async || Some(self.find(key).await).filter(|answer| answer.status == 200)).await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks that this is a problem with `status`, and returns the names of the invalid fields.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Vec<String> {
        assert_eq!(
            (self.status, self.content_type.as_str()),
            (status, "application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].is_string() && problem["title"].is_string());
        let errors = problem["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub fn charge_body(token: &str) -> Value {
    json!({ "amount_minor": 450, "currency": "EUR", "token": token, "reference": "order-1" })
}

/// Repeats `ask` until it returns an answer.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("it happens in time")
}

/// Checks that no answer arrives after `begun` is done. Then drops the request, which closes the
/// connection.
pub async fn stays_silent<T: std::fmt::Debug>(
    request: impl Future<Output = T>,
    begun: impl Future<Output = ()>,
) {
    let watched = async {
        begun.await;
        tokio::time::sleep(A_WHILE).await;
    };
    tokio::select! {
        answer = request => panic!("answered {answer:?}"),
        () = watched => {}
    }
}

async fn read(response: reqwest::Response) -> Answer {
    Answer {
        status: response.status().as_u16(),
        content_type: response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned(),
        body: response.text().await.unwrap(),
    }
}
