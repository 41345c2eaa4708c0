//! What was sent to people, where a local AWS keeps it instead of delivering it. AWS has no such
//! thing.

use std::future::Future;
use std::pin::Pin;

use domain::Timestamp;

use super::Unavailable;

/// A mail that was not delivered but kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMail {
    pub id: String,
    pub to: Vec<String>,
    pub subject: String,
    pub text: String,
    /// Absent for a mail of plain text.
    pub html: Option<String>,
    pub at: Timestamp,
}

/// A text message that was not delivered but kept. When it was sent is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptText {
    pub id: String,
    pub to: String,
    pub text: String,
}

/// Everything that was sent since the local AWS was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Oldest first.
    pub mails: Vec<KeptMail>,
    /// By number, oldest first.
    pub texts: Vec<KeptText>,
}

/// The mailbox of a local AWS.
pub trait Mailbox: Send + Sync {
    /// Returns everything that was sent.
    fn kept(&self) -> Pin<Box<dyn Future<Output = Result<Kept, Unavailable>> + Send + '_>>;
}
