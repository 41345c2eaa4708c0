//! Lines of products and quantities, which carts and orders share.

use serde::{Deserialize, Serialize};

use crate::FieldError;
use crate::ids::ProductId;

/// Maximum number of different products in a cart or an order.
///
/// Reserving the stock of an order is one DynamoDB transaction. The transaction writes the stock
/// hold and, for each product, the counters and a ledger entry. DynamoDB allows 100 actions in a
/// transaction.
pub const LINES_MAX: usize = 49;
/// Actions in the transaction for an order with [`LINES_MAX`] products.
const HOLD_ACTIONS: usize = 1 + 2 * LINES_MAX;
const _: () = assert!(
    HOLD_ACTIONS <= 100,
    "the longest order does not fit into a transaction"
);

/// A number of units of one product, from 1 to 99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

impl Quantity {
    /// The largest quantity of one product.
    pub const MAX: u32 = 99;

    /// Returns the quantity, or `None` when `count` is not 1 to 99.
    pub const fn new(count: u32) -> Option<Quantity> {
        if count >= 1 && count <= Quantity::MAX {
            Some(Quantity(count))
        } else {
            None
        }
    }

    /// Returns the number of units.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Quantity {
    type Error = FieldError;

    fn try_from(count: u32) -> Result<Self, FieldError> {
        Quantity::new(count)
            .ok_or_else(|| FieldError::new("quantity", "must be a whole number from 1 to 99"))
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> u32 {
        quantity.0
    }
}

/// One product with its quantity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub product_id: ProductId,
    pub quantity: Quantity,
}

/// At most [`LINES_MAX`] lines in the order in which they were added, with each product once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Line>", into = "Vec<Line>")]
pub struct Lines(Vec<Line>);

impl Lines {
    /// Merges lines of the same product. An empty list is valid; see [`Lines::is_empty`].
    ///
    /// # Errors
    /// A field error when a merged quantity exceeds 99 or there are more than [`LINES_MAX`]
    /// products.
    pub fn merge(lines: impl IntoIterator<Item = Line>) -> Result<Lines, FieldError> {
        let mut merged = Lines::default();
        for (index, line) in lines.into_iter().enumerate() {
            merged.add(line).map_err(|error| {
                FieldError::new(format!("items[{index}].{}", error.field), error.message)
            })?;
        }
        Ok(merged)
    }

    /// Adds a line. The quantity is added to an existing line of the same product.
    ///
    /// # Errors
    /// A field error when the quantity would exceed 99 or there would be more than [`LINES_MAX`]
    /// products.
    pub fn add(&mut self, line: Line) -> Result<(), FieldError> {
        if let Some(there) = self
            .0
            .iter_mut()
            .find(|there| there.product_id == line.product_id)
        {
            there.quantity = Quantity::new(there.quantity.get() + line.quantity.get())
                .ok_or_else(|| FieldError::new("quantity", "must be at most 99 for one product"))?;
            return Ok(());
        }
        if self.0.len() == LINES_MAX {
            return Err(FieldError::new(
                "product_id",
                format!("must have at most {LINES_MAX} different products"),
            ));
        }
        self.0.push(line);
        Ok(())
    }

    /// Replaces the quantity of a product. Returns false when there is no line with the product.
    pub fn set(&mut self, product_id: &ProductId, quantity: Quantity) -> bool {
        let line = self
            .0
            .iter_mut()
            .find(|line| line.product_id == *product_id);
        line.map(|line| line.quantity = quantity).is_some()
    }

    /// Removes a product. Returns false when there is no line with the product.
    pub fn remove(&mut self, product_id: &ProductId) -> bool {
        let before = self.0.len();
        self.0.retain(|line| line.product_id != *product_id);
        self.0.len() < before
    }

    /// Returns the lines in the order in which they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, Line> {
        self.0.iter()
    }

    /// Returns the number of lines, which is the number of different products.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of units of all products.
    pub fn units(&self) -> u32 {
        self.0.iter().map(|line| line.quantity.get()).sum()
    }
}

impl<'a> IntoIterator for &'a Lines {
    type Item = &'a Line;
    type IntoIter = std::slice::Iter<'a, Line>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<Line>> for Lines {
    type Error = FieldError;

    fn try_from(lines: Vec<Line>) -> Result<Self, FieldError> {
        Lines::merge(lines)
    }
}

impl From<Lines> for Vec<Line> {
    fn from(lines: Lines) -> Vec<Line> {
        lines.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(product: &str, quantity: u32) -> Line {
        Line {
            product_id: ProductId::parse(product).expect("a slug"),
            quantity: Quantity::new(quantity).expect("1 to 99"),
        }
    }

    #[test]
    fn the_same_product_twice_is_one_line() {
        let lines = Lines::merge([line("espresso", 2), line("tea", 1), line("espresso", 3)])
            .expect("legal");
        assert_eq!(Vec::from(lines), [line("espresso", 5), line("tea", 1)]);
    }

    #[test]
    fn the_limits_name_the_item_that_broke_them() {
        let error =
            Lines::merge([line("espresso", 99), line("espresso", 1)]).expect_err("a hundred");
        assert_eq!(error.field, "items[1].quantity");
        let error = Lines::merge((0..=LINES_MAX).map(|n| line(&format!("p-{n}"), 1)))
            .expect_err("one too many");
        assert_eq!(error.field, format!("items[{LINES_MAX}].product_id"));
    }

    proptest! {
        #[test]
        fn merging_keeps_every_unit(quantities in proptest::collection::vec((0u8..5, 1u32..5), 0..20)) {
            let asked: u32 = quantities.iter().map(|(_, quantity)| quantity).sum();
            let merged = Lines::merge(quantities.iter().map(|(product, quantity)| line(&format!("p-{product}"), *quantity)));
            prop_assert_eq!(merged.map(|lines| lines.units()), Ok(asked));
        }
    }
}
