//! How a handler leaves a message.
//!
//! Use cases return a settlement and the consume loop carries it out. The type is here because
//! neither of the two depends on the other.

use std::time::Duration;

/// The result of a handler for one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Delete the message.
    Done,
    /// Make the message visible again after `after`, or after the back-off of the consume loop.
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    /// Send the message to the dead-letter queue: another delivery would fail too, and a person
    /// has to decide.
    Park { reason: String },
}
