//! Planted mistakes, which show that the simulation can find defects.

/// See `prove simulate --plant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mistake {
    /// The inbox does not record applied messages
    InboxForgotten,
    /// Stock is reserved without a record that identifies a repeat
    ReserveWithoutRecord,
    /// A release without a stock hold leaves no mark for a late reserve
    ReleaseWithoutMark,
    /// Messages are written after the commit of their change
    OutboxAfterCommit,
    /// A message is deleted before it is handled
    DeleteBeforeCommit,
    /// An order is written without a check of its version
    VersionIgnored,
    /// Each attempt to charge uses a new idempotency key
    ChargeWithNewKey,
    /// Each attempt to refund uses a new idempotency key
    RefundWithNewKey,
    /// A charge whose outcome is unknown counts as refused
    UnknownIsRefused,
    /// A notification is sent without a claim
    NoticeWithoutClaim,
    /// A message counts as sent although its destination refused it
    SentUnseen,
    /// An idempotency key is not stored
    KeyForgotten,
}
