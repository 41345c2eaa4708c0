//! Telling people: what was to be said, and whether it was.

use std::future::Future;

use domain::Timestamp;
use domain::ids::{EventId, OrderId};

use super::Unavailable;

/// One e-mail, in two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// The same for the same notice: a provider that recognises it sends it once.
    pub dedup_id: String,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    #[error("the mail service is unavailable: {0}")]
    Unavailable(String),
    /// This mail will never be sent: a bad address, for example.
    #[error("the mail was refused: {0}")]
    Refused(String),
}

pub trait Mailer: Send + Sync {
    fn send(&self, mail: &Mail) -> impl Future<Output = Result<(), MailError>> + Send;
}

/// A try that has not ended is its beginner's for so long: above what a mail service needs to answer or give up.
pub const CLAIM: std::time::Duration = std::time::Duration::from_secs(30);

/// One thing to be said to one person through one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub event_id: EventId,
    /// `None` for notices to staff about stock.
    pub order_id: Option<OrderId>,
    /// Such as `order_confirmed`.
    pub kind: &'static str,
    /// Such as `email`.
    pub channel: &'static str,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// To be sent, by whoever was told so; this is the so-manieth try.
    Pending { attempt: u32 },
    /// Somebody else is sending it, or died doing so: ask again after `CLAIM`.
    InHand,
    /// Sent, refused for good, or switched off: nothing to do.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeEnd {
    Sent,
    Refused,
    /// Its channel is switched off.
    Suppressed,
}

impl NoticeEnd {
    pub const fn code(self) -> &'static str {
        match self {
            NoticeEnd::Sent => "sent",
            NoticeEnd::Refused => "refused",
            NoticeEnd::Suppressed => "suppressed",
        }
    }
}

pub trait NoticeStore: Send + Sync {
    /// Records that a try begins, and says whether there is still something to do. Keyed by event and channel. The try is
    /// the caller's alone until it ends it, gives it back, or `CLAIM` is over.
    fn begin_notice(&self, notice: &Notice) -> impl Future<Output = Result<NoticeState, Unavailable>> + Send;

    fn end_notice(
        &self,
        event_id: EventId,
        channel: &'static str,
        end: NoticeEnd,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// The try came to nothing: the next may begin at once.
    fn give_back_notice(
        &self,
        event_id: EventId,
        channel: &'static str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
