//! What AWS charges for one unit of a thing: a dated table for each region, kept in
//! `infra/blueprint/prices`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A region's prices.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub region: String,
    /// The day that the table was last read against its sources.
    pub date: String,
    /// Where figures are from, by the name that prices use.
    pub source: BTreeMap<String, String>,
    pub price: BTreeMap<String, Price>,
    /// Resource types without a price of their own, and why.
    pub free: BTreeMap<String, String>,
}

/// One price, of one unit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub what: String,
    pub unit: String,
    /// Where it is the same for every variant.
    #[serde(default)]
    pub usd: Option<f64>,
    /// By size or architecture, where it is not.
    #[serde(default)]
    pub by: BTreeMap<String, f64>,
    pub source: String,
    /// Whether a page that gives the figure was read.
    pub confirmed: bool,
}

impl Price {
    /// Of the variant, or of the thing itself where there are no variants.
    pub fn of(&self, variant: &str) -> Option<f64> {
        self.usd.or_else(|| self.by.get(variant).copied())
    }
}

/// Regions that there is a table for.
pub const REGIONS: &[&str] = &["us-east-1"];

impl Prices {
    /// The table of a region, where there is one.
    ///
    /// # Panics
    /// When the table in the repository is wrong: a defect of ours, found by any test that reads
    /// it.
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
