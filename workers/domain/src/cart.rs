//! Lines of products and quantities: what a cart and an order share.

use serde::{Deserialize, Serialize};

use crate::FieldError;
use crate::ids::ProductId;

/// Most distinct products in a cart or an order: a hold is one transaction with a record and, for
/// each product, its counters and a line in the ledger. DynamoDB takes 100 actions a transaction.
pub const LINES_MAX: usize = 49;
const HOLD_ACTIONS: usize = 1 + 2 * LINES_MAX;
const _: () = assert!(
    HOLD_ACTIONS <= 100,
    "the longest order does not fit into a transaction"
);

/// How many of one product: 1 to 99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

impl Quantity {
    pub const MAX: u32 = 99;

    pub const fn new(count: u32) -> Option<Quantity> {
        if count >= 1 && count <= Quantity::MAX {
            Some(Quantity(count))
        } else {
            None
        }
    }

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

/// So many of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub product_id: ProductId,
    pub quantity: Quantity,
}

/// At most `LINES_MAX` lines, each product once, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Line>", into = "Vec<Line>")]
pub struct Lines(Vec<Line>);

impl Lines {
    /// Merges lines of the same product.
    ///
    /// # Errors
    /// When a merged quantity passes 99 or there are more than `LINES_MAX` products. An empty list
    /// is legal: see `is_empty`.
    pub fn merge(lines: impl IntoIterator<Item = Line>) -> Result<Lines, FieldError> {
        let mut merged = Lines::default();
        for (index, line) in lines.into_iter().enumerate() {
            merged.add(line).map_err(|error| {
                FieldError::new(format!("items[{index}].{}", error.field), error.message)
            })?;
        }
        Ok(merged)
    }

    /// Adds to what is there of the same product.
    pub fn add(&mut self, line: Line) -> Result<(), FieldError> {
        if let Some(there) = self
            .0
            .iter_mut()
            .find(|there| there.product_id == line.product_id)
        {
            there.quantity = Quantity::new(there.quantity.get() + line.quantity.get())
                .ok_or_else(|| FieldError::new("quantity", "must not pass 99 of one product"))?;
            return Ok(());
        }
        if self.0.len() == LINES_MAX {
            return Err(FieldError::new(
                "product_id",
                format!("must not be more than {LINES_MAX} different products"),
            ));
        }
        self.0.push(line);
        Ok(())
    }

    /// Replaces the quantity of a product; false when the product is not there.
    pub fn set(&mut self, product_id: &ProductId, quantity: Quantity) -> bool {
        let line = self
            .0
            .iter_mut()
            .find(|line| line.product_id == *product_id);
        line.map(|line| line.quantity = quantity).is_some()
    }

    /// Takes a product out; false when it was not there.
    pub fn remove(&mut self, product_id: &ProductId) -> bool {
        let before = self.0.len();
        self.0.retain(|line| line.product_id != *product_id);
        self.0.len() < before
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Line> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many units in all.
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
