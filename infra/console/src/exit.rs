//! The exit codes of commands (`docs/interfaces.md`, section "Programs"), from which a script can
//! decide what to do next. 64, 69 and 77 are those of BSD's `sysexits.h`.

/// The command failed.
pub const FAILED: u8 = 1;
/// The command found changes or differences, so that a script can distinguish this result from a
/// failure.
pub const NOT_WELL: u8 = 2;
/// The command line or a setting is wrong.
pub const USAGE: u8 = 64;
/// A server could not be reached.
pub const UNAVAILABLE: u8 = 69;
/// The credentials are missing, expired or refused.
pub const NO_PERMISSION: u8 = 77;
/// The exit code that shells report for a program that SIGINT ended.
pub const INTERRUPTED: u8 = 130;
/// The exit code that shells report for a program that SIGPIPE ended: 128 plus the signal number.
/// Rust programs ignore SIGPIPE, so `haven` returns the code itself.
pub const CLOSED_PIPE: u8 = 141;

/// The error of an interrupted command that has ended its work in order first.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;
