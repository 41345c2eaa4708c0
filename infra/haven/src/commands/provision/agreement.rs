//! Asks the user to confirm a change.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};

/// Asks the user to type the name of the environment. Returns whether they did.
///
/// # Errors
/// When standard input is not a terminal.
pub fn is_agreed(environment: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this changes {environment}: say --yes, or use haven plan and haven apply");
    }
    eprint!("\nDo this? Type {environment}: ");
    let mut typed = String::new();
    std::io::stdin()
        .read_line(&mut typed)
        .context("read the answer")?;
    Ok(typed.trim() == environment)
}
