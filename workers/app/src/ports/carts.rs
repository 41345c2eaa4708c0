//! Carts by session. A cart may be lost at any time: no order depends on it.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::FieldError;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::ProductId;

use super::{PortFuture, StoreError};

/// Time from the last change of a cart until it expires.
pub const CART_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The content of a cart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cart {
    /// The lines, sorted by product.
    pub lines: Lines,
    /// The unit price, in minor units, that the customer saw when each product was added. Lines
    /// that were stored before the release that records prices have none.
    pub seen: BTreeMap<ProductId, i64>,
}

/// Returns the version of a cart, which is equal for equal lines.
///
/// The version is a hash and not a counter. A cart that expired and was filled again with the same
/// lines therefore has the same version. Different lines have the same version with a probability
/// of 2^-52. A version has at most 52 bits, because every JSON parser represents such an integer
/// exactly. `digest` returns the SHA-256 in hexadecimal.
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

/// The reason why a cart was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CartError {
    /// The change would exceed a limit.
    #[error(transparent)]
    Limit(#[from] FieldError),
    /// The store cannot answer now.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// The store of carts. `session` is the hash of a session.
///
/// Concurrent changes of one cart both take effect. Lines are returned sorted by product. Every
/// change restarts the lifetime of the cart.
pub trait CartStore: Send + Sync {
    /// Returns the cart. A session without a cart has an empty one.
    fn get(&self, session: &str) -> impl PortFuture<Cart>;

    /// Adds units of a product. `price_minor` is the unit price that the customer saw. A line keeps
    /// the price of its first units.
    fn add(&self, session: &str, line: &Line, price_minor: i64)
    -> impl PortFuture<Cart, CartError>;

    /// Replaces the quantity of a product. Returns `None` when the product is not in the cart.
    fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> impl PortFuture<Option<Cart>>;

    /// Removes a product and returns the cart.
    fn remove(&self, session: &str, product_id: &ProductId) -> impl PortFuture<Cart>;

    /// Removes the ordered products, each up to its ordered quantity. Units that were added after
    /// the order was priced stay.
    fn take_out(&self, session: &str, ordered: &Lines) -> impl PortFuture<()>;

    /// Removes every line.
    fn clear(&self, session: &str) -> impl PortFuture<()>;
}
