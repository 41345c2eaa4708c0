//! The error of a wrong command line or setting.

/// An error that the caller can correct, with a message that names the wrong value and the accepted
/// ones. The command exits with 64 instead of 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);
