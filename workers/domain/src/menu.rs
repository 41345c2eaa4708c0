//! The products on the menu.

use serde::{Deserialize, Serialize};

use crate::ids::ProductId;
use crate::money::Money;

/// The section of the menu in which a product is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductType {
    Coffee,
    Tea,
    Pastry,
    Sandwich,
}

impl ProductType {
    /// Every section.
    pub const ALL: [ProductType; 4] = [
        ProductType::Coffee,
        ProductType::Tea,
        ProductType::Pastry,
        ProductType::Sandwich,
    ];

    /// Returns the name of the section in JSON and in the products table.
    pub const fn code(self) -> &'static str {
        match self {
            ProductType::Coffee => "coffee",
            ProductType::Tea => "tea",
            ProductType::Pastry => "pastry",
            ProductType::Sandwich => "sandwich",
        }
    }

    /// Returns the section with this name.
    pub fn from_code(code: &str) -> Option<ProductType> {
        ProductType::ALL
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// A product on the menu. Its units are counted in [`crate::stock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub product_id: ProductId,
    pub name: String,
    pub description: String,
    #[serde(rename = "type")]
    pub kind: ProductType,
    pub price: Money,
    pub image_url: String,
}
