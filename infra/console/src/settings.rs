//! The global settings of every command, from flags and the environment. `main` sets them.

use std::sync::{Mutex, PoisonError};

/// The global flags of a command line, and the variables that change how output looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--json`: documents on standard output, error objects on standard error.
    pub json: bool,
    /// `-q`: the result and errors only.
    pub quiet: bool,
    /// `-v`: everything that is counted or shortened, and the causes of errors.
    pub verbose: bool,
    /// `--no-input`: a question is an error.
    pub no_input: bool,
    /// The state directory, if the user named it by `--state`. Hints repeat it.
    pub state: Option<String>,
    /// The variable `COLUMNS`: the width off a terminal.
    pub columns: Option<usize>,
    /// The variable `HAVEN_PROGRESS` is `plain`: progress in lines, even on a terminal.
    pub plain_progress: bool,
}

static SETTINGS: Mutex<Option<Settings>> = Mutex::new(None);

/// Sets the settings of this process: what the variables say before the command line is parsed,
/// and all of it after.
pub fn set(settings: Settings) {
    *SETTINGS.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
}

/// Returns the settings of this process, or the defaults if `main` set none.
///
/// ```
/// assert!(!haven_console::settings::get().json);
/// ```
pub fn get() -> Settings {
    let settings = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    settings.clone().unwrap_or_default()
}

impl Settings {
    /// Returns the text with `--state DIR` in each `haven` command in it, if the user gave the
    /// flag: a hint must work where the user is. A command is the whole text up to its first
    /// comma, if it starts with `haven`, and anything in backticks that does.
    ///
    /// ```
    /// use haven_console::settings::Settings;
    /// let settings = Settings { state: Some("/tmp/shop".to_owned()), ..Settings::default() };
    /// assert_eq!(settings.hint("run `haven up`"), "run `haven up --state /tmp/shop`");
    /// assert_eq!(settings.hint("haven open, then order"), "haven open --state /tmp/shop, then order");
    /// ```
    pub fn hint(&self, text: &str) -> String {
        let Some(state) = &self.state else {
            return text.to_owned();
        };
        let state = quoted(state);
        let with_state = |command: &str| {
            if command.starts_with("haven ") && !command.contains(" --state") {
                format!("{command} --state {state}")
            } else {
                command.to_owned()
            }
        };
        if text.starts_with("haven ") {
            let (command, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
            return with_state(command) + rest;
        }
        // Every second part is between backticks.
        let parts = text.split('`').enumerate();
        let parts = parts.map(|(index, part)| match index % 2 {
            1 => with_state(part),
            _ => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join("`")
    }
}

/// Returns the text as a POSIX shell reads it back as one word.
fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-~+:@%".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_repeat_the_state_directory_only_if_the_user_named_it() {
        let text = "stop it with `haven down`, or see `aws sts help`";
        assert_eq!(Settings::default().hint(text), text);
        let settings = Settings {
            state: Some("a b".to_owned()),
            ..Settings::default()
        };
        assert_eq!(
            settings.hint(text),
            "stop it with `haven down --state 'a b'`, or see `aws sts help`"
        );
        assert_eq!(
            settings.hint("haven dlq list"),
            "haven dlq list --state 'a b'"
        );
        for same in [
            "haven up --state x",
            "aws sso login",
            "run `haven up --state x`",
        ] {
            assert_eq!(settings.hint(same), same);
        }
    }

    #[test]
    fn a_quoted_path_is_one_word() {
        assert_eq!(quoted("/tmp/shop-1"), "/tmp/shop-1");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
