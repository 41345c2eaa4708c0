//! The command in surroundings that are not ours: variables, pipes, disks, proxies, credentials and
//! endpoints as a user's machine has them. Each is the binary itself, run to its end.

use std::borrow::BorrowMut;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};

const ACCOUNT: &str = "123456789012";

/// `haven`, with nothing of this process's environment and no account of this machine's user.
fn haven(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haven"));
    let nowhere = std::env::temp_dir().join("haven-environment-no-home");
    command
        .args(arguments)
        .env_clear()
        // Messages are not wrapped, so that tests can search for phrases.
        .env("COLUMNS", "1000")
        .env("HOME", &nowhere)
        .env("AWS_CONFIG_FILE", nowhere.join("config"));
    command
        .env("AWS_SHARED_CREDENTIALS_FILE", nowhere.join("credentials"))
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null());
    command
}

fn with_credentials(mut command: Command) -> Command {
    command
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it, checks the code, and returns what it wrote to standard error. A panic is never an
/// ending.
#[track_caller]
fn ends_with(mut command: impl BorrowMut<Command>, code: i32) -> String {
    let command = command.borrow_mut();
    let output = command.output().expect("haven runs");
    let said = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{said}\n{}",
        text(&output.stdout)
    );
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// One sentence with the cause, one with the next step, and nothing of the SDK's nested errors.
#[track_caller]
fn assert_is_error_with_tip(said: &str) {
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        matches!(lines.as_slice(), [error, "", tip]
            if error.starts_with("error: ") && tip.starts_with("  tip: ")),
        "{said}"
    );
    assert!(
        !said.contains("DispatchFailure") && !said.contains("SdkBody"),
        "{said}"
    );
    for raw in ["Failure(", "os error", "{ source", "\r", "\u{1b}"] {
        assert!(!said.contains(raw), "{raw:?}: {said}");
    }
}

/// The requests to a scripted server: the method and the URL as sent.
type Asked = Arc<Mutex<Vec<String>>>;

/// Starts a server on loopback that answers every request alike and records the requests, until the
/// end of the test.
async fn server(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> (String, Asked) {
    let (asked, body) = (Asked::default(), body.into());
    let seen = asked.clone();
    let app = Router::new().fallback(move |request: Request| {
        let (seen, body) = (seen.clone(), body.clone());
        async move {
            let host = request
                .headers()
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default();
            let line = format!("{} {} ({host})", request.method(), request.uri());
            seen.lock().expect("no test panicked").push(line);
            (status, [(header::CONTENT_TYPE, kind)], body)
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

fn who() -> String {
    format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/u</Arn>\
         <UserId>U</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}

fn refusal(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}

fn asked(asked: &Asked) -> Vec<String> {
    asked.lock().expect("no test panicked").clone()
}

/// Runs the command on a separate thread, so that a server of the test can answer meanwhile.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("haven runs"))
        .await
        .expect("it did not panic")
}

#[test]
fn a_full_disk_is_reported_as_a_failure() {
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    let commands = [
        &["runbook", "list"][..],
        &["config", "explain"],
        &["--help"],
        &["completions", "bash"],
        &["cost", "prod"],
    ];
    for arguments in commands {
        let said = ends_with(haven(arguments).stdout(full()), 1);
        assert!(said.contains("cannot be written"), "{arguments:?}: {said}");
    }
    // If standard error is full too, the exit code is the only report.
    for (arguments, code) in [
        (&["runbook", "list"][..], 1),
        (&["no-such-command"], 64),
        (&["why", "nothing"], 2),
    ] {
        let status = haven(arguments)
            .stdout(full())
            .stderr(full())
            .status()
            .expect("haven runs");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
    for role in ["storefront", "payment-gateway"] {
        let status = haven(&["role", role])
            .stdout(full())
            .stderr(full())
            .status()
            .expect("haven runs");
        assert_eq!(status.code(), Some(64), "{role} has no settings");
    }
}

#[test]
fn a_closed_pipe_exits_with_141_and_a_failure_keeps_its_code() {
    for (arguments, code) in [
        (&["config", "explain", "prod"][..], 141),
        (&["completions", "zsh"], 141),
        (&["--help"], 141),
        (&["synth", "nowhere"], 64),
    ] {
        let mut child = haven(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("haven starts");
        // Before anything is written: the pipe has no reader from the beginning.
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("haven ends");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            code != 141 || said.is_empty(),
            "a closed pipe is no fault worth a word: {said}"
        );
    }
}

#[test]
fn variables_and_arguments_may_contain_any_bytes() {
    let bytes = || OsString::from_vec(b"caf\xe9".to_vec());
    let mut stranger = haven(&["runbook", "list"]);
    stranger
        .env(OsString::from_vec(b"N\xe4me".to_vec()), "v")
        .env("LANG", bytes())
        .env("PATH", bytes());
    ends_with(&mut stranger, 0);
    let said = ends_with(
        haven(&["check", "dev"]).env("HAVEN_SET_network__zones", bytes()),
        64,
    );
    assert!(
        said.contains("HAVEN_SET_network__zones is not UTF-8"),
        "{said}"
    );
    let said = ends_with(
        haven(&["role", "storefront"]).env("DATABASE_URL", bytes()),
        64,
    );
    assert!(
        said.contains("DATABASE_URL is not UTF-8") && !said.contains("DATABASE_URL is not set"),
        "{said}"
    );
    ends_with(haven(&["role"]).arg(bytes()), 64);
    ends_with(haven(&["check", "dev", "--environments"]).arg(bytes()), 1);
    ends_with(
        haven(&["doctor", "dev"]).env("AWS_ENDPOINT_URL", bytes()),
        64,
    );
}

#[test]
fn an_empty_variable_is_unset() {
    for variable in [
        "HAVEN_ENVIRONMENTS",
        "HAVEN_SET_network__zones",
        "AWS_ENDPOINT_URL",
        "HAVEN_LOG",
    ] {
        ends_with(haven(&["config", "explain", "dev"]).env(variable, ""), 0);
    }
    // An empty endpoint is no endpoint: the error is about the missing credentials, and not about
    // an endpoint without a scheme.
    let said = ends_with(
        haven(&["outputs", "dev"])
            .env("AWS_ENDPOINT_URL", "")
            .env("AWS_PROFILE", ""),
        77,
    );
    assert!(said.contains("aws sso login"), "{said}");
}

#[test]
fn an_endpoint_without_a_scheme_is_bad_usage() {
    for endpoint in [
        "127.0.0.1:4566",
        "localhost:4566",
        "localhost",
        "ftp://127.0.0.1",
        "http://",
    ] {
        let said = ends_with(haven(&["outputs", "dev", "--endpoint", endpoint]), 64);
        assert!(said.contains("such as http://127.0.0.1:4566"), "{said}");
        ends_with(
            haven(&["outputs", "dev"]).env("AWS_ENDPOINT_URL", endpoint),
            64,
        );
        ends_with(haven(&["smoke", "dev", "--shop", endpoint]), 64);
    }
}

#[test]
fn missing_credentials_and_an_unknown_profile_exit_with_77() {
    for profile in [None, Some("no-such-profile")] {
        let mut command = haven(&["outputs", "dev"]);
        profile.map(|profile| command.env("AWS_PROFILE", profile));
        let said = ends_with(&mut command, 77);
        assert_is_error_with_tip(&said);
        assert!(
            said.contains(": no AWS credentials found\n")
                && said.contains("aws configure list-profiles"),
            "{said}"
        );
        assert!(
            profile.is_none_or(|profile| said.contains(profile)),
            "{said}"
        );
        let mut doctor = haven(&["doctor", "dev"]);
        profile.map(|profile| doctor.env("AWS_PROFILE", profile));
        let output = doctor.output().expect("haven runs");
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.starts_with("FAIL")
                && told.contains("no AWS credentials found")
                && told.contains("-> run `aws sso login")
                && told.trim_end().ends_with("Not ready: 1 failed."),
            "{told}"
        );
    }
}

#[tokio::test]
async fn each_kind_of_failed_call_has_its_code_and_its_next_step() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let expired = refusal(
        "ExpiredToken",
        "The security token included in the request is expired",
    );
    let (expired, _) = server(StatusCode::FORBIDDEN, "text/xml", expired).await;
    let page = "<!DOCTYPE html><html><body>Please sign in to the guest network</body></html>";
    let (portal, _) = server(StatusCode::OK, "text/html", page).await;
    let (gateway, _) = server(StatusCode::FORBIDDEN, "text/html; charset=utf-8", page).await;
    for (endpoint, code, parts) in [
        (nobody, 69, ["AWS cannot be reached", "HTTPS_PROXY"]),
        (expired, 77, ["ExpiredToken", "aws sso login"]),
        (portal, 69, ["web page", "AWS_ENDPOINT_URL"]),
        (
            gateway,
            69,
            ["HTTP 403 with a web page", "AWS_ENDPOINT_URL"],
        ),
    ] {
        let output = run(with_credentials(haven(&[
            "outputs",
            "dev",
            "--endpoint",
            &endpoint,
        ])))
        .await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_is_error_with_tip(&said);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        let doctor = run(with_credentials(haven(&[
            "doctor",
            "dev",
            "--endpoint",
            &endpoint,
            "--json",
        ])))
        .await;
        let told: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        let checks = told["checks"].as_array().expect("checks");
        assert_eq!(
            (checks.len(), doctor.status.code()),
            (1, Some(2)),
            "nothing else can be asked: {told:#}"
        );
        let next = checks[0]["next"].as_str().expect("a next step");
        assert!(
            said.trim_end().ends_with(next),
            "doctor and command say the same: {next} {said}"
        );
    }
}

#[tokio::test]
async fn only_loopback_bypasses_the_proxy() {
    let (endpoint, direct) = server(StatusCode::OK, "text/xml", who()).await;
    let mut command =
        with_credentials(haven(&["doctor", "dev", "--endpoint", &endpoint, "--json"]));
    for variable in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env(variable, "http://127.0.0.1:1");
    }
    let told = run(command).await;
    assert!(
        text(&told.stdout).contains(ACCOUNT),
        "{}",
        text(&told.stdout)
    );
    assert!(!asked(&direct).is_empty());

    let (proxy, through) = server(StatusCode::OK, "text/xml", who()).await;
    for (variable, no_proxy) in [
        ("HTTP_PROXY", "localhost"),
        ("http_proxy", ""),
        ("ALL_PROXY", "example.org"),
    ] {
        through.lock().expect("no test panicked").clear();
        let endpoint = "http://aws.haven.test";
        let mut command =
            with_credentials(haven(&["doctor", "dev", "--endpoint", endpoint, "--json"]));
        let told = run({
            command.env(variable, &proxy).env("NO_PROXY", no_proxy);
            command
        });
        let told = told.await;
        assert!(
            text(&told.stdout).contains(ACCOUNT),
            "{variable}: {}",
            text(&told.stdout)
        );
        let seen = asked(&through);
        assert!(
            !seen.is_empty() && seen.iter().all(|line| line.contains("aws.haven.test")),
            "{variable}: {seen:?}"
        );
    }
}

#[test]
fn an_interrupted_command_exits_with_130() {
    // The system accepts connections, and no program answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", mute.local_addr().expect("an address"));
    for (arguments, word) in [
        (&["outputs", "dev"][..], "interrupted"),
        (&["deploy", "dev", "--yes"], "haven status ENV"),
    ] {
        let mut command = with_credentials(haven(arguments));
        let command = command
            .args(["--endpoint", &endpoint])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().expect("haven starts");
        let connection = mute.accept().expect("it asks");
        let interrupt = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(interrupt.expect("kill runs").success());
        let output = child.wait_with_output().expect("it ends");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains(word), "{said}");
        drop(connection);
    }
}

#[test]
fn a_port_in_use_is_reported_with_the_process_that_has_it() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("an address").port().to_string();
    let state = std::env::temp_dir().join(format!("haven-port-{}-{port}", std::process::id()));
    let said = ends_with(haven(&["up", "--port", &port, "--state"]).arg(&state), 64);
    assert!(
        said.contains(&format!(
            "port {port} is already in use by pid {}",
            std::process::id()
        )),
        "{said}"
    );
    let _ = std::fs::remove_dir_all(state);
}
