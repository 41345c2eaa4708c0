//! Notifications: their content, their channel and their state.

use std::time::Duration;

use contract::cause::Cause;
use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::{EventId, OrderId};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::PortFuture;

/// An e-mail as plain text and as HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// The deduplication id, equal for every attempt of a notification. A provider that supports
    /// such ids sends the mail once.
    pub dedup_id: String,
}

/// A text message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The phone number in E.164, such as `+15550100123`.
    pub to: String,
    /// The text, which fits into one message.
    pub body: String,
    /// The deduplication id, as in [`Mail`].
    pub dedup_id: String,
}

/// The reason why a provider did not accept a mail or a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A retry can succeed. The message may have been sent when no answer arrived.
    #[error("the provider is unavailable")]
    Unavailable(#[source] Cause),
    /// A retry would fail again: the address is invalid, or the owner of the number opted out.
    #[error("the provider refused the message")]
    Refused(#[source] Cause),
}

/// Maximum time in which a sender returns a result.
pub const SEND_WITHIN: Duration = Duration::from_secs(3);

/// Sends e-mails.
pub trait Mailer: Send + Sync {
    /// Sends a mail and returns the provider's id of it.
    fn send(&self, mail: &Mail) -> impl PortFuture<String, SendError>;
}

/// Sends text messages.
pub trait Texter: Send + Sync {
    /// Sends a text and returns the provider's id of it.
    fn send_text(&self, text: &Text) -> impl PortFuture<String, SendError>;
}

/// Time for which an attempt belongs to the process that began it. The time is longer than
/// [`SEND_WITHIN`].
pub const CLAIM: Duration = Duration::from_secs(30);

/// The subject of a notification. Its code appears in the database, in its views and in the
/// output of `haven notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
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

domain::named_variants!(NoticeKind);

/// A notification to one person through one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub event_id: EventId,
    /// The order. `None` for notifications to staff about stock.
    pub order_id: Option<OrderId>,
    pub kind: NoticeKind,
    pub channel: Channel,
    /// The address or number for [`MESSAGES_PER_DAY`], which a stranger may have typed. `None` for
    /// staff, whose address is in our configuration.
    pub recipient: Option<String>,
    pub at: Timestamp,
}

/// Maximum number of messages to one recipient on one channel in a day (UTC). Further notifications
/// are recorded as suppressed. The limit protects people whose address a stranger typed.
pub const MESSAGES_PER_DAY: u32 = 40;

/// The reason of a notification that exceeds [`MESSAGES_PER_DAY`].
pub const TOO_MANY: &str = "this recipient got 40 messages today";

/// The state of a notification in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum NoticeStatus {
    Pending,
    Sent,
    Failed,
    Suppressed,
}

domain::named_variants!(NoticeStatus);

/// The state of a notification for the process that wants to send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// The caller must send it now. `attempt` counts from 1.
    Pending { attempt: u32 },
    /// Another process is sending it, or exited while it did. Retry after [`CLAIM`].
    InHand,
    /// The notification was sent.
    Sent,
    /// The notification is not sent on this channel.
    NotSent,
}

impl NoticeState {
    /// Returns the state of a notification whose current attempt does not belong to the caller.
    /// `state` is the column of its row. `None` for an unknown value.
    pub fn of_row(state: &str) -> Option<NoticeState> {
        Some(match NoticeStatus::from_code(state)? {
            NoticeStatus::Pending => NoticeState::InHand,
            NoticeStatus::Sent => NoticeState::Sent,
            NoticeStatus::Failed | NoticeStatus::Suppressed => NoticeState::NotSent,
        })
    }
}

/// The final result of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeEnd {
    /// The provider accepted it and returned this id.
    Sent { message_id: String },
    /// The provider rejected it, or the attempts were used up.
    Failed { reason: String },
    /// The channel is switched off, the customer wants no notifications, or the daily limit is
    /// reached.
    Suppressed { reason: String },
}

impl NoticeEnd {
    /// Returns the state in the database.
    pub const fn status(&self) -> NoticeStatus {
        match self {
            NoticeEnd::Sent { .. } => NoticeStatus::Sent,
            NoticeEnd::Failed { .. } => NoticeStatus::Failed,
            NoticeEnd::Suppressed { .. } => NoticeStatus::Suppressed,
        }
    }

    /// Returns the name of the state in the database.
    pub const fn code(&self) -> &'static str {
        self.status().code()
    }

    /// Returns the provider's id.
    pub fn message_id(&self) -> Option<&str> {
        match self {
            NoticeEnd::Sent { message_id } => Some(message_id),
            NoticeEnd::Failed { .. } | NoticeEnd::Suppressed { .. } => None,
        }
    }

    /// Returns the reason why it was not sent.
    pub fn reason(&self) -> Option<&str> {
        match self {
            NoticeEnd::Sent { .. } => None,
            NoticeEnd::Failed { reason } | NoticeEnd::Suppressed { reason } => Some(reason),
        }
    }
}

/// A notification as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    pub event_id: EventId,
    pub order_id: Option<OrderId>,
    pub kind: String,
    pub channel: Channel,
    pub state: NoticeStatus,
    pub attempts: u32,
    /// The reason why it was not sent, or why the last attempt failed.
    pub reason: Option<String>,
    /// The provider's id.
    pub message_id: Option<String>,
    pub created_at: Timestamp,
    pub sent_at: Option<Timestamp>,
}

/// A filter for the list of notifications.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoticeFilter {
    pub order_id: Option<OrderId>,
    /// Only notifications that failed, or whose last attempt failed.
    pub failed: bool,
}

/// Maximum number of notifications in a list.
pub const NOTICES_MAX: u32 = 200;

/// The store of notifications.
pub trait NoticeStore: Send + Sync {
    /// Begins an attempt to send a notification, which event and channel identify.
    ///
    /// Returns [`NoticeState::Pending`] when the caller must send it. The attempt then belongs to
    /// the caller until the caller ends it or gives it back, or [`CLAIM`] has passed. The first
    /// attempt also counts for the daily limit of the recipient, in the same statement. Beyond
    /// [`MESSAGES_PER_DAY`], the notification is suppressed instead.
    fn begin_notice(&self, notice: &Notice) -> impl PortFuture<NoticeState>;

    /// Stores the final result of a notification. Only the first result is stored. Returns whether
    /// it was this one.
    fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> impl PortFuture<bool>;

    /// Gives back an attempt that failed, with the reason. The next attempt may begin immediately.
    fn give_back_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        why: &str,
    ) -> impl PortFuture<()>;

    /// Returns at most [`NOTICES_MAX`] notifications, newest first. They are sorted by time,
    /// because the event ids of stock events are hashes that do not sort by time.
    fn notices(&self, filter: &NoticeFilter) -> impl PortFuture<Vec<NoticeRow>>;
}
