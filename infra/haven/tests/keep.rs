//! `haven keep`, and what `haven up` runs under it while it starts: the binary itself, with
//! programs of the test's own.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HAVEN: &str = env!("CARGO_BIN_EXE_haven");
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of one test. Removed when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("haven-keep-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).expect("a directory");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .expect("kill runs")
            .success()
    );
}

/// Whether a process runs; one that was not waited for does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// A `haven keep` of a program that runs until it is stopped, with its handlers in place.
fn keep(folder: &Folder, hangup: &str) -> Child {
    let record = folder.0.join("run").join(format!("{hangup}.json"));
    let mut command = Command::new("env");
    command
        .arg(format!("--{hangup}-signal=HUP"))
        .arg(HAVEN)
        .args(["keep", "--record"])
        .arg(&record);
    command.args(["--", "sleep", "600"]).stdin(Stdio::piped());
    let keep = command.spawn().expect("haven runs");
    // The record is written after the signal handlers are installed and the program was started.
    wait_until("a record", || {
        fs::read_to_string(&record).is_ok_and(|text| text.matches("\"pid\"").count() == 2)
    });
    keep
}

#[test]
fn an_ignored_hangup_ends_no_server() {
    let folder = Folder::new();
    let mut heeds = keep(&folder, "default");
    let mut ignores = keep(&folder, "ignore");
    send("-HUP", ignores.id());
    send("-HUP", heeds.id());
    let ended = heeds.wait().expect("it ends");
    assert_eq!(
        ended.code(),
        Some(128 + 15),
        "its program was asked to stop"
    );
    // Whatever the earlier signal does, it has done it by now.
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        ignores.try_wait().expect("a look").is_none(),
        "the signal was ignored when it was started"
    );
    drop(ignores.stdin.take());
    assert_eq!(ignores.wait().expect("it ends").code(), Some(128 + 15));
}

/// A `python3` whose `venv` has a child that writes into the new environment, and never ends by
/// itself. While the file `stubborn` is there it ignores SIGTERM.
const PYTHON: &str = r#"#!/bin/sh
case "$*" in *version_info*) printf '3 12\n%s\n' "$0"; exit ;; esac
[ ! -e "$TMPDIR/stubborn" ] || trap '' TERM
sh -c 'while echo more >> "$1/written"; do sleep 0.05; done' writer "$4" &
echo $! > "$TMPDIR/new" && mv "$TMPDIR/new" "$TMPDIR/writer"
wait
"#;

struct Up {
    haven: Child,
    said: PathBuf,
}

impl Up {
    fn start(folder: &Path) -> Up {
        let said = folder.join("said");
        let output = fs::File::create(&said).expect("a file");
        let mut command = Command::new(HAVEN);
        command
            .args(["up", "--port", "0", "--state"])
            .arg(folder.join("state"))
            .stdin(Stdio::null());
        command
            .env("TMPDIR", folder)
            .env("HAVEN_PYTHON", folder.join("python3"))
            .env_remove("HAVEN_PYTHON_ENV");
        let errors = output.try_clone().expect("one file");
        Up {
            haven: command
                .stdout(output)
                .stderr(errors)
                .spawn()
                .expect("haven runs"),
            said,
        }
    }

    fn said(&self) -> String {
        let mut text = String::new();
        let _ = fs::File::open(&self.said).and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    /// Waits until the environment is being made. Returns the process that writes into it.
    fn wait_for_writer(&self, folder: &Path) -> u32 {
        let mut writer = None;
        wait_until("an environment that is being made", || {
            writer = fs::read_to_string(folder.join("writer"))
                .ok()
                .and_then(|pid| pid.trim().parse().ok());
            writer.is_some()
        });
        fs::remove_file(folder.join("writer")).expect("removed");
        writer.expect("a pid")
    }
}

#[test]
fn a_python_build_ends_with_a_killed_haven_up_and_the_next_start_waits_for_it() {
    let folder = Folder::new();
    let python = folder.0.join("python3");
    fs::write(&python, PYTHON).expect("written");
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("executable");

    let mut up = Up::start(&folder.0);
    let writer = up.wait_for_writer(&folder.0);
    up.haven.kill().expect("it runs");
    up.haven.wait().expect("it ended");
    wait_until("the end of what it had started", || !runs(writer));

    fs::write(folder.0.join("stubborn"), "").expect("written");
    let mut up = Up::start(&folder.0);
    let left = up.wait_for_writer(&folder.0);
    up.haven.kill().expect("it runs");
    up.haven.wait().expect("it ended");
    assert!(runs(left), "it has some seconds to end");
    fs::remove_file(folder.0.join("stubborn")).expect("removed");

    let mut up = Up::start(&folder.0);
    let writer = up.wait_for_writer(&folder.0);
    assert!(
        !runs(left),
        "two write to one state directory:\n{}",
        up.said()
    );
    assert!(
        up.said().contains("had left running: venv"),
        "{}",
        up.said()
    );
    send("-INT", up.haven.id());
    let ended = up.haven.wait().expect("it ends");
    assert!(ended.success(), "{ended}\n{}", up.said());
    assert!(!runs(writer), "a start that was broken off leaves nothing");
}
