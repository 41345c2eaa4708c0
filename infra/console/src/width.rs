//! The width of output, and wrapping to it.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// Narrower terminals get lines of this width, and wrap them.
pub const MIN: usize = 60;
/// Running text wraps here on a wider terminal.
pub const MAX_TEXT: usize = 100;
/// The width off a terminal without `COLUMNS`.
const DEFAULT: usize = 80;

/// Returns the columns of standard output: for tables.
///
/// ```
/// assert!(haven_console::width::stdout() >= haven_console::width::MIN);
/// ```
pub fn stdout() -> usize {
    of(std::io::stdout())
}

/// Returns the columns of standard error.
pub fn stderr() -> usize {
    of(std::io::stderr())
}

/// Returns the columns at which running text on standard output wraps.
pub fn stdout_text() -> usize {
    of_running_text(std::io::stdout())
}

/// Returns the columns at which running text on standard error wraps.
pub fn stderr_text() -> usize {
    of_running_text(std::io::stderr())
}

/// Long lines are hard to read on a terminal. `COLUMNS` is obeyed as it is.
fn of_running_text(stream: impl AsFd + IsTerminal) -> usize {
    let most = if stream.is_terminal() {
        MAX_TEXT
    } else {
        usize::MAX
    };
    of(stream).min(most)
}

fn of(stream: impl AsFd) -> usize {
    let terminal = terminal_size_of(stream).map(|(Width(columns), _)| usize::from(columns));
    columns(terminal, super::settings::get().columns)
}

fn columns(terminal: Option<usize>, variable: Option<usize>) -> usize {
    let known = |columns: &usize| *columns > 0;
    let width = terminal.filter(known).or(variable.filter(known));
    width.unwrap_or(DEFAULT).max(MIN)
}

/// Wraps each line of a text. `first` precedes the first line, `rest` all later ones. A word is
/// never broken, so a URL, an ARN or an id runs over; a command in backticks counts as one word.
///
/// ```
/// use haven_console::width::wrap;
/// assert_eq!(wrap("run `haven dlq list` now", 20, "tip: ", "     "),
///     "tip: run\n     `haven dlq list`\n     now");
/// ```
pub fn wrap(text: &str, columns: usize, first: &str, rest: &str) -> String {
    // A blank that is no break: in backticks only, and replaced again below.
    const GLUE: char = '\u{a0}';
    let ticks = text.matches('`').count();
    let parts = text.split('`').enumerate();
    // Every second part is between two backticks, except the last one after a lone backtick.
    let glued = parts.map(|(index, part)| match index % 2 == 1 && index < ticks {
        true => part.replace(' ', &GLUE.to_string()),
        false => part.to_owned(),
    });
    let glued: Vec<String> = glued.collect();
    let options = Options::new(columns)
        .subsequent_indent(rest)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    let mut lines = Vec::new();
    for (index, line) in glued.join("`").lines().enumerate() {
        let options = options
            .clone()
            .initial_indent(if index == 0 { first } else { rest });
        let wrapped = textwrap::wrap(line, &options);
        lines.extend(
            wrapped
                .iter()
                .map(|line| line.trim_end().replace(GLUE, " ")),
        );
    }
    lines.join("\n")
}

/// Returns how many columns a text takes on a terminal. Escape sequences of colors take none.
pub fn of_text(text: &str) -> usize {
    textwrap::core::display_width(text)
}

/// Asserts that no line is wider than the columns and none ends in a blank. For tests.
#[cfg(test)]
pub(crate) fn assert_fits(text: &str, columns: usize) {
    for line in text.lines() {
        assert!(of_text(line) <= columns, "wider than {columns}: {line:?}");
        assert_eq!(line, line.trim_end(), "ends in a blank");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_that_of_the_terminal_or_the_variable_and_at_least_sixty() {
        for (terminal, variable, width) in [
            (Some(132), Some(90), 132),
            (Some(40), None, 60),
            (Some(0), Some(90), 90),
            (None, Some(200), 200),
            (None, Some(20), 60),
            (None, Some(0), 80),
            (None, None, 80),
        ] {
            assert_eq!(
                columns(terminal, variable),
                width,
                "{terminal:?} {variable:?}"
            );
        }
    }

    const TEXT: &str = "The old database leaves the stack with its data and keeps costing 348.94 \
        USD a month until somebody deletes it with the command that this text names at its end.";

    #[test]
    fn text_wraps_with_a_hanging_indent() {
        assert_eq!(
            wrap(TEXT, 60, "  tip: ", "       "),
            "  tip: The old database leaves the stack with its data and\n\
            \x20      keeps costing 348.94 USD a month until somebody\n\
            \x20      deletes it with the command that this text names at\n\
            \x20      its end."
        );
        assert_eq!(
            wrap(TEXT, 80, "", "  "),
            "The old database leaves the stack with its data and keeps costing 348.94 USD a\n\
            \x20 month until somebody deletes it with the command that this text names at its\n\
            \x20 end."
        );
        for columns in [60, 80, 120] {
            assert_fits(&wrap(TEXT, columns, "- ", "  "), columns);
        }
    }

    #[test]
    fn a_word_or_a_command_longer_than_the_line_is_not_broken() {
        let arn =
            "arn:aws:sqs:us-east-1:123456789012:brew-haven-prod-messaging-OrdersParkingQueue-1";
        let text = wrap(&format!("see {arn} now"), 60, "", "");
        assert_eq!(text, format!("see\n{arn}\nnow"));
        let command =
            "`haven deploy prod --set compute.image_digest=sha256:0123456789abcdef --yes`";
        assert_eq!(
            wrap(&format!("run {command}"), 60, "", ""),
            format!("run\n{command}")
        );
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(wrap("one\n\ntwo", 80, "a ", "b "), "a one\n\nb two");
        let lone = "a ` alone glues nothing";
        assert_eq!(wrap(lone, 10, "", ""), "a ` alone\nglues\nnothing");
    }
}
