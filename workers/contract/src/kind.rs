//! The kinds of messages.

use strum::VariantArray as _;

use crate::messages::EventKind;

impl EventKind {
    /// Every kind.
    pub const ALL: [EventKind; EventKind::VARIANTS.len()] = domain::array_of(EventKind::VARIANTS);

    /// Returns the name, which is the `type` of the envelope.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<EventKind> {
        name.parse().ok()
    }

    /// Returns the version of the body that producers write. Consumers also accept the version
    /// before it; see [`crate::messages::Envelope::decode`].
    pub const fn schema(self) -> u16 {
        match self {
            EventKind::PaymentFailed => 2,
            EventKind::ReserveStock
            | EventKind::ReleaseStock
            | EventKind::ChargeCard
            | EventKind::RefundCard
            | EventKind::OrderCreated
            | EventKind::InventoryReserved
            | EventKind::PaymentCompleted
            | EventKind::PaymentRefunded
            | EventKind::OrderStatusChanged
            | EventKind::OrderShipped
            | EventKind::OrderOverdue
            | EventKind::StockLevelReached => 1,
        }
    }
}
