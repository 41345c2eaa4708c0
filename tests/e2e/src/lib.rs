//! A running shop for a test: `haven up` on a state folder, ports and stacks of its own.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use adapter_aws::{Clients, DynamoStock, LocalAccess, StockTables, WriteTable};
use adapter_postgres::Login;
use app::ports::access::{AuditEntry, AuditLog as _};
use contract::address::Address;
use contract::table::{MOVEMENTS, PRODUCTS, RESERVATIONS};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;
use worker::stores::Store;

mod supervised;

pub use supervised::{Supervised, processes_on};

/// A start with the Python environment still to be made takes a package download.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// An order comes to rest within this, faults included.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// One shop at a time: nine processes each, and two cores.
static TURN: Mutex<()> = Mutex::const_new(());

/// A shop that is open; it ends with the value.
pub struct World {
    pub http: reqwest::Client,
    pub facts: Value,
    state: PathBuf,
    /// Variables for every `haven up` on the state directory.
    pub environment: Vec<(&'static str, OsString)>,
    haven: Child,
    _turn: MutexGuard<'static, ()>,
}

/// An answer: status and body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["field"].as_str())
            .collect()
    }
}

impl World {
    /// Opens a shop with more arguments for `haven up`, such as `--postgres`.
    pub async fn open(arguments: &[&str]) -> World {
        World::open_in(&[], arguments).await
    }

    /// The same, with more variables in the environment of `haven up`.
    pub async fn open_in(environment: &[(&'static str, &str)], arguments: &[&str]) -> World {
        let state = std::env::temp_dir().join(format!("haven-e2e-{}", Uuid::now_v7()));
        let environment = environment
            .iter()
            .map(|(name, value)| (*name, OsString::from(value)))
            .collect();
        World::open_on(state, arguments, environment).await
    }

    /// Opens a shop on this state directory, with more variables for every `haven up` on it.
    pub async fn open_on(
        state: PathBuf,
        arguments: &[&str],
        environment: Vec<(&'static str, OsString)>,
    ) -> World {
        let turn = TURN.lock().await;
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let haven = start(&state, arguments, &environment);
        let mut world = World {
            http: client(),
            facts: Value::Null,
            state,
            environment,
            haven,
            _turn: turn,
        };
        world.wait_until_ready().await;
        world
    }

    async fn wait_until_ready(&mut self) {
        let begun = Instant::now();
        loop {
            let facts = std::fs::read_to_string(self.state.join("haven.json")).ok();
            let facts: Option<Value> = facts.and_then(|text| serde_json::from_str(&text).ok());
            // Not the word of one that was killed.
            let pid = self.haven.id();
            if let Some(facts) = facts.filter(|facts| facts["ready"] == true && facts["pid"] == pid)
            {
                self.facts = facts;
                return;
            }
            if let Ok(Some(status)) = self.haven.try_wait() {
                panic!("haven up ended with {status}:\n{}", self.said());
            }
            assert!(
                begun.elapsed() < READY_WITHIN,
                "haven up is not ready:\n{}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `haven up` has printed since it was started.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.state.join("said")).unwrap_or_default()
    }

    /// A command of `haven` on this shop's state folder.
    pub fn haven(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(haven())
            .args(arguments)
            .arg("--state")
            .arg(&self.state)
            .output()
            .expect("haven runs")
    }

    /// Stops the shop cleanly and opens it again on the same state.
    pub async fn reopen(&mut self, arguments: &[&str]) {
        self.close();
        self.reopen_closed(arguments).await;
    }

    /// Opens a shop again that was closed.
    pub async fn reopen_closed(&mut self, arguments: &[&str]) {
        self.haven = start(&self.state, arguments, &self.environment);
        self.wait_until_ready().await;
    }

    /// Returns this shop's state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Stops the shop cleanly.
    pub fn close(&mut self) {
        let stopped = Command::new(haven())
            .args(["down", "--state"])
            .arg(&self.state)
            .status();
        assert!(stopped.expect("haven down runs").success());
        assert!(
            self.haven.wait().expect("it has ended").success(),
            "{}",
            self.said()
        );
    }

    /// Kills `haven up` itself, as the kernel would, and opens the shop again on the same state.
    pub async fn reopen_after_kill(&mut self, arguments: &[&str]) {
        self.haven.kill().expect("it runs");
        self.haven.wait().expect("it has ended");
        self.haven = start(&self.state, arguments, &self.environment);
        self.wait_until_ready().await;
    }

    /// The containers of this shop, by id, running or not.
    pub fn containers(&self) -> Vec<String> {
        containers_on(&self.state).expect("docker lists them")
    }

    /// The process of a role now; none between two lives.
    pub fn pid(&self, role: &str) -> Option<u32> {
        let facts = std::fs::read_to_string(self.state.join("haven.json")).ok()?;
        let facts: Value = serde_json::from_str(&facts).ok()?;
        let role = facts["roles"]
            .as_array()?
            .iter()
            .find(|known| known["name"] == role)?;
        role["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid > 0)
    }

    /// Kills a role as the kernel would, with no time to say goodbye.
    pub fn kill(&self, role: &str) {
        if let Some(pid) = self.pid(role) {
            signal(pid, "-KILL");
        }
    }

    /// Stops a role where it stands; it lives, and does nothing until `resume`.
    pub fn pause(&self, role: &str) {
        signal(self.pid(role).expect("it runs"), "-STOP");
    }

    pub fn resume(&self, role: &str) {
        signal(self.pid(role).expect("it runs"), "-CONT");
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let url = format!(
            "{}{path}",
            self.facts["storefront"].as_str().expect("an address")
        );
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("the storefront answers");
        let status = response.status();
        let text = response.text().await.expect("a body");
        Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    /// Places an order under a key of its own.
    pub async fn order(&self, product: &str, quantity: u32, payment_token: &str) -> Answer {
        let key = Uuid::now_v7().to_string();
        self.ask(
            Method::POST,
            "/api/v1/orders",
            &[("Idempotency-Key", &key)],
            Some(&order(product, quantity, payment_token)),
        )
        .await
    }

    pub async fn as_staff(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!(
            "Bearer {}",
            self.facts["staff_token"].as_str().expect("a token")
        );
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.ask(method, path, &all, body).await
    }

    /// Moves an order to a status, as the bar does.
    pub async fn staff_sets(&self, order_id: &str, status: &str) -> Answer {
        let order = self
            .as_staff(
                Method::GET,
                &format!("/api/v1/orders/{order_id}"),
                &[],
                None,
            )
            .await;
        let version = order.body["version"].to_string();
        let path = format!("/api/v1/admin/orders/{order_id}/status");
        self.as_staff(
            Method::PUT,
            &path,
            &[("If-Match", &version)],
            Some(&json!({ "status": status })),
        )
        .await
    }

    /// Follows an order until it has one of the statuses.
    pub async fn until(&self, accepted: &Answer, statuses: &[&str]) -> Value {
        let path = accepted.body["links"]["self"]
            .as_str()
            .unwrap_or_else(|| panic!("not accepted: {accepted:?}"));
        let begun = Instant::now();
        loop {
            let seen = self.get(path).await.body;
            if seen["status"]
                .as_str()
                .is_some_and(|status| statuses.contains(&status))
            {
                return seen;
            }
            assert!(
                begun.elapsed() < SETTLED_WITHIN,
                "it never became {statuses:?}: {seen:#}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One product's counters.
    pub async fn stock_of(&self, product: &str) -> Value {
        let inventory = self
            .as_staff(Method::GET, "/api/v1/admin/inventory", &[], None)
            .await
            .body;
        let products = inventory["products"].as_array().expect("products").clone();
        products
            .into_iter()
            .find(|found| found["product_id"] == product)
            .expect("a known product")
    }

    /// E-mails that were sent, by recipient and subject.
    pub async fn mails(&self) -> Vec<(String, String)> {
        let mails = self
            .aws()
            .kept_mails()
            .await
            .expect("the mails that were sent");
        mails
            .into_iter()
            .map(|mail| (mail.to.into_iter().next().unwrap_or_default(), mail.subject))
            .collect()
    }

    /// A role's numbers.
    pub async fn metrics(&self, role: &str) -> String {
        let roles = self.facts["roles"].as_array().expect("roles");
        let health = roles
            .iter()
            .find(|known| known["name"] == role)
            .and_then(|role| role["health"].as_str());
        let url = format!(
            "{}{}",
            health.expect("a known role"),
            contract::METRICS_PATH
        );
        match self.http.get(url).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// What the payment gateway demands of its callers.
    pub fn payment_api_key(&self) -> &str {
        self.facts["payment_api_key"].as_str().expect("a key")
    }

    /// The gateway's own books.
    pub async fn ledger(&self) -> Vec<Value> {
        let url = format!(
            "{}/v1/ledger",
            self.facts["payment_url"].as_str().expect("an address")
        );
        let books = self
            .http
            .get(url)
            .bearer_auth(self.payment_api_key())
            .send()
            .await
            .expect("an answer");
        let books: Value = books.json().await.expect("JSON");
        books["entries"].as_array().cloned().unwrap_or_default()
    }

    pub fn aws(&self) -> Clients {
        let text = |name: &str| self.facts[name].as_str().expect("a fact").to_owned();
        let access = LocalAccess {
            endpoint: text("aws_endpoint"),
            region: text("region"),
            access_key_id: text("aws_access_key_id"),
            secret_access_key: text("aws_secret_access_key"),
        };
        Clients::local(&access, Arc::new(|_| {}))
    }

    /// Runs a Python script with the variables of `haven env` and nothing else, as somebody with
    /// another SDK does. The script makes clients with `client("sqs")`.
    pub fn python(&self, script: &str, arguments: &[&str]) -> std::process::Output {
        const CLIENT: &str = "
import botocore.config, botocore.exceptions, botocore.session, json, os, sys
def client(service, **options):
    return botocore.session.get_session().create_client(service, **options)
";
        let env = self.haven(&["env", "--json"]);
        assert!(env.status.success(), "{env:?}");
        let variables: HashMap<String, String> =
            serde_json::from_slice(&env.stdout).expect("one JSON object");
        let python = servers::python_folder().join("bin/python");
        let mut command = Command::new(python);
        command
            .args(["-I", "-c", &format!("{CLIENT}{script}")])
            .args(arguments)
            .env_clear()
            .envs(variables);
        command.output().expect("Python runs")
    }

    /// A queue of its own that hears of a topic from now on.
    pub async fn listen(&self, topic_arn: &str) -> String {
        let (sqs, name) = (
            self.aws().sqs(),
            format!("test-{}", Uuid::now_v7().simple()),
        );
        let queue = sqs
            .create_queue()
            .queue_name(name)
            .send()
            .await
            .expect("a queue")
            .queue_url
            .expect("its URL");
        let arn = aws_sdk_sqs::types::QueueAttributeName::QueueArn;
        let asked = sqs
            .get_queue_attributes()
            .queue_url(&queue)
            .attribute_names(arn.clone())
            .send()
            .await;
        let arn = asked
            .expect("attributes")
            .attributes
            .and_then(|mut all| all.remove(&arn))
            .expect("an ARN");
        let subscribe = self
            .aws()
            .sns()
            .subscribe()
            .topic_arn(topic_arn)
            .protocol("sqs")
            .endpoint(arn);
        subscribe.send().await.expect("subscribed");
        queue
    }

    /// What such a queue has heard, once it is at least so much.
    pub async fn heard(&self, queue_url: &str, at_least: usize) -> Vec<String> {
        let (begun, mut heard) = (Instant::now(), Vec::new());
        while heard.len() < at_least {
            assert!(
                begun.elapsed() < SETTLED_WITHIN,
                "only {} of {at_least}: {heard:?}",
                heard.len()
            );
            heard.extend(self.receive(queue_url).await);
        }
        heard
    }

    /// Takes up to ten messages from a queue, waiting a second for them: none of them comes again.
    pub async fn receive(&self, queue_url: &str) -> Vec<String> {
        let sqs = self.aws().sqs();
        let receive = sqs
            .receive_message()
            .queue_url(queue_url)
            .max_number_of_messages(10)
            .wait_time_seconds(1);
        let received = receive
            .send()
            .await
            .expect("an answer")
            .messages
            .unwrap_or_default();
        for message in &received {
            let receipt = message.receipt_handle.clone().expect("a receipt");
            sqs.delete_message()
                .queue_url(queue_url)
                .receipt_handle(receipt)
                .send()
                .await
                .expect("deleted");
        }
        received
            .into_iter()
            .filter_map(|message| message.body)
            .collect()
    }

    /// What a role has logged, for the message of a test that fails.
    pub fn log_of(&self, role: &str) -> String {
        std::fs::read_to_string(self.state.join("logs").join(format!("{role}.log")))
            .unwrap_or_default()
    }

    pub async fn addresses(&self) -> HashMap<String, String> {
        adapter_aws::addresses(&self.aws(), "local")
            .await
            .expect("the stacks are deployed")
    }

    pub async fn stock(&self) -> DynamoStock {
        let addresses = self.addresses().await;
        let table = |known| WriteTable::named(&addresses[&Address::Table(known).variable()]);
        let tables = StockTables {
            products: table(&PRODUCTS),
            reservations: table(&RESERVATIONS),
            movements: table(&MOVEMENTS),
        };
        DynamoStock::new(&self.aws(), tables, "test")
    }

    /// The entries of one action in the audit log, oldest first.
    pub async fn audit(&self, action: &str) -> Vec<AuditEntry> {
        /// More than any test writes.
        const ENTRIES_MAX: u32 = 10_000;
        let url = self.facts["database_url"].as_str().expect("a URL");
        let store = Store::connect(url, &Login::default())
            .await
            .expect("the database answers");
        let mut entries = store.audit_entries(ENTRIES_MAX).await.expect("read");
        entries.retain(|entry| entry.action == action);
        entries.reverse();
        entries
    }

    /// How many messages wait, are in hand and are parked, over all queues.
    pub async fn messages(&self) -> (u64, u64, u64) {
        let status = Command::new(haven())
            .args(["status", "--json", "--state"])
            .arg(&self.state)
            .output();
        let status: Value =
            serde_json::from_slice(&status.expect("haven status runs").stdout).expect("JSON");
        let queues = status["queues"].as_array().cloned().unwrap_or_default();
        let sum = |what: &str| queues.iter().filter_map(|queue| queue[what].as_u64()).sum();
        (sum("waiting"), sum("in_hand"), sum("parked"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.haven.kill();
        let _ = self.haven.wait();
        // Nobody needs what it keeps; everything else is ended as a user would end it.
        if let Some(pid) = self.facts["aws_pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
        {
            signal(pid, "-KILL");
        }
        let down = [
            OsStr::new("down"),
            OsStr::new("--state"),
            self.state.as_os_str(),
        ];
        let _ = Command::new(haven())
            .args(down)
            .stdout(Stdio::null())
            .status();
        for container in containers_on(&self.state).unwrap_or_default() {
            let _ = Command::new("docker")
                .args(["rm", "--force", &container])
                .stdout(Stdio::null())
                .status();
        }
        if std::thread::panicking() {
            eprintln!("what was left behind is in {}", self.state.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.state);
        }
    }
}

fn containers_on(state: &Path) -> Option<Vec<String>> {
    // None has ever been here; Docker need not be either.
    if !state.join("containers").is_dir() {
        return Some(Vec::new());
    }
    let label = format!(
        "label=brew-haven.state={}",
        state.canonicalize().ok()?.display()
    );
    let listed = Command::new("docker")
        .args(["ps", "--all", "--quiet", "--filter", &label])
        .output()
        .ok()?;
    let ids = String::from_utf8_lossy(&listed.stdout);
    listed
        .status
        .success()
        .then(|| ids.split_whitespace().map(str::to_owned).collect())
}

/// What a customer sends.
pub fn order(product: &str, quantity: u32, payment_token: &str) -> Value {
    json!({
        "customer": { "name": "Ana", "phone": "+1 555 010 0123", "email": "ana@example.com" },
        "items": [{ "product_id": product, "quantity": quantity }],
        "payment_token": payment_token,
    })
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args([name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

fn start(state: &Path, arguments: &[&str], environment: &[(&'static str, OsString)]) -> Child {
    // The log is in it before haven is, and haven takes no open folder that it did not make.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .expect("a state folder");
    let said = std::fs::File::create(state.join("said")).expect("a log");
    let port = haven::local::emulator::free_port().expect("a port");
    Command::new(haven())
        .args(["up", "--port", &port.to_string(), "--state"])
        .arg(state)
        .args(arguments)
        // One Python environment for all tests.
        .env("HAVEN_PYTHON_ENV", servers::python_folder())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("one log"))
        .stderr(said)
        .spawn()
        .expect("haven starts")
}

/// The `haven` of this checkout, built if it is not fresh.
pub fn haven() -> &'static Path {
    static HAVEN: OnceLock<PathBuf> = OnceLock::new();
    HAVEN.get_or_init(|| built("tasks_fit_binaries", "haven"))
}

/// Returns a binary of this checkout, built if it is not fresh, by way of an integration test of
/// its package: Cargo builds a package's binaries for its integration tests. A plain `cargo build`
/// selects other features of the dependencies than `cargo test --workspace` does, and would compile
/// every SDK a second time.
pub fn built(integration_test: &str, binary: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "test",
        "--workspace",
        "--no-run",
        "--quiet",
        "--message-format=json",
        "--test",
        integration_test,
    ]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{binary} does not build");
    let messages = String::from_utf8_lossy(&built.stdout);
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables = artifacts
        .filter(|artifact| {
            artifact["target"]["name"] == binary && artifact["target"]["kind"][0] == "bin"
        })
        .filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    executables.next().unwrap_or_else(|| {
        panic!("cargo names no executable {binary} for the test {integration_test}")
    })
}
