//! `haven completions`: prints a completion script, generated from the definition of the command
//! line.

use anyhow::Context as _;
use clap::Args;
use clap_complete::{Shell, generate};
use haven_console::exit::Exit;
use haven_console::verdict::Verdict;
use haven_console::{output, settings};
use serde_json::json;

#[derive(Debug, Args)]
pub struct Completions {
    /// Shell to complete
    pub shell: Shell,
}

/// Prints the completion script of a shell.
///
/// # Errors
/// When the script is not UTF-8.
pub fn print(options: &Completions, mut haven: clap::Command) -> anyhow::Result<Exit> {
    let script = script(options.shell, &mut haven)?;
    if settings::get().json {
        let shell = options.shell.to_string();
        let verdict = Verdict::neutral(format!("The completion script of {shell}."));
        let fields = json!({ "shell": shell, "script": script });
        return Ok(verdict.print_json("haven.completions/1", fields));
    }
    output::always(script.trim_end());
    Ok(Exit::Done)
}

/// Returns the completion script of a shell for a command line.
///
/// # Errors
/// When the script is not UTF-8.
pub fn script(shell: Shell, haven: &mut clap::Command) -> anyhow::Result<String> {
    let mut script = Vec::new();
    generate(shell, haven, "haven", &mut script);
    String::from_utf8(script).context("write the completion script")
}
