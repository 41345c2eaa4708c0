//! Asks the user to confirm a change.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};

/// Returns whether standard input is a terminal, so that the user can answer.
pub fn can_answer() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks a question and returns whether the user typed `expected`.
///
/// # Errors
/// When standard input cannot be read.
pub fn ask(question: &str, expected: &str) -> anyhow::Result<bool> {
    eprint!("\n{question} Type {expected}: ");
    let mut typed = String::new();
    std::io::stdin()
        .read_line(&mut typed)
        .context("read the answer")?;
    Ok(typed.trim() == expected)
}

/// Asks the user to type the name of an environment before a change of it. Returns whether they
/// did.
///
/// # Errors
/// When standard input is not a terminal.
pub fn is_agreed(environment: &str) -> anyhow::Result<bool> {
    if !can_answer() {
        bail!("this changes {environment}: say --yes, or use haven plan and haven apply");
    }
    ask("Do this?", environment)
}
