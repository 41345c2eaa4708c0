//! What the shop sells.

use serde::{Deserialize, Serialize};

use crate::ids::ProductId;
use crate::money::Money;

/// The heading a product stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductType {
    Coffee,
    Tea,
    Pastry,
    Sandwich,
}

impl ProductType {
    pub const ALL: [ProductType; 4] = [
        ProductType::Coffee,
        ProductType::Tea,
        ProductType::Pastry,
        ProductType::Sandwich,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            ProductType::Coffee => "coffee",
            ProductType::Tea => "tea",
            ProductType::Pastry => "pastry",
            ProductType::Sandwich => "sandwich",
        }
    }

    pub fn from_code(code: &str) -> Option<ProductType> {
        ProductType::ALL
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// A product as the menu shows it. How many there are is `stock`'s business.
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
