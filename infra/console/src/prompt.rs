//! Questions before a change. The default is No. A question is asked only on a terminal.

use std::io::{self, BufRead, IsTerminal as _};

use crate::error::Failure;

/// A question of a command.
///
/// ```
/// use haven_console::prompt::Question;
/// let question = Question {
///     text: "Apply to dev (account 123456789012, us-east-1)?",
///     command: "haven deploy",
///     tip: "review with `haven plan dev`, then add `--yes`",
/// };
/// assert!(question.confirm(true).expect("--yes needs no terminal"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The question, with its question mark.
    pub text: &'a str,
    /// The command that asks, such as `haven destroy`.
    pub command: &'a str,
    /// The tip without a terminal: how to review, and the flag that answers.
    pub tip: &'a str,
}

impl Question<'_> {
    /// Asks for y or N. Returns the answer, which is yes at once with `yes`, the flag `--yes`.
    ///
    /// # Errors
    /// A usage failure when standard input is not a terminal, or with `--no-input` or `--json`.
    pub fn confirm(&self, yes: bool) -> Result<bool, Failure> {
        if yes {
            return Ok(true);
        }
        self.check()?;
        Ok(is_yes(self.ask(" [y/N] ").as_deref()))
    }

    /// Checks that somebody can answer, so that a command can refuse before its work and not after.
    ///
    /// # Errors
    /// A usage failure when standard input is not a terminal, or with `--no-input` or `--json`.
    pub fn check(&self) -> Result<(), Failure> {
        let Some(why) = unanswerable() else {
            return Ok(());
        };
        let message = format!("`{}` asks for confirmation, and {why}", self.command);
        Err(Failure::usage(message)
            .code("confirmation_needed")
            .tip(self.tip))
    }

    /// Asks for `expected` to be typed, such as the account id, or compares it with `given`, the
    /// value of `--confirm`. Returns whether they are equal.
    ///
    /// # Errors
    /// As [`Question::confirm`], or a usage failure when `given` differs.
    pub fn confirm_typed(&self, expected: &str, given: Option<&str>) -> Result<bool, Failure> {
        match given {
            Some(given) if given == expected => Ok(true),
            Some(given) => Err(Failure::usage(format!(
                "--confirm is `{given}`, and must be `{expected}`"
            ))
            .tip("check which account the credentials belong to; nothing was changed")),
            None => {
                self.check()?;
                let prompt = format!(" Type {expected} to confirm: ");
                Ok(self
                    .ask(&prompt)
                    .is_some_and(|answer| answer.trim() == expected))
            }
        }
    }

    /// Returns the line that the user types, or `None` at the end of the input.
    fn ask(&self, prompt: &str) -> Option<String> {
        eprint!("{}{prompt}", self.text);
        read(&mut io::stdin().lock())
    }
}

/// Lets the user choose one of several lines by its number. Returns its index, or `None` for any
/// other answer.
///
/// # Errors
/// Returns `otherwise` when no question can be asked. It lists the lines, and how to name one.
pub fn choose(text: &str, lines: &[String], otherwise: Failure) -> Result<Option<usize>, Failure> {
    if unanswerable().is_some() {
        return Err(otherwise);
    }
    eprintln!("{text}");
    for (index, line) in lines.iter().enumerate() {
        eprintln!("  {}  {line}", index + 1);
    }
    eprint!("Which one? [1-{}] ", lines.len());
    let answer = read(&mut io::stdin().lock());
    Ok(choice(answer.as_deref(), lines.len()))
}

/// Returns the index that an answer from 1 to `count` names.
fn choice(answer: Option<&str>, count: usize) -> Option<usize> {
    let number: usize = answer?.trim().parse().ok()?;
    number.checked_sub(1).filter(|index| *index < count)
}

/// Returns the reason why no question can be asked, or `None`.
fn unanswerable() -> Option<&'static str> {
    let settings = crate::settings::get();
    if settings.no_input {
        Some("--no-input is set")
    } else if settings.json {
        Some("--json is set")
    } else if io::stdin().is_terminal() {
        None
    } else {
        Some("stdin is not a terminal")
    }
}

fn read(input: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    match input.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line),
    }
}

fn is_yes(answer: Option<&str>) -> bool {
    let answer = answer.unwrap_or_default().trim();
    ["y", "yes"]
        .iter()
        .any(|yes| answer.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question<'_> = Question {
        text: "Delete dev?",
        command: "haven destroy",
        tip: "add `--yes`",
    };

    #[test]
    fn only_a_clear_yes_is_yes() {
        for (typed, expected) in [
            ("y\n", true),
            ("YES\n", true),
            ("\n", false),
            ("n\n", false),
            ("yep\n", false),
            ("", false),
        ] {
            assert_eq!(
                is_yes(read(&mut typed.as_bytes()).as_deref()),
                expected,
                "{typed:?}"
            );
        }
    }

    #[test]
    fn a_choice_is_one_of_the_numbers_that_are_shown() {
        for (typed, expected) in [
            ("1\n", Some(0)),
            (" 3 \n", Some(2)),
            ("0\n", None),
            ("4\n", None),
            ("\n", None),
            ("", None),
            ("two\n", None),
        ] {
            let answer = read(&mut typed.as_bytes());
            assert_eq!(choice(answer.as_deref(), 3), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_typed_confirmation_is_compared_exactly() {
        let given = |given| QUESTION.confirm_typed("123456789012", Some(given));
        assert!(given("123456789012").expect("equal"));
        let refused = given("12345").expect_err("differs");
        assert_eq!(refused.exit.code(), 64);
    }

    #[test]
    fn a_question_without_a_terminal_is_refused() {
        // Test runners give tests no terminal; where one does, nothing is asked either.
        if !io::stdin().is_terminal() {
            let refused = QUESTION.confirm(false).expect_err("no terminal");
            assert_eq!(
                refused.to_string(),
                "`haven destroy` asks for confirmation, and stdin is not a terminal"
            );
            assert_eq!(
                (refused.exit.code(), refused.tip.as_deref()),
                (64, Some("add `--yes`"))
            );
        }
        assert!(QUESTION.confirm(true).expect("--yes"));
    }
}
