//! The screens that `haven` prints about itself, and the streams and colors that they have.

use std::process::{Command, Output};

/// `haven` with nothing of this process's environment.
fn haven(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_haven"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(std::env::temp_dir())
        .output()
        .expect("haven runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Returns the text without the escape sequences of colors.
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| {
        plain + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

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
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one object");
    assert_eq!(error["code"], "usage");
    assert!(
        error["tip"]
            .as_str()
            .is_some_and(|tip| tip.contains("--state")),
        "{error}"
    );
    let output = haven(&["status", "prd", "--json"], &[]);
    assert_eq!(output.status.code(), Some(64));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one object");
    assert_eq!(error["message"], "unknown environment `prd`");
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
