//! The binary: its start, its end, and that a sudden death loses no result that a client has
//! received.

use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::support::{API_KEY, Client, LedgerFile, PATIENCE};

fn command(file: &LedgerFile) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payment-gateway"));
    command
        .env_clear()
        .env("PAYMENT_LEDGER", &file.0)
        .env("PAYMENT_BIND", "127.0.0.1:0");
    command.env("PAYMENT_API_KEY", API_KEY);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts the binary and waits until it logs its address.
async fn start(file: &LedgerFile) -> (Child, Client) {
    let (child, client, mut lines) = start_with(command(file)).await;
    // Keeps reading, so that the process never writes into a closed pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, client)
}

/// Starts the binary and also returns the lines that it logs from then on.
async fn start_with(mut command: Command) -> (Child, Client, Lines<BufReader<ChildStderr>>) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = timeout(PATIENCE, async {
        loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("the gateway says where it listens");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = event["fields"]["address"].as_str() {
                return address.parse().unwrap();
            }
        }
    })
    .await
    .unwrap();
    (child, Client::new(address), lines)
}

async fn exit_code(mut child: Child) -> Option<i32> {
    timeout(PATIENCE, child.wait())
        .await
        .expect("it ends in time")
        .unwrap()
        .code()
}

async fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id().unwrap());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .await
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn sigterm_and_ctrl_c_stop_the_gateway_while_a_client_waits() {
    for name in ["TERM", "INT"] {
        let file = LedgerFile::new();
        let (child, client) = start(&file).await;
        let waiting = client.clone();
        let held = tokio::spawn(async move { waiting.charge("k", "tok_timeout").await });
        client.until_found("k").await;
        let started = Instant::now();
        signal(&child, name).await;
        assert_eq!(exit_code(child).await, Some(0), "{name}");
        assert!(started.elapsed() < PATIENCE / 2);
        held.await.unwrap().problem(504);
    }
}

#[tokio::test]
async fn sigkill_loses_no_acknowledged_charge() {
    let file = LedgerFile::new();
    let (child, client) = start(&file).await;
    let charge_id = client.captured("c").await;
    let refund = client.refund("r", &charge_id, 100).await;
    let charge = client.find("c").await;
    signal(&child, "KILL").await;
    assert_eq!(exit_code(child).await, None);

    let (child, client) = start(&file).await;
    assert_eq!(client.find("c").await, charge);
    assert_eq!(client.charge("c", "tok_ok").await, charge);
    assert_eq!(client.refund("r", &charge_id, 100).await, refund);
    signal(&child, "TERM").await;
    assert_eq!(exit_code(child).await, Some(0));
}

#[tokio::test]
async fn bad_configuration_and_failure_have_different_exit_codes() {
    let file = LedgerFile::new();
    let damaged = LedgerFile::with("nonsense\n");
    let occupant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = occupant.local_addr().unwrap().to_string();
    let (damaged, taken) = (
        format!("--ledger {}", damaged.0.display()),
        format!("--bind {taken}"),
    );
    let cases = [
        ("--no-such-flag", None, 64),
        ("--bind nowhere", None, 64),
        ("", Some(("PAYMENT_BIND", "nowhere")), 64),
        ("--webhook-url http://127.0.0.1:1/", None, 64),
        ("", Some(("PAYMENT_API_KEY", "")), 64),
        (
            "--webhook-url nonsense",
            Some(("PAYMENT_WEBHOOK_SECRET", "s")),
            64,
        ),
        ("--help", None, 0),
        (&damaged, None, 1),
        (&taken, None, 1),
        ("--ledger /no/such/folder/ledger.jsonl", None, 1),
    ];
    for (arguments, variable, code) in cases {
        let child = command(&file)
            .args(arguments.split_whitespace())
            .envs(variable)
            .spawn()
            .unwrap();
        assert_eq!(
            exit_code(child).await,
            Some(code),
            "{arguments:?} {variable:?}"
        );
    }
}

/// `HAVEN_LOG=` once meant "errors only", so the log did not contain the address.
#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let folder = std::env::temp_dir().join(format!("gateway-variables-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = command(&LedgerFile::new());
    // The command sets the address, because the default port may be used.
    for variable in ["PAYMENT_LEDGER", "PAYMENT_WEBHOOK_URL", "HAVEN_LOG"] {
        command.env(variable, "");
    }
    let (child, client, _lines) = start_with({
        command.current_dir(&folder);
        command
    })
    .await;
    client.captured("c").await;
    signal(&child, "TERM").await;
    assert_eq!(exit_code(child).await, Some(0));
    assert!(
        folder.join("payment-ledger.jsonl").is_file(),
        "where the ledger is without the variable"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_call_without_the_key_is_logged_without_its_content() {
    let file = LedgerFile::new();
    let (child, client, mut lines) = start_with(command(&file)).await;
    client
        .authorized_by(Some("Bearer guess-4711"))
        .find("secret-key")
        .await
        .problem(401);
    let line = timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .expect("a line");
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    let fields = &event["fields"];
    let said = [&fields["event"], &fields["method"], &fields["route"]]
        .map(|field| field.as_str().unwrap_or_default());
    assert_eq!(said, ["unauthorized", "GET", "/v1/charges"], "{line}");
    assert!(
        !line.contains("guess") && !line.contains("secret"),
        "{line}"
    );
    signal(&child, "TERM").await;
    assert_eq!(exit_code(child).await, Some(0));
}
