//! A running shop for a test: `haven up` with its own state directory, ports and stacks.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use adapter_aws::call::{Call, Operation, SNS};
use adapter_aws::{Clients, DynamoStock, LocalAccess, StockTables, WriteTable};
use adapter_sql::Login;
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

/// How long a start may take. The first start downloads the packages of the Python environment.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How long an order may take to settle, faults included.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Allows one shop at a time, because each shop has nine roles and the machine may have two cores.
static TURN: Mutex<()> = Mutex::const_new(());

/// A running shop. Dropping the value stops it and deletes its state directory, unless the test
/// failed.
pub struct World {
    pub http: reqwest::Client,
    pub facts: Value,
    state: PathBuf,
    /// Variables for every `haven up` on the state directory.
    pub environment: Vec<(&'static str, OsString)>,
    haven: Child,
    _turn: MutexGuard<'static, ()>,
}

/// Status and body of a response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// Returns the fields that a problem document names.
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
    /// Starts a shop with more arguments for `haven up`, such as `--postgres`.
    pub async fn open(arguments: &[&str]) -> World {
        World::open_in(&[], arguments).await
    }

    /// Starts a shop with more arguments and environment variables for `haven up`.
    pub async fn open_in(environment: &[(&'static str, &str)], arguments: &[&str]) -> World {
        let state = std::env::temp_dir().join(format!("haven-e2e-{}", Uuid::now_v7()));
        let environment = environment
            .iter()
            .map(|(name, value)| (*name, OsString::from(value)))
            .collect();
        World::open_on(state, arguments, environment).await
    }

    /// Starts a shop on a state directory. The variables apply to every `haven up` on it.
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
            // A killed `haven up` leaves a file with its own pid.
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

    /// Returns the output of the current `haven up`.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.state.join("said")).unwrap_or_default()
    }

    /// Runs a `haven` command on this shop's state directory.
    #[track_caller]
    pub fn haven(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = haven_command();
        command.args(arguments).arg("--state").arg(&self.state);
        let output = command.output().expect("haven runs");
        assert_readable(&output);
        output
    }

    /// Stops the shop and starts it again on the same state directory.
    pub async fn reopen(&mut self, arguments: &[&str]) {
        self.close();
        self.reopen_closed(arguments).await;
    }

    /// Starts a shop again that was stopped.
    pub async fn reopen_closed(&mut self, arguments: &[&str]) {
        self.haven = start(&self.state, arguments, &self.environment);
        self.wait_until_ready().await;
    }

    /// Returns this shop's state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Stops the shop with `haven down`.
    pub fn close(&mut self) {
        let stopped = haven_command()
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

    /// Kills `haven up` with SIGKILL and starts the shop again on the same state directory.
    pub async fn reopen_after_kill(&mut self, arguments: &[&str]) {
        self.haven.kill().expect("it runs");
        self.haven.wait().expect("it has ended");
        self.haven = start(&self.state, arguments, &self.environment);
        self.wait_until_ready().await;
    }

    /// Returns the ids of this shop's containers, stopped ones included.
    pub fn containers(&self) -> Vec<String> {
        containers_on(&self.state).expect("docker lists them")
    }

    /// Returns a role's current pid, or `None` while it is being restarted.
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

    /// Kills a role with SIGKILL.
    pub fn kill(&self, role: &str) {
        if let Some(pid) = self.pid(role) {
            signal(pid, "-KILL");
        }
    }

    /// Stops a role with SIGSTOP until [`World::resume`].
    pub fn pause(&self, role: &str) {
        signal(self.pid(role).expect("it runs"), "-STOP");
    }

    /// Continues a role that [`World::pause`] stopped.
    pub fn resume(&self, role: &str) {
        signal(self.pid(role).expect("it runs"), "-CONT");
    }

    /// Sends a request to the storefront and returns its response. A body that is not JSON becomes
    /// a string.
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

    /// Sends a GET request to the storefront.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    /// Places an order with a new idempotency key.
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

    /// Sends a request to the storefront with the token of the local staff.
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

    /// Moves an order to a status, as the staff board does.
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

    /// Waits until an order has one of the statuses and returns the order.
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

    /// Returns a product's stock counters.
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

    /// Returns the recipient and the subject of every mail that was sent.
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

    /// Returns a role's metrics, or an empty text if the role does not respond.
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

    /// Returns the API key of the payment gateway.
    pub fn payment_api_key(&self) -> &str {
        self.facts["payment_api_key"].as_str().expect("a key")
    }

    /// Returns the entries of the payment gateway's ledger.
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

    /// Returns clients for the shop's local AWS.
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

    /// Runs a Python script with only the variables of `haven env`, like a user with another SDK.
    /// The script creates clients with `client("sqs")`.
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

    /// Creates a queue that subscribes to a topic, and returns its URL.
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
        const SUBSCRIBE: Operation = Operation::new(&SNS, "Subscribe");
        let subscription = json!({ "TopicArn": topic_arn, "Protocol": "sqs", "Endpoint": arn });
        Call::new(self.aws().config(), &SUBSCRIBE)
            .send(subscription)
            .await
            .expect("subscribed");
        queue
    }

    /// Receives messages of a queue until there are at least `at_least`.
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

    /// Receives and deletes up to ten messages of a queue, with a long poll of one second.
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

    /// Returns a role's log for the message of a failed assertion.
    pub fn log_of(&self, role: &str) -> String {
        std::fs::read_to_string(self.state.join("logs").join(format!("{role}.log")))
            .unwrap_or_default()
    }

    /// Returns the addresses of the deployed resources by variable.
    pub async fn addresses(&self) -> HashMap<String, String> {
        adapter_aws::addresses(&self.aws(), "local")
            .await
            .expect("the stacks are deployed")
    }

    /// Returns an adapter for the shop's stock tables.
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

    /// Returns the audit log entries of one action, oldest first.
    pub async fn audit(&self, action: &str) -> Vec<AuditEntry> {
        /// More entries than any test writes.
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

    /// Returns the number of messages over all queues: waiting, in flight, and dead letters.
    pub async fn messages(&self) -> (u64, u64, u64) {
        let status = haven_command()
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
        // Its state is not needed, so it is killed. Everything else stops as for a user.
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
        let _ = haven_command().args(down).stdout(Stdio::null()).status();
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
    // No container was ever started, so Docker is not needed either.
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

/// Returns the body of an order.
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
    // The test's log must be in the directory before `haven up` starts, and `haven up` refuses an
    // existing directory that other accounts can read.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .expect("a state directory");
    let said = std::fs::File::create(state.join("said")).expect("a log");
    let port = platform::emulator::free_port().expect("a port");
    haven_command()
        .args(["up", "--port", &port.to_string(), "--state"])
        .arg(state)
        .args(arguments)
        // All tests share one Python environment.
        .env("HAVEN_PYTHON_ENV", servers::python_folder())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("one log"))
        .stderr(said)
        .spawn()
        .expect("haven starts")
}

/// Returns a command that runs `haven`. Its messages are not wrapped, so that tests can search for
/// phrases.
pub fn haven_command() -> Command {
    let mut command = Command::new(haven());
    command.env("COLUMNS", "1000");
    command
}

/// Checks what every command must keep to on a pipe: standard error has no escape sequence and no
/// redrawn line, and an error for people has no raw text of a library.
#[track_caller]
pub fn assert_readable(output: &std::process::Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains(['\r', '\u{1b}']), "{errors:?}");
    // Programs get the causes too.
    let is_for_people = !errors.starts_with('{');
    for raw in ["Failure(", "SdkBody", "os error", "{ source"] {
        assert!(!is_for_people || !errors.contains(raw), "{raw}: {errors}");
    }
}

/// Returns the path of this checkout's `haven`, built if needed.
pub fn haven() -> &'static Path {
    static HAVEN: OnceLock<PathBuf> = OnceLock::new();
    HAVEN.get_or_init(|| built("tasks_fit_binaries", "haven"))
}

/// Builds a binary of this checkout if needed and returns its path. The build goes through an
/// integration test of the package, because Cargo builds the binaries for it. A plain `cargo build`
/// selects other features than `cargo test --workspace` and would compile every SDK a second time.
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
