//! The stock levels that the inventory worker last observed. They show which alerts were already
//! sent when stream records are read again, or when the whole table is read instead.

use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::ProductId;
use domain::stock::Availability;

use super::PortFuture;

/// The level of a product at its last observed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The version of the product at that change.
    pub version: i64,
    pub level: Availability,
    /// The number of received units at that change. A greater number later means a delivery.
    pub received: i64,
}

/// The store of observed stock levels.
pub trait StockWatch: Send + Sync {
    /// Returns the last observation of a product.
    fn seen(&self, product_id: &ProductId) -> impl PortFuture<Option<Seen>>;

    /// Stores the observation `now` and puts `alert` into the outbox, in one transaction. Returns
    /// false and changes nothing when the stored observation is not `before`, because another
    /// process wrote first.
    fn remember(
        &self,
        product_id: &ProductId,
        before: Option<Seen>,
        now: Seen,
        alert: Option<&Envelope>,
        at: Timestamp,
    ) -> impl PortFuture<bool>;
}
