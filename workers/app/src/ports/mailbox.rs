//! Mails and texts that a local AWS kept instead of sending. AWS itself has no such function.

use std::pin::Pin;

use domain::Timestamp;

use super::StoreError;

/// A mail that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMail {
    pub id: String,
    pub to: Vec<String>,
    pub subject: String,
    pub text: String,
    /// The HTML form. `None` for a mail of plain text.
    pub html: Option<String>,
    pub at: Timestamp,
}

/// A text message that was kept. The local AWS does not record the time of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptText {
    pub id: String,
    pub to: String,
    pub text: String,
}

/// The mails and texts since the start of the local AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The mails, oldest first.
    pub mails: Vec<KeptMail>,
    /// The texts by phone number, oldest first.
    pub texts: Vec<KeptText>,
}

/// The mailbox of a local AWS.
pub trait Mailbox: Send + Sync {
    /// Returns the mails and texts that were kept.
    fn kept(&self) -> Pin<Box<dyn Future<Output = Result<Kept, StoreError>> + Send + '_>>;
}
