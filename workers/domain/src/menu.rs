//! The products on the menu.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::ids::ProductId;
use crate::money::Money;

/// The section of the menu in which a product is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum ProductType {
    Coffee,
    Tea,
    Pastry,
    Sandwich,
}

crate::named_variants!(ProductType);

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
