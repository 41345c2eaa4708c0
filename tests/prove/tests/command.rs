//! Runs the command as a user does: one point of one flow, one fault of the matrix, and bad usage.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prove"));
    command.args(arguments);
    command
}

fn prove(arguments: &[&str]) -> Output {
    command(arguments).output().expect("prove runs")
}

fn report(output: &Output) -> Value {
    let said = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said:?}");
    serde_json::from_str(said.0.lines().next().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn a_kill_at_one_call_is_survived() {
    // Selected by the call and not by number, because the numbers change with the flow.
    let listed = prove(&[
        "crash",
        "--flow",
        "confirm",
        "--database",
        "sqlite",
        "--list",
    ]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let line = listed
        .lines()
        .find(|line| line.contains("POST /v1/charges #1"))
        .expect("a charge is a boundary call");
    let point = line.split_whitespace().next().expect("a number");
    let output = prove(&[
        "crash",
        "--flow",
        "confirm",
        "--database",
        "sqlite",
        "--point",
        point,
        "--side",
        "after",
        "--json",
    ]);
    let report = report(&output);
    assert_eq!(
        (&report["points"], &report["passed"]),
        (&Value::from(1), &Value::from(1)),
        "{report:#}"
    );
}

#[test]
fn a_fault_of_the_matrix_is_hit_and_survived() {
    let report = report(&prove(&[
        "faults",
        "G1",
        "--database",
        "sqlite",
        "--seeds",
        "1",
        "--seconds",
        "3",
        "--json",
    ]));
    assert!(
        report["hits"].as_u64() > Some(0) && report["orders"].as_u64() > Some(0),
        "{report:#}"
    );
    assert_eq!(
        report["failures"].as_array().map(Vec::len),
        Some(0),
        "{report:#}"
    );
}

#[test]
fn bad_usage_names_the_flag() {
    for (arguments, named) in [
        (vec!["crash", "--flow", "nonsense"], "--flow"),
        (vec!["crash", "--point", "3"], "--flow"),
        (
            vec!["crash", "--flow", "confirm", "--point", "2", "--every", "2"],
            "--every",
        ),
        (vec!["simulate", "--seeds", "0"], "--seeds"),
        (vec!["faults"], "ID"),
        (vec!["faults", "Z9"], "Z9"),
        // Both are in the matrix and not injected on one machine, so nothing would run.
        (vec!["faults", "A1", "E4"], "E4 is not injected here"),
        (vec!["faults", "D3", "--rate", "-1"], "--rate"),
        (vec!["faults", "P3", "--database", "sqlite"], "--database"),
        (vec!["nothing"], "nothing"),
    ] {
        let output = prove(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
    let listed = prove(&["faults", "--list"]);
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("Kinesis"));
}

/// Quick runs that print: a model of one order and one worker, one seed of the simulation, the list
/// of faults, and the help.
const QUICK: [&[&str]; 5] = [
    &["model", "--orders", "1", "--workers", "1"],
    &["simulate", "--seeds", "1", "--json"],
    &["faults", "--list"],
    &["faults", "--list", "--json"],
    &["--help"],
];

#[test]
fn a_full_disk_is_reported_as_a_failure() {
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    for arguments in QUICK {
        let output = command(arguments)
            .stdout(full())
            .output()
            .expect("prove runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("prove: standard output cannot be written"),
            "{arguments:?}: {said}"
        );
    }
    // If standard error is full too, only the exit code reports the failure.
    let both: [(&[&str], i32); 3] = [
        (&["faults", "--list"], 1),
        (&["nothing"], 64),
        (&["faults", "P3", "--database", "sqlite"], 64),
    ];
    for (arguments, code) in both {
        let status = command(arguments)
            .stdout(full())
            .stderr(full())
            .status()
            .expect("prove runs");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_closed_pipe_exits_with_141_and_a_failure_keeps_its_code() {
    let bad_usage: &[&str] = &["faults", "P3", "--database", "sqlite"];
    for (arguments, code) in QUICK
        .into_iter()
        .map(|quick| (quick, 141))
        .chain([(bad_usage, 64)])
    {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prove starts");
        // Closed before the command writes anything.
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("prove ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            code != 141 || said.is_empty(),
            "a closed pipe is no fault worth a word: {said}"
        );
    }
}
