//! Carts by session. They may vanish at any time and nothing but convenience is lost.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use domain::FieldError;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::ProductId;

use super::Unavailable;

/// A cart is forgotten so long after its last change.
pub const CART_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What is in a cart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cart {
    /// Sorted by product.
    pub lines: Lines,
    /// The unit price, in minor units, that the customer saw when each product entered the cart. A
    /// line that was kept before prices were remembered has none.
    pub seen: BTreeMap<ProductId, i64>,
}

/// Returns the version of a cart: equal for equal lines, and different, but for a chance of 1 in
/// 2^52, for different ones. Computed and not counted, so that a cart that expired and was filled
/// again in the same way is the same cart. At most 52 bits: every JSON reader keeps such an integer
/// exactly. `digest` is SHA-256 in hex.
pub fn version_of(lines: &Lines, digest: fn(&[u8]) -> String) -> i64 {
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by(|a, b| a.product_id.cmp(&b.product_id));
    let text: String = sorted
        .into_iter()
        .map(|line| format!("{} {}\n", line.product_id, line.quantity.get()))
        .collect();
    let hex = digest(text.as_bytes());
    hex.get(..13)
        .and_then(|head| i64::from_str_radix(head, 16).ok())
        .unwrap_or_default()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CartError {
    /// The change would break a limit; the cart is as it was.
    #[error(transparent)]
    Limit(#[from] FieldError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// `session` is the hash of the customer's session. Two changes at once both take effect. Lines
/// come sorted by product, and every change puts the end of the cart's life off.
pub trait CartStore: Send + Sync {
    fn get(&self, session: &str) -> impl Future<Output = Result<Cart, Unavailable>> + Send;

    /// Adds to what is there of the product. `price_minor` is the unit price that the customer saw;
    /// the one of the line's first units stays.
    fn add(
        &self,
        session: &str,
        line: &Line,
        price_minor: i64,
    ) -> impl Future<Output = Result<Cart, CartError>> + Send;

    /// Replaces the quantity; `None` when the product is not in the cart.
    fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> impl Future<Output = Result<Option<Cart>, Unavailable>> + Send;

    fn remove(
        &self,
        session: &str,
        product_id: &ProductId,
    ) -> impl Future<Output = Result<Cart, Unavailable>> + Send;

    /// Takes out what was ordered: of each product as many as are in `ordered`, or all that are
    /// there. What was added since the order was priced stays.
    fn take_out(
        &self,
        session: &str,
        ordered: &Lines,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    fn clear(&self, session: &str) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
