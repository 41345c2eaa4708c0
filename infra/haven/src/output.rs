//! Everything that the command prints. Within this crate `println!`, `print!`, `eprintln!` and
//! `eprint!` are the macros of this module, under the names of the standard library's: those panic
//! where standard output or standard error is a closed pipe or a full disk, and a panic would stop
//! a deployment half way. `prove` prints by `haven::println!` and the others: it runs code of this
//! crate, and both must remember the same failure.
//!
//! Here a write that fails is remembered, later ones to the same stream are dropped, and the
//! command goes on to its end. [`ending`] then turns the failure into the exit code.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// What a shell reports of a program that SIGPIPE stopped: 128 and the signal's number. Rust starts
/// every program with SIGPIPE ignored, so the code is ours to give.
pub const EX_CLOSED_PIPE: u8 = 141;

#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::output::to_stdout(format_args!($($argument)*)) };
}

#[macro_export]
macro_rules! println {
    () => { $crate::output::to_stdout(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::output::to_stdout(format_args!("{}\n", format_args!($($argument)*))) };
}

#[macro_export]
macro_rules! eprint {
    ($($argument:tt)*) => { $crate::output::to_stderr(format_args!($($argument)*)) };
}

#[macro_export]
macro_rules! eprintln {
    () => { $crate::output::to_stderr(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::output::to_stderr(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Why the first write to standard output that failed did so.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

pub fn to_stdout(text: fmt::Arguments<'_>) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if failed.is_none() {
        // Flushed at once: a progress line without an end is for now, and what cannot be written
        // must show here.
        let mut stdout = io::stdout().lock();
        *failed = stdout.write_fmt(text).and_then(|()| stdout.flush()).err();
    }
}

/// For what others print to standard output by themselves.
pub fn note(written: io::Result<()>) {
    if let Err(error) = written {
        FAILED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }
}

/// Nobody can be told that standard error fails, and what it carries is no result.
pub fn to_stderr(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// Returns the exit code of a command of `program` that ended with `code`: what it was asked for
/// may have been done and yet not have been told. A failure of the command itself stays what it is.
pub fn ending(program: &str, code: u8) -> ExitCode {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    ExitCode::from(ending_with(program, code, failed))
}

fn ending_with(program: &str, code: u8, failed: Option<io::Error>) -> u8 {
    let Some(error) = failed else { return code };
    // 2 is an answer like 0: "there are changes" or "it does not hold" was not told to its end.
    let was_answer = matches!(code, 0 | crate::EX_NOT_WELL);
    // A reader that has what it wanted, as `head` does, is no fault worth a word.
    if error.kind() == ErrorKind::BrokenPipe {
        return if was_answer { EX_CLOSED_PIPE } else { code };
    }
    eprintln!(
        "{program}: standard output cannot be written: {error}. The command itself went on to its end."
    );
    if was_answer { crate::EX_FAILED } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_not_told_is_none_and_a_failure_stays_one() {
        let pipe = || Some(io::Error::from(ErrorKind::BrokenPipe));
        let disk = || Some(io::Error::from(ErrorKind::StorageFull));
        for (code, failed, expected) in [
            (0, None, 0),
            (2, None, 2),
            (0, pipe(), 141),
            (2, pipe(), 141),
            (64, pipe(), 64),
            (1, pipe(), 1),
            (0, disk(), 1),
            (2, disk(), 1),
            (77, disk(), 77),
        ] {
            let shown = format!("{code} {failed:?}");
            assert_eq!(ending_with("haven", code, failed), expected, "{shown}");
        }
    }
}
