//! Principles of the command line that a run shows: commands that read templates make no call, the
//! answer is on standard output and fits, a color adds nothing, and a terminal shows at once that a
//! command runs.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use common::{haven, plain, text};

mod common;

/// Commands that only read templates, and their exit codes.
const OFFLINE: [(&[&str], i32); 5] = [
    (&["check", "local"], 0),
    (&["cost", "dev"], 0),
    (&["why", "orders", "--env", "dev"], 0),
    // Nothing was deployed from the state directory, so everything differs.
    (&["diff", "dev"], 2),
    (&["config", "explain", "dev"], 0),
];

/// Programs that other commands start, and some that a pager or an update check would start.
const PROGRAMS: [&str; 14] = [
    "aws",
    "curl",
    "docker",
    "git",
    "initdb",
    "less",
    "more",
    "open",
    "postgres",
    "ps",
    "python3",
    "redis-server",
    "sh",
    "xdg-open",
];

#[test]
fn commands_that_read_templates_make_no_call_and_keep_to_width_stream_and_color() {
    let folder = std::env::temp_dir().join(format!("haven-offline-{}", uuid::Uuid::now_v7()));
    fs::create_dir(&folder).expect("a folder");
    let started = folder.join("started");
    for program in PROGRAMS {
        let path = folder.join(program);
        let script = format!("#!/bin/sh\necho {program} >> {}\n", started.display());
        fs::write(&path, script).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("changed");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("changed");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let state = folder.join("state").display().to_string();
    let path = folder.display().to_string();
    let run = |arguments: &[&str], columns: &str| {
        let urls = [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "AWS_ENDPOINT_URL",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        ];
        let mut variables: Vec<(&str, &str)> = urls.map(|name| (name, url.as_str())).into();
        variables.extend([
            ("PATH", path.as_str()),
            ("HOME", &path),
            ("COLUMNS", columns),
        ]);
        let output = haven(&[arguments, &["--state", &state]].concat(), &variables);
        assert_eq!(text(&output.stderr), "", "{arguments:?}: no conversation");
        (output.status.code(), text(&output.stdout))
    };
    // Durations differ from run to run.
    let masked = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "0");
    for (arguments, code) in OFFLINE {
        for columns in [60, 80, 120] {
            let (ended, answer) = run(arguments, &columns.to_string());
            assert_eq!(ended, Some(code), "{arguments:?}: {answer}");
            assert!(!answer.contains(['\r', '\u{1b}']), "{answer:?}");
            for line in answer.lines() {
                // A name that cannot be broken has a line of its own.
                let is_one_word = line.split_whitespace().count() == 1;
                let fits = line.chars().count() <= columns || is_one_word;
                assert!(fits, "{arguments:?} {columns}: {line}");
                assert_eq!(line, line.trim_end(), "{arguments:?}: ends in a blank");
            }
            if columns == 80 {
                let (_, colored) = run(&[arguments, &["--color", "always"]].concat(), "80");
                assert_eq!(masked(&plain(&colored)), masked(&answer), "{arguments:?}");
            }
        }
    }
    let called = listener.accept().map_err(|error| error.kind());
    assert_eq!(called.err(), Some(ErrorKind::WouldBlock), "a call was made");
    let started = fs::read_to_string(&started).unwrap_or_default();
    assert_eq!(started, "", "processes were started");
    let _ = fs::remove_dir_all(&folder);
}

#[test]
fn on_a_terminal_a_command_is_alive_before_anybody_answers() {
    // Connections are accepted by the system, and no response follows.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let script = "import pty, sys; pty.spawn(sys.argv[1:])";
    let mut terminal = Command::new("python3")
        .args(["-c", script, env!("CARGO_BIN_EXE_haven")])
        .args(["outputs", "local", "--state", "nowhere", "--endpoint"])
        .arg(endpoint)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("TERM", "xterm")
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut output = terminal.stdout.take().expect("a pipe");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("Reading the stacks") {
        let mut bytes = [0; 1_024];
        let count = output.read(&mut bytes).expect("output");
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..count]);
    }
    // The end of its terminal ends the command.
    terminal.kill().expect("it runs");
    terminal.wait().expect("it ends");
}
