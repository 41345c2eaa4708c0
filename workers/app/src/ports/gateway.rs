//! The payment gateway. The result of a call is known only from an answer of the gateway.

use contract::cause::Cause;
use domain::ids::OrderId;
use domain::money::Money;

use super::PortFuture;

/// The result of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    /// The card was charged.
    Captured { charge_id: String, amount: Money },
    /// The bank declined the charge.
    Declined { charge_id: String, reason: String },
}

/// The reason why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The gateway did not answer and may have carried out the request. Look up the result before
    /// another attempt.
    #[error("the gateway did not answer")]
    Unknown(#[source] Cause),
    /// The gateway did nothing. A retry can succeed.
    #[error("the gateway is unavailable")]
    Unavailable(#[source] Cause),
    /// The gateway rejected the request and did nothing. A retry would fail again.
    #[error("the gateway refused the request")]
    Refused(#[source] Cause),
}

/// The payment gateway.
pub trait Gateway: Send + Sync {
    /// Charges a card. `key` is the idempotency key: two calls with one key charge once.
    fn charge(
        &self,
        key: &str,
        order_id: OrderId,
        amount: Money,
        token: &str,
    ) -> impl PortFuture<ChargeOutcome, GatewayError>;

    /// Returns the result of the charge of `amount` with this idempotency key. `None` when the
    /// gateway never received the charge.
    fn charge_by_key(
        &self,
        key: &str,
        amount: Money,
    ) -> impl PortFuture<Option<ChargeOutcome>, GatewayError>;

    /// Refunds a charge. `key` is the idempotency key: two calls with one key refund once.
    ///
    /// `Ok` means that the gateway accepted the refund. Every uncertain result is
    /// [`GatewayError::Unknown`].
    fn refund(
        &self,
        key: &str,
        charge_id: &str,
        amount: Money,
    ) -> impl PortFuture<(), GatewayError>;
}

/// The kind of an entry in the payment gateway's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MovementKind {
    Captured,
    Declined,
    Refunded,
}

/// One entry in the payment gateway's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayMovement {
    pub kind: MovementKind,
    pub charge_id: String,
    /// The reference that we passed with the charge: the order id.
    pub reference: String,
    pub amount: Money,
}

/// The payment gateway's ledger, which `haven reconcile` compares with our payments.
pub trait GatewayBooks: Send + Sync {
    /// Returns every entry of the ledger.
    fn movements(&self) -> impl PortFuture<Vec<GatewayMovement>, GatewayError>;
}
