//! Asks the user to confirm a change.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use haven_console::error::Failure;
use haven_console::prompt::Question;

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

/// Asks before a change of an environment, unless the flag `--yes` is set. For `prod`, the user must
/// type the account id.
///
/// # Errors
/// A usage failure when standard input is not a terminal, or with `--no-input`.
pub fn is_agreed(
    question: Question<'_>,
    environment: &str,
    account: &str,
    yes: bool,
) -> Result<bool, Failure> {
    if yes || environment != "prod" {
        question.confirm(yes)
    } else {
        question.confirm_typed(account, None)
    }
}
