//! `haven completions`: prints a completion script, generated from the definition of the command
//! line.

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::cli::Cli;

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell that is to complete
    pub shell: Shell,
    /// The script in a JSON document
    #[arg(long)]
    pub json: bool,
}

/// Prints the completion script of a shell.
///
/// # Errors
/// When the script is not UTF-8.
pub fn print(options: &Completions) -> anyhow::Result<bool> {
    let script = script(options.shell)?;
    match options.json {
        true => println!(
            "{:#}",
            serde_json::json!({ "shell": options.shell.to_string(), "script": script })
        ),
        false => print!("{script}"),
    }
    Ok(true)
}

fn script(shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "haven", &mut script);
    String::from_utf8(script).context("write the completion script")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_is_offered_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell).expect("text");
            for command in Cli::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }
}
