//! The screens that `haven` prints about itself, and the streams and colors that they have.

use common::{haven, plain, text};
use serde_json::Value;

mod common;

const FIRST: &str = "\
Brew Haven: a coffee-shop order platform, on this machine or on AWS

Usage: haven [OPTIONS] <COMMAND>

Start here
  haven up           Start the platform on this machine
  haven open         Open the shop in your browser
  haven status       Show whether everything is healthy
  haven load         Send orders and measure the result

On AWS
  haven check        Validate the templates; needs no account
  haven plan prod    Show what a deployment would change
  haven deploy prod  Review and apply the changes

All commands: haven --help. One command: haven help plan.
";

#[test]
fn haven_alone_shows_the_first_screen_and_succeeds() {
    for columns in ["80", "120"] {
        let output = haven(&[], &[("COLUMNS", columns)]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            (FIRST.to_owned(), String::new())
        );
    }
    let narrow = text(&haven(&[], &[("COLUMNS", "60")]).stdout);
    assert!(narrow.lines().all(|line| line.len() <= 60), "{narrow}");
}

#[test]
fn help_is_never_wider_than_asked() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["load", "--help"],
        &["plan", "-h"],
    ] {
        for columns in [60, 80, 120] {
            let output = haven(arguments, &[("COLUMNS", &columns.to_string())]);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}");
            for line in text(&output.stdout).lines() {
                assert!(
                    line.chars().count() <= columns,
                    "{arguments:?} {columns}: {line}"
                );
            }
        }
    }
}

#[test]
fn a_color_adds_nothing_but_color() {
    let help = ["--color", "always", "--help"];
    let colored = text(&haven(&help, &[("NO_COLOR", "1")]).stdout);
    let none = text(&haven(&["--help"], &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]).stdout);
    assert!(colored.contains("\u{1b}[1m"), "{colored}");
    assert!(!none.contains('\u{1b}'), "{none}");
    assert_eq!(plain(&colored), none);
    let forced = text(&haven(&["--help"], &[("CLICOLOR_FORCE", "1")]).stdout);
    assert_eq!(forced, colored);
    assert_eq!(
        text(&haven(&["--help"], &[]).stdout),
        none,
        "a pipe has no colors"
    );
}

#[test]
fn a_wrong_command_line_exits_with_64_as_text_and_as_json() {
    let output = haven(&["status", "--stat", "x"], &[]);
    let said = text(&output.stderr);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(64), ""),
        "{said}"
    );
    assert!(
        said.starts_with("error: ") && said.contains("--state"),
        "{said}"
    );
    let output = haven(&["status", "--stat", "x", "--json"], &[]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(64), "")
    );
    let error: Value = serde_json::from_slice(&output.stderr).expect("one object");
    assert_eq!(error["code"], "usage");
    assert!(
        error["tip"]
            .as_str()
            .is_some_and(|tip| tip.contains("--state")),
        "{error}"
    );
    let output = haven(&["status", "prd", "--json"], &[]);
    assert_eq!(output.status.code(), Some(64));
    let error: Value = serde_json::from_slice(&output.stderr).expect("one object");
    assert_eq!(error["message"], "unknown environment `prd`");
}

/// Returns the document on standard output, which is valid by the schema that it names.
fn valid(arguments: &[&str], exit: i32) -> Value {
    let output = haven(&[arguments, &["--json"]].concat(), &[]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {error}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let name = document["schema"].as_str().unwrap_or_default();
    let name = name.trim_start_matches("haven.").trim_end_matches("/1");
    is_valid(name, &document);
    assert_eq!(document["ok"], exit == 0, "{arguments:?}");
    document
}

fn is_valid(schema: &str, document: &Value) {
    let schema = haven(&["help", "json", schema], &[]).stdout;
    let schema = serde_json::from_slice(&schema).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a legal schema");
    let errors = validator.iter_errors(document);
    let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?} in {document:#}");
}

#[test]
fn what_needs_no_platform_prints_documents_that_are_valid() {
    for (arguments, exit) in [
        (&["check", "local"][..], 0),
        (&["completions", "bash"], 0),
        (&["config", "explain", "prod"], 0),
        (&["config", "explain", "prod", "nothing"], 2),
        (
            &["config", "explain", "prod", "--set", "network.zones=9"],
            64,
        ),
        (&["cost", "prod"], 0),
        (&["diff", "local", "--state", "nowhere"], 2),
        (&["notify", "preview"], 0),
        (&["runbook", "list"], 0),
        (&["runbook", "show", "dead-letters"], 0),
        (&["synth", "local"], 0),
        (&["why", "orders"], 0),
        (&["why", "nothing"], 2),
    ] {
        valid(arguments, exit);
    }
}

#[test]
fn an_error_is_one_object_with_json() {
    for (arguments, exit, code) in [
        (&["dlq"][..], 64, "usage"),
        (&["status", "prd"], 64, "usage"),
        (&["status", "--stat", "x"], 64, "usage"),
        (&["runbook", "show", "nothing"], 2, "not_found"),
        (&["help", "json", "stat"], 64, "usage"),
    ] {
        let json: &[&str] = if arguments[0] == "help" {
            &[]
        } else {
            &["--json"]
        };
        let output = haven(&[arguments, json].concat(), &[]);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        if !json.is_empty() {
            let error: Value = serde_json::from_slice(&output.stderr).expect("one object");
            is_valid("error", &error);
            assert_eq!(error["code"], code, "{error}");
        }
    }
}

#[test]
fn quiet_leaves_the_last_line_and_values() {
    for arguments in [&["config", "explain", "prod"][..], &["runbook", "list"]] {
        let wide = [("COLUMNS", "120")];
        let full = text(&haven(arguments, &wide).stdout);
        let output = haven(&[arguments, &["-q"]].concat(), &wide);
        let quiet = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(quiet.lines().count(), 1, "{quiet}");
        let last = full
            .lines()
            .skip_while(|line| !line.contains(quiet.trim_end()));
        assert!((1..=2).contains(&last.count()), "{quiet} in {full}");
    }
    for arguments in [
        &["completions", "bash"][..],
        &["config", "explain", "prod", "--json"],
        &["runbook", "show", "dead-letters"],
    ] {
        let output = haven(&[arguments, &["-q"]].concat(), &[]);
        assert_eq!(output.stdout, haven(arguments, &[]).stdout, "{arguments:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
    let error = haven(&["status", "prd", "-q"], &[]);
    assert!(text(&error.stderr).starts_with("error: "), "{error:?}");
}

#[test]
fn the_schemas_are_listed() {
    let list = text(&haven(&["help", "json"], &[]).stdout);
    for line in [
        "dlq-list ",
        "haven orders show",
        "Next: haven help json status",
    ] {
        assert!(list.contains(line), "{list}");
    }
    assert!(list.lines().all(|line| line.len() <= 80), "{list}");
}

#[test]
fn the_version_is_the_same_after_each_command() {
    let version = text(&haven(&["--version"], &[]).stdout);
    let number = format!("haven {}", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&number), "{version}");
    assert_eq!(text(&haven(&["dlq", "list", "-V"], &[]).stdout), version);
}

#[test]
fn every_exit_code_is_explained() {
    let codes = text(&haven(&["help", "exit-codes"], &[]).stdout);
    for code in ["0", "1", "2", "64", "69", "77", "130", "141"] {
        assert!(
            codes
                .lines()
                .any(|line| line.split_whitespace().next() == Some(code)),
            "{codes}"
        );
    }
}

#[test]
fn a_question_without_a_terminal_is_refused_before_any_call_to_aws() {
    let why = "asks for confirmation, and stdin is not a terminal";
    for (arguments, message, tip) in [
        (
            &["destroy", "dev"][..],
            "`haven destroy`",
            "review with `haven destroy dev --dry-run`, then add `--yes`",
        ),
        (
            &["deploy", "dev"],
            "`haven deploy`",
            "review with `haven plan dev`, then add `--yes`",
        ),
        (
            &[
                "deploy",
                "prod",
                "--yes",
                "--set",
                "account.id=123456789012",
            ],
            "`haven deploy`",
            "review with `haven plan prod`, then add `--confirm 123456789012`",
        ),
        (
            &["destroy", "prod", "--yes"],
            "`haven destroy`",
            "review with `haven destroy prod --dry-run`, then add `--confirm ACCOUNT_ID`",
        ),
        (
            &["drift", "dev", "--revert"],
            "`haven drift --revert`",
            "review with `haven drift dev`, then add `--yes`",
        ),
        (
            &["dlq", "redrive", "3f2a"],
            "`haven dlq redrive`",
            "review with `haven dlq redrive 3f2a --dry-run`, then add `--yes`",
        ),
    ] {
        // There are no credentials, so a call to AWS would end with another exit code.
        let output = haven(arguments, &[("COLUMNS", "120")]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert_eq!(
            (said, text(&output.stdout)),
            (
                format!("error: {message} {why}\n\n  tip: {tip}\n"),
                String::new()
            )
        );
    }
}
