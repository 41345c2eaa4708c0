//! The command as people run it: one point of one flow, one fault of the matrix, and what it says to bad usage.

use std::process::{Command, Output};

use serde_json::Value;

fn prove(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prove")).args(arguments).output().expect("prove runs")
}

fn report(output: &Output) -> Value {
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said:?}");
    serde_json::from_str(said.0.lines().next().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn a_kill_at_one_call_is_survived() {
    // Not by its number: the points of a flow are what the shop does today.
    let listed = prove(&["crash", "--flow", "confirm", "--database", "sqlite", "--list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let line = listed.lines().find(|line| line.contains("POST /v1/charges #1")).expect("a charge is a boundary call");
    let point = line.split_whitespace().next().expect("a number");
    let output =
        prove(&["crash", "--flow", "confirm", "--database", "sqlite", "--point", point, "--side", "after", "--json"]);
    let report = report(&output);
    assert_eq!((&report["points"], &report["passed"]), (&Value::from(1), &Value::from(1)), "{report:#}");
}

#[test]
fn a_fault_of_the_matrix_is_hit_and_survived() {
    let report = report(&prove(&["faults", "G1", "--database", "sqlite", "--seeds", "1", "--seconds", "3", "--json"]));
    assert!(report["hits"].as_u64() > Some(0) && report["orders"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(0), "{report:#}");
}

#[test]
fn bad_usage_is_told_with_the_flag() {
    for (arguments, named) in [
        (vec!["crash", "--flow", "nonsense"], "--flow"),
        (vec!["crash", "--point", "3"], "--flow"),
        (vec!["faults"], "ID"),
        (vec!["faults", "Z9"], "Z9"),
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
