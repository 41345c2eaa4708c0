//! Everything that the command prints.
//!
//! In the crates of the command line, `println!`, `print!`, `eprintln!` and `eprint!` are the macros
//! of this module. Those of the standard library panic if standard output or standard error is a
//! closed pipe or on a full disk, and a panic would stop a deployment in the middle.
//!
//! The macros of this module remember the first failed write to standard output, drop later output,
//! and let the command continue. [`ending`] then converts the failure into an exit code. All
//! programs that run code of these crates print through them, so that they share the remembered
//! failure. Colors are removed here where they are not wanted ([`crate::style`]).
//!
//! With `-q`, the macros print nothing to standard output. The last line of a command and a value
//! that is its whole result are printed by [`always`].

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::MultiProgress;

use crate::exit::Exit;
use crate::settings::Settings;

/// Prints to standard output, as the standard macro does, but never panics.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::output::to_stdout(format_args!($($argument)*)) };
}

/// Prints a line to standard output, as the standard macro does, but never panics.
#[macro_export]
macro_rules! println {
    () => { $crate::output::to_stdout(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::output::to_stdout(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Prints to standard error, as the standard macro does, but never panics.
#[macro_export]
macro_rules! eprint {
    ($($argument:tt)*) => { $crate::output::to_stderr(format_args!($($argument)*)) };
}

/// Prints a line to standard error, as the standard macro does, but never panics.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::output::to_stderr(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::output::to_stderr(format_args!("{}\n", format_args!($($argument)*))) };
}

/// The error of the first failed write to standard output.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

fn failed() -> MutexGuard<'static, Option<io::Error>> {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to standard output, as [`always`] does. Does nothing with `-q`, unless the text is JSON.
pub fn to_stdout(text: fmt::Arguments<'_>) {
    if is_shown(&crate::settings::get()) {
        write(text);
    }
}

fn is_shown(settings: &Settings) -> bool {
    settings.json || !settings.quiet
}

/// Prints a line that `-q` keeps: a verdict, or a value that is the whole result of a command.
pub fn always(line: impl fmt::Display) {
    write(format_args!("{line}\n"));
}

/// Prints a line for people to standard error. Does nothing with `-q` or `--json`.
pub fn aside(line: impl fmt::Display) {
    let settings = crate::settings::get();
    if !settings.quiet && !settings.json {
        to_stderr(format_args!("{line}\n"));
    }
}

/// Writes to standard output and flushes. Remembers the first failure, and does nothing after it.
fn write(text: fmt::Arguments<'_>) {
    let mut failed = failed();
    if failed.is_none() {
        // Flush at once: progress output without a line end must appear now, and a failure must be
        // noticed here.
        *failed = above_steps(|| {
            let mut stdout = anstream::stdout().lock();
            stdout.write_fmt(text).and_then(|()| stdout.flush()).err()
        });
    }
}

/// Remembers the failure of a write to standard output that another library made.
pub fn note(written: io::Result<()>) {
    if let Err(error) = written {
        failed().get_or_insert(error);
    }
}

/// Returns whether a write to standard output has failed, so that no reader gets later output. For
/// commands that print until they are stopped.
pub fn has_failed() -> bool {
    failed().is_some()
}

/// The lines of all running steps of this process, once one began on a terminal.
pub(crate) static REDRAWN: OnceLock<MultiProgress> = OnceLock::new();

/// Runs `print` while the lines of running steps are off the terminal, so that its output stays
/// above them.
fn above_steps<T>(print: impl FnOnce() -> T) -> T {
    match REDRAWN.get() {
        Some(bars) => bars.suspend(print),
        None => print(),
    }
}

/// Writes to standard error. A failure is ignored: there is no other place to report it, and
/// standard error carries no results.
pub fn to_stderr(text: fmt::Arguments<'_>) {
    above_steps(|| {
        let _ = anstream::stderr().lock().write_fmt(text);
    });
}

/// Returns the exit code of a command of `program` that ended with `exit`. A success whose output
/// could not be written becomes a failure, because the result was not delivered. The code of a
/// failed command stays the same.
pub fn ending(program: &str, exit: Exit) -> ExitCode {
    let failed = failed().take();
    ending_with(program, exit, failed).into()
}

fn ending_with(program: &str, exit: Exit, failed: Option<io::Error>) -> Exit {
    let Some(error) = failed else { return exit };
    // A reader that has enough, such as `head`, closes the pipe. This is no error to report.
    if error.kind() == ErrorKind::BrokenPipe {
        return if exit.is_answer() {
            Exit::ClosedPipe
        } else {
            exit
        };
    }
    eprintln!(
        "{program}: standard output cannot be written: {error}. The command itself completed."
    );
    if exit.is_answer() { Exit::Failed } else { exit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hides_text_and_keeps_json() {
        for (quiet, json, expected) in [
            (false, false, true),
            (false, true, true),
            (true, false, false),
            (true, true, true),
        ] {
            let settings = Settings {
                quiet,
                json,
                ..Settings::default()
            };
            assert_eq!(is_shown(&settings), expected, "{settings:?}");
        }
    }

    #[test]
    fn lost_output_becomes_a_failure_and_a_failure_keeps_its_code() {
        let pipe = || Some(io::Error::from(ErrorKind::BrokenPipe));
        let disk = || Some(io::Error::from(ErrorKind::StorageFull));
        for (exit, failed, expected) in [
            (Exit::Done, None, 0),
            (Exit::No, None, 2),
            (Exit::Done, pipe(), 141),
            (Exit::No, pipe(), 141),
            (Exit::Usage, pipe(), 64),
            (Exit::Failed, pipe(), 1),
            (Exit::Done, disk(), 1),
            (Exit::No, disk(), 1),
            (Exit::Denied, disk(), 77),
        ] {
            let shown = format!("{exit:?} {failed:?}");
            assert_eq!(
                ending_with("haven", exit, failed).code(),
                expected,
                "{shown}"
            );
        }
    }
}
