//! One sample message of each kind and each readable version, for people and for tests.
//!
//! Never edit a sample: consumers must be able to read every message that was ever written. Add a
//! file for a new version.

use super::EventKind;

/// Reads the sample files by kind and version.
macro_rules! samples {
    ($($kind:ident $version:literal,)*) => {
        /// Kind, version and JSON of each sample.
        pub const SAMPLES: &[(EventKind, u16, &str)] = &[$((
            EventKind::$kind,
            $version,
            include_str!(concat!("../../samples/", stringify!($kind), ".v", $version, ".json")),
        ),)*];
    };
}

samples! {
    ReserveStock 1,
    ReleaseStock 1,
    ChargeCard 1,
    RefundCard 1,
    OrderCreated 1,
    InventoryReserved 1,
    PaymentCompleted 1,
    PaymentFailed 1,
    PaymentFailed 2,
    PaymentRefunded 1,
    OrderStatusChanged 1,
    OrderShipped 1,
    OrderOverdue 1,
    StockLevelReached 1,
}

/// Returns the sample of a kind in the version that producers write.
pub fn of(kind: EventKind) -> &'static str {
    let today = SAMPLES
        .iter()
        .find(|(known, schema, _)| *known == kind && *schema == kind.schema());
    today.map_or("", |(.., sample)| sample)
}
