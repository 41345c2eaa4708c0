//! The payment gateway. What it did is known only when it said so.

use std::future::Future;

use domain::ids::OrderId;
use domain::money::Money;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    Captured { charge_id: String, amount: Money },
    Declined { charge_id: String, reason: String },
}

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// It was asked and did not answer: it may have done it. Ask what happened.
    #[error("the gateway did not answer: {0}")]
    Unknown(String),
    /// It said that it did nothing now; later it may.
    #[error("the gateway is unavailable: {0}")]
    Unavailable(String),
    /// It said no to the request itself: nothing was done, and asking again would not help.
    #[error("the gateway refused the request: {0}")]
    Refused(String),
}

pub trait Gateway: Send + Sync {
    /// Charges under `key`: the same key never charges twice.
    fn charge(
        &self,
        key: &str,
        order_id: OrderId,
        amount: Money,
        token: &str,
    ) -> impl Future<Output = Result<ChargeOutcome, GatewayError>> + Send;

    /// What became of the charge of `amount` under `key`; `None` when the gateway never saw it.
    fn charge_by_key(
        &self,
        key: &str,
        amount: Money,
    ) -> impl Future<Output = Result<Option<ChargeOutcome>, GatewayError>> + Send;

    /// Refunds under `key`: the same key never refunds twice. `Ok` when the money is on its way
    /// back; anything less sure is `Unknown`.
    fn refund(
        &self,
        key: &str,
        charge_id: &str,
        amount: Money,
    ) -> impl Future<Output = Result<(), GatewayError>> + Send;
}

/// What a line of the gateway's own ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MovementKind {
    Captured,
    Declined,
    Refunded,
}

/// One line of the gateway's own ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayMovement {
    pub kind: MovementKind,
    pub charge_id: String,
    /// What we called it when we asked: the order's id.
    pub reference: String,
    pub amount: Money,
}

/// The gateway's books, for those who compare them with ours.
pub trait GatewayBooks: Send + Sync {
    fn movements(&self) -> impl Future<Output = Result<Vec<GatewayMovement>, GatewayError>> + Send;
}
