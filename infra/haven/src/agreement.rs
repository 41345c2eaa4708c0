//! Asks the user to confirm a change.

use haven_console::error::Failure;
use haven_console::prompt::Question;

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
