//! `haven completions`: prints a completion script, generated from the definition of the command
//! line.

use anyhow::Context as _;
use clap::Args;
use clap_complete::{Shell, generate};
use haven_console::output;
use haven_console::verdict::Verdict;
use serde_json::json;

#[derive(Debug, Args)]
pub struct Completions {
    /// Shell to complete
    pub shell: Shell,
    /// The script in a JSON document
    #[arg(long)]
    pub json: bool,
}

/// Prints the completion script of a shell.
///
/// # Errors
/// When the script is not UTF-8.
pub fn print(options: &Completions, mut haven: clap::Command) -> anyhow::Result<bool> {
    let script = script(options.shell, &mut haven)?;
    if options.json {
        let shell = options.shell.to_string();
        let verdict = Verdict::neutral(format!("The completion script of {shell}."));
        let fields = json!({ "shell": shell, "script": script });
        verdict.print_json("haven.completions/1", fields);
    } else {
        output::always(script.trim_end());
    }
    Ok(true)
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
