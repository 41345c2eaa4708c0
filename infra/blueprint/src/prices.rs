//! Prices of AWS: a dated table per region, in `infra/blueprint/prices`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The prices of one region.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The region.
    pub region: String,
    /// The day on which the table was last compared with its sources.
    pub date: String,
    /// The sources of the prices, by the name that prices refer to.
    pub source: BTreeMap<String, String>,
    /// The prices by name.
    pub price: BTreeMap<String, Price>,
    /// Resource types without a price of their own, with the reason.
    pub free: BTreeMap<String, String>,
}

/// The price of one unit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The item that is charged.
    pub what: String,
    /// The unit of the price.
    pub unit: String,
    /// Price in USD, if all variants have the same.
    #[serde(default)]
    pub usd: Option<f64>,
    /// Price in USD by size or architecture, if they differ.
    #[serde(default)]
    pub by: BTreeMap<String, f64>,
    /// Name of the source.
    pub source: String,
    /// True if a person has compared the figure with the source's page.
    pub confirmed: bool,
}

impl Price {
    /// Returns the price of a variant, or the common price.
    pub fn of(&self, variant: &str) -> Option<f64> {
        self.usd.or_else(|| self.by.get(variant).copied())
    }
}

/// Regions with a price table.
pub const REGIONS: &[&str] = &["us-east-1"];

impl Prices {
    /// Returns the table of a region, or `None` if there is none.
    ///
    /// # Panics
    /// Panics when the table in the repository is invalid. Any test that reads the table finds this
    /// defect.
    pub fn of(region: &str) -> Option<Prices> {
        let text = match region {
            "us-east-1" => include_str!("../prices/us-east-1.toml"),
            _ => return None,
        };
        match toml::from_str(text) {
            Ok(prices) => Some(prices),
            Err(error) => panic!("the prices of {region}: {error}"),
        }
    }
}
