//! The exit codes of all commands, from which a script can decide what to do next. 64, 69 and 77
//! are those of BSD's `sysexits.h`.

use std::process::ExitCode;

use strum::{IntoStaticStr, VariantArray};

/// How a command ended. The number of a variant is the exit code.
///
/// ```
/// use haven_console::exit::Exit;
/// assert_eq!((Exit::No.code(), Exit::No.name()), (2, "no"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum Exit {
    /// The command is done, or its answer is yes. Lists always end so.
    Done = 0,
    Failed = 1,
    /// The answer is no: findings, drift, not healthy, or nothing has the given name.
    No = 2,
    /// The command line or a setting is wrong.
    Usage = 64,
    /// AWS, a server or the network cannot be reached. A retry can succeed.
    Unavailable = 69,
    /// The credentials are missing, expired, denied, or of another account.
    Denied = 77,
    /// Ctrl-C: 128 plus the number of SIGINT, as shells report it.
    Interrupted = 130,
    /// The reader closed the pipe: 128 plus the number of SIGPIPE. Rust programs ignore that
    /// signal, so the code is returned.
    ClosedPipe = 141,
}

impl Exit {
    /// Every exit code, in ascending order.
    pub const ALL: &'static [Exit] = Exit::VARIANTS;

    /// Returns the number that the program ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Returns the name that JSON errors have as `code` unless the failure has its own.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the description that `haven help exit-codes` shows.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "Done, or the answer is yes; lists always",
            Exit::Failed => "Failed",
            Exit::No => "The answer is no: findings, drift, not healthy, not found",
            Exit::Usage => "Wrong usage or settings",
            Exit::Unavailable => "AWS or the network cannot be reached; retry",
            Exit::Denied => "Credentials missing, expired, denied or of another account",
            Exit::Interrupted => "Interrupted by Ctrl-C",
            Exit::ClosedPipe => "The reader of the output closed the pipe",
        }
    }

    /// Returns whether the command came to a result, rather than to a failure.
    pub fn is_answer(self) -> bool {
        matches!(self, Exit::Done | Exit::No)
    }
}

impl From<bool> for Exit {
    /// Returns the exit code of an answer: yes or no.
    fn from(yes: bool) -> Exit {
        if yes { Exit::Done } else { Exit::No }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The error of an interrupted command that has ended its work in order first.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_stable() {
        assert_eq!(
            Exit::ALL.iter().map(|exit| exit.code()).collect::<Vec<_>>(),
            [0, 1, 2, 64, 69, 77, 130, 141],
            "ascending, and all of them"
        );
    }
}
