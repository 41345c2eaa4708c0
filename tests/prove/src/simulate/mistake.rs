//! Mistakes to plant, to show that the simulation finds them.

/// See `prove simulate --plant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mistake {
    /// What was applied is not remembered
    InboxForgotten,
    /// Stock is reserved without a record by which a repeat is known
    ReserveWithoutRecord,
    /// A release that finds no hold leaves no mark for the reserve that comes late
    ReleaseWithoutMark,
    /// Messages are written after the change that they belong to
    OutboxAfterCommit,
    /// A message is deleted before it is handled
    DeleteBeforeCommit,
    /// An order is written without looking whether it has moved on
    VersionIgnored,
    /// Each try charges under a key of its own
    ChargeWithNewKey,
    /// Each try refunds under a key of its own
    RefundWithNewKey,
    /// A charge whose outcome is unknown counts as refused
    UnknownIsRefused,
    /// Nobody's try to send a notice is respected
    NoticeWithoutClaim,
    /// A message counts as sent whether its destination took it or not
    SentUnseen,
    /// An idempotency key is not kept
    KeyForgotten,
}
