//! Colors by meaning, from the 16 colors that users choose for their own terminal. A color repeats
//! what a word or a sign says, so nothing is lost without it.
//!
//! Callers paint always. [`crate::output`] and clap remove the escape sequences through `anstream`
//! where they are not wanted: `--color`, `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR=0`, `TERM=dumb`,
//! and a stream that is no terminal, for standard output and standard error separately.

use std::ffi::OsString;
use std::fmt::Display;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects, Style};
use clap::builder::Styles;

/// The meaning of a piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    Create,
    Change,
    Delete,
    /// Deleted and created again.
    Replace,
    /// Changed outside CloudFormation.
    Drift,
    /// A check passed.
    Ok,
    /// Works, and needs attention.
    Warn,
    Fail,
    /// A check did not run.
    Skip,
    Waiting,
    Running,
    /// The first words of a verdict that exits with 0.
    Good,
    /// The first words of any other verdict, and the words that name lost data.
    Bad,
    Error,
    Tip,
    Heading,
    Name,
    /// Text that may be overlooked, such as "because" in a plan.
    Aside,
}

impl Meaning {
    /// Returns the sign or the word, and the style. Meanings that are no state have no sign.
    fn look(self) -> (&'static str, Style) {
        let color = |color: AnsiColor| color.on_default();
        let dim = Style::new().effects(Effects::DIMMED);
        match self {
            Meaning::Create => ("+", color(AnsiColor::Green)),
            Meaning::Change => ("~", color(AnsiColor::Yellow)),
            Meaning::Delete => ("-", color(AnsiColor::Red)),
            Meaning::Replace => ("-/+", color(AnsiColor::Red)),
            Meaning::Drift => ("!", color(AnsiColor::Yellow)),
            Meaning::Ok => ("ok", color(AnsiColor::Green)),
            Meaning::Warn => ("warn", color(AnsiColor::Yellow)),
            Meaning::Fail => ("FAIL", color(AnsiColor::Red).bold()),
            Meaning::Skip => ("skip", dim),
            Meaning::Waiting => ("-", dim),
            Meaning::Running | Meaning::Tip => ("", color(AnsiColor::Cyan)),
            Meaning::Good => ("", color(AnsiColor::Green)),
            Meaning::Bad | Meaning::Error => ("", color(AnsiColor::Red).bold()),
            Meaning::Heading | Meaning::Name => ("", Style::new().bold()),
            Meaning::Aside => ("", dim),
        }
    }

    /// Returns the style.
    pub fn style(self) -> Style {
        self.look().1
    }

    /// Returns the sign or the word that stands for the meaning, without color. Meanings that are
    /// no state have none.
    pub fn sign(self) -> &'static str {
        self.look().0
    }

    /// Returns the text in the style. An empty text stays empty.
    ///
    /// ```
    /// use haven_console::style::Meaning;
    /// assert_eq!(Meaning::Create.paint("+"), "\x1b[32m+\x1b[0m");
    /// ```
    pub fn paint(self, text: impl Display) -> String {
        let (style, text) = (self.style(), text.to_string());
        if text.is_empty() {
            text
        } else {
            format!("{style}{text}{style:#}")
        }
    }

    /// Returns the sign in its color, padded with blanks to the columns.
    pub fn mark(self, columns: usize) -> String {
        let sign = match self {
            Meaning::Replace => {
                format!(
                    "{}/{}",
                    Meaning::Delete.paint("-"),
                    Meaning::Create.paint("+")
                )
            }
            other => other.paint(other.sign()),
        };
        sign + &" ".repeat(columns.saturating_sub(self.sign().len()))
    }
}

/// Reads `--color WHEN` from the raw arguments and applies it to the whole process. clap prints
/// help and errors while it parses, so the flag must be known before. Other values are left to
/// clap, which reports them.
///
/// ```
/// haven_console::style::choose_color(["haven", "--color=never", "plan"]);
/// ```
pub fn choose_color<T: Into<OsString>>(arguments: impl IntoIterator<Item = T>) {
    if let Some(choice) = choice(arguments.into_iter().map(Into::into)) {
        choice.write_global();
    }
}

fn choice(arguments: impl Iterator<Item = OsString>) -> Option<ColorChoice> {
    let mut choice = None;
    let mut arguments = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        // Arguments after `--` belong to another program.
        .take_while(|argument| argument != "--");
    while let Some(argument) = arguments.next() {
        let when = match argument.strip_prefix("--color") {
            Some("") => arguments.next(),
            Some(value) => value.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        choice = match when.as_deref() {
            Some("always") => Some(ColorChoice::Always),
            Some("never") => Some(ColorChoice::Never),
            Some("auto") => Some(ColorChoice::Auto),
            Some(_) | None => choice,
        };
    }
    choice
}

/// Returns the text as it is written to standard error: without colors, if that stream has none.
/// For output that does not pass [`crate::output`], such as progress.
pub(crate) fn for_stderr(text: String) -> String {
    match AutoStream::choice(&std::io::stderr()) {
        ColorChoice::Never => anstream::adapter::strip_str(&text).to_string(),
        ColorChoice::Auto | ColorChoice::AlwaysAnsi | ColorChoice::Always => text,
    }
}

/// Returns the styles of clap's help and errors, which match ours.
pub fn of_clap() -> Styles {
    Styles::styled()
        .header(Meaning::Heading.style())
        .usage(Meaning::Heading.style())
        .literal(Meaning::Name.style())
        .error(Meaning::Error.style())
        .valid(Meaning::Tip.style())
        .invalid(Meaning::Change.style())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_color_flag_before_two_dashes_counts() {
        let of = |line: &str| choice(line.split_whitespace().map(OsString::from));
        for (line, expected) in [
            ("haven plan", None),
            ("haven --color never plan", Some(ColorChoice::Never)),
            (
                "haven plan --color=always --color auto",
                Some(ColorChoice::Auto),
            ),
            ("haven keep -- ls --color=always", None),
            ("haven --color=pink plan", None),
            ("haven --colors=always", None),
            ("haven --color", None),
        ] {
            assert_eq!(of(line), expected, "{line}");
        }
    }

    #[test]
    fn paint_without_escapes_is_the_text() {
        let painted = Meaning::Bad.paint("EMPTY") + &Meaning::Replace.mark(5);
        assert_eq!(
            anstream::adapter::strip_str(&painted).to_string(),
            "EMPTY-/+  "
        );
        assert_eq!(Meaning::Ok.paint(""), "");
        assert_eq!(Meaning::Ok.mark(6), "\u{1b}[32mok\u{1b}[0m    ");
    }
}
