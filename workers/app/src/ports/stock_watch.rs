//! What the inventory worker remembers of each product's stock level, so that whoever reads a
//! record of the stream again, or the table instead, knows what was told.

use std::future::Future;

use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::ProductId;
use domain::stock::Availability;

use super::Unavailable;

/// A product's level when it last changed, as far as was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The product's version then.
    pub version: i64,
    pub level: Availability,
    /// What had been received then: more since means that there was a delivery.
    pub received: i64,
}

pub trait StockWatch: Send + Sync {
    fn seen(
        &self,
        product_id: &ProductId,
    ) -> impl Future<Output = Result<Option<Seen>, Unavailable>> + Send;

    /// Remembers `now` and owes the world `alert`, both or neither. False, and nothing done, when
    /// what is remembered is no longer `before`: somebody else was faster.
    fn remember(
        &self,
        product_id: &ProductId,
        before: Option<Seen>,
        now: Seen,
        alert: Option<&Envelope>,
        at: Timestamp,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;
}
