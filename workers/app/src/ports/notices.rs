//! Telling people: what was to be said, by which channel, and how it fared.

use std::future::Future;
use std::time::Duration;

use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::{EventId, OrderId};

use super::Unavailable;

/// One e-mail, in two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// The same for the same notice: a provider that recognizes it sends it once.
    pub dedup_id: String,
}

/// One text message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// As networks dial it, such as `+15550100123`.
    pub to: String,
    /// Fits into one message.
    pub body: String,
    /// As a mail's.
    pub dedup_id: String,
}

/// Why a mail or a text was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Later it may be. It may even have been, when no answer came.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
    /// This one never will be: a bad address, or a number whose owner wants no texts.
    #[error("the provider refused it: {0}")]
    Refused(String),
}

/// A sender answers or gives up within this.
pub const SEND_WITHIN: Duration = Duration::from_secs(3);

/// Sends a mail, and gives the provider's own id of it.
pub trait Mailer: Send + Sync {
    fn send(&self, mail: &Mail) -> impl Future<Output = Result<String, SendError>> + Send;
}

/// Sends a text, and gives the provider's own id of it.
pub trait Texter: Send + Sync {
    fn send_text(&self, text: &Text) -> impl Future<Output = Result<String, SendError>> + Send;
}

/// A try that has not ended is its beginner's for so long: above what a provider needs to answer or
/// give up.
pub const CLAIM: Duration = Duration::from_secs(30);

/// What a notice is about. People see the code: in the contract's view, in tables and in `haven
/// notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    OrderConfirmed,
    OrderReady,
    OrderShipped,
    OrderWaiting,
    OrderOverdue,
    OrderCancelled,
    OrderFailed,
    StockLow,
    StockOut,
}

impl NoticeKind {
    pub const ALL: [NoticeKind; 9] = [
        NoticeKind::OrderConfirmed,
        NoticeKind::OrderReady,
        NoticeKind::OrderShipped,
        NoticeKind::OrderWaiting,
        NoticeKind::OrderOverdue,
        NoticeKind::OrderCancelled,
        NoticeKind::OrderFailed,
        NoticeKind::StockLow,
        NoticeKind::StockOut,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            NoticeKind::OrderConfirmed => "order_confirmed",
            NoticeKind::OrderReady => "order_ready",
            NoticeKind::OrderShipped => "order_shipped",
            NoticeKind::OrderWaiting => "order_waiting",
            NoticeKind::OrderOverdue => "order_overdue",
            NoticeKind::OrderCancelled => "order_cancelled",
            NoticeKind::OrderFailed => "order_failed",
            NoticeKind::StockLow => "stock_low",
            NoticeKind::StockOut => "stock_out",
        }
    }

    pub fn from_code(code: &str) -> Option<NoticeKind> {
        NoticeKind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// One thing to be said to one person through one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub event_id: EventId,
    /// `None` for notices to staff about stock.
    pub order_id: Option<OrderId>,
    pub kind: NoticeKind,
    pub channel: Channel,
    /// Whose messages are counted: an address that a stranger could have typed. `None` for staff,
    /// whose address is ours.
    pub recipient: Option<String>,
    pub at: Timestamp,
}

/// Messages that one recipient gets on a day (UTC), by each channel. The rest are recorded as
/// suppressed.
pub const MESSAGES_PER_DAY: u32 = 40;

/// Why a message beyond `MESSAGES_PER_DAY` was not sent.
pub const TOO_MANY: &str = "this recipient got 40 messages today";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// To be sent, by whoever was told so; this is the so-manieth try.
    Pending { attempt: u32 },
    /// Somebody else is sending it, or died doing so: ask again after `CLAIM`.
    InHand,
    /// It was: nothing to do.
    Sent,
    /// It will not be, by this channel.
    NotSent,
}

impl NoticeState {
    /// Returns where a notice stands whose try is not the caller's, by the state of its row. `None`
    /// for a state that is none of ours.
    pub fn of_row(state: &str) -> Option<NoticeState> {
        match state {
            "pending" => Some(NoticeState::InHand),
            "sent" => Some(NoticeState::Sent),
            "failed" | "suppressed" => Some(NoticeState::NotSent),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeEnd {
    /// Taken by the provider, which calls it so.
    Sent { message_id: String },
    /// Refused for good, or tried too often.
    Failed { reason: String },
    /// The channel is switched off, or the customer wants none.
    Suppressed { reason: String },
}

impl NoticeEnd {
    pub const fn code(&self) -> &'static str {
        match self {
            NoticeEnd::Sent { .. } => "sent",
            NoticeEnd::Failed { .. } => "failed",
            NoticeEnd::Suppressed { .. } => "suppressed",
        }
    }

    pub fn message_id(&self) -> Option<&str> {
        match self {
            NoticeEnd::Sent { message_id } => Some(message_id),
            NoticeEnd::Failed { .. } | NoticeEnd::Suppressed { .. } => None,
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            NoticeEnd::Sent { .. } => None,
            NoticeEnd::Failed { reason } | NoticeEnd::Suppressed { reason } => Some(reason),
        }
    }
}

/// A notice as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    pub event_id: EventId,
    pub order_id: Option<OrderId>,
    pub kind: String,
    pub channel: Channel,
    /// `pending`, `sent`, `failed` or `suppressed`.
    pub state: String,
    pub attempts: u32,
    /// Why it was not sent, or not yet.
    pub reason: Option<String>,
    /// The provider's.
    pub message_id: Option<String>,
    pub created_at: Timestamp,
    pub sent_at: Option<Timestamp>,
}

/// Which notices to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoticeFilter {
    pub order_id: Option<OrderId>,
    /// Those alone that were given up, or whose last try came to nothing.
    pub failed: bool,
}

/// Notices listed at once.
pub const NOTICES_MAX: u32 = 200;

pub trait NoticeStore: Send + Sync {
    /// Records that a try begins, and says whether there is still something to do. Keyed by event
    /// and channel. The try is the caller's alone until it ends it, gives it back, or `CLAIM` is
    /// over. The first try counts for its recipient, in the same statement: beyond
    /// `MESSAGES_PER_DAY` the notice is suppressed instead.
    fn begin_notice(
        &self,
        notice: &Notice,
    ) -> impl Future<Output = Result<NoticeState, Unavailable>> + Send;

    /// Whether it was this that ended it: the first end stands.
    fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// The try came to nothing, and why: the next may begin at once.
    fn give_back_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        why: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// At most `NOTICES_MAX`, the newest first. Ids do not tell: those of stock's events are made
    /// from what happened.
    fn notices(
        &self,
        filter: &NoticeFilter,
    ) -> impl Future<Output = Result<Vec<NoticeRow>, Unavailable>> + Send;
}
