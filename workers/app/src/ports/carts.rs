//! Carts by session. They may vanish at any time and nothing but convenience is lost.

use std::future::Future;
use std::time::Duration;

use domain::FieldError;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::ProductId;

use super::Unavailable;

/// A cart is forgotten so long after its last change.
pub const CART_LIFETIME: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CartError {
    /// The change would break a limit; the cart is as it was.
    #[error(transparent)]
    Limit(#[from] FieldError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// `session` is the hash of the customer's session. Two changes at once both take effect. Lines come sorted by
/// product, and every change puts the end of the cart's life off.
pub trait CartStore: Send + Sync {
    fn get(&self, session: &str) -> impl Future<Output = Result<Lines, Unavailable>> + Send;

    /// Adds to what is there of the product.
    fn add(&self, session: &str, line: &Line) -> impl Future<Output = Result<Lines, CartError>> + Send;

    /// Replaces the quantity; `None` when the product is not in the cart.
    fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> impl Future<Output = Result<Option<Lines>, Unavailable>> + Send;

    fn remove(&self, session: &str, product_id: &ProductId) -> impl Future<Output = Result<Lines, Unavailable>> + Send;

    fn clear(&self, session: &str) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
