//! One sample message of each kind and each readable version, for people and for tests.
//!
//! Never edit a sample: consumers must be able to read every message that was ever written. Add a
//! file for a new version.

use crate::event::EventKind;

/// Kind, version and JSON of each sample.
pub const SAMPLES: &[(EventKind, u16, &str)] = &[
    (
        EventKind::ReserveStock,
        1,
        include_str!("../../samples/ReserveStock.v1.json"),
    ),
    (
        EventKind::ReleaseStock,
        1,
        include_str!("../../samples/ReleaseStock.v1.json"),
    ),
    (
        EventKind::ChargeCard,
        1,
        include_str!("../../samples/ChargeCard.v1.json"),
    ),
    (
        EventKind::RefundCard,
        1,
        include_str!("../../samples/RefundCard.v1.json"),
    ),
    (
        EventKind::OrderCreated,
        1,
        include_str!("../../samples/OrderCreated.v1.json"),
    ),
    (
        EventKind::InventoryReserved,
        1,
        include_str!("../../samples/InventoryReserved.v1.json"),
    ),
    (
        EventKind::PaymentCompleted,
        1,
        include_str!("../../samples/PaymentCompleted.v1.json"),
    ),
    (
        EventKind::PaymentFailed,
        1,
        include_str!("../../samples/PaymentFailed.v1.json"),
    ),
    (
        EventKind::PaymentFailed,
        2,
        include_str!("../../samples/PaymentFailed.v2.json"),
    ),
    (
        EventKind::PaymentRefunded,
        1,
        include_str!("../../samples/PaymentRefunded.v1.json"),
    ),
    (
        EventKind::OrderStatusChanged,
        1,
        include_str!("../../samples/OrderStatusChanged.v1.json"),
    ),
    (
        EventKind::OrderShipped,
        1,
        include_str!("../../samples/OrderShipped.v1.json"),
    ),
    (
        EventKind::OrderOverdue,
        1,
        include_str!("../../samples/OrderOverdue.v1.json"),
    ),
    (
        EventKind::StockLevelReached,
        1,
        include_str!("../../samples/StockLevelReached.v1.json"),
    ),
];

/// Returns the sample of a kind in the version that producers write.
pub fn of(kind: EventKind) -> &'static str {
    let today = SAMPLES
        .iter()
        .find(|(known, schema, _)| *known == kind && *schema == kind.schema());
    today.map_or("", |(.., sample)| sample)
}
