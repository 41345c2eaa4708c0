//! Estimates the monthly cost of an environment from its templates.
//!
//! The fixed part is the cost of the resources without any traffic. The usage part is the cost of
//! orders, pages and logs, from the settings under `usage` and the assumptions in `usage.rs`. A
//! resource or size without a price is listed as unpriced.

mod calls;
mod capacity;
mod delta;
mod fixed;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::configuration::Usage;
use crate::environment::Environment;
use crate::graph::{Graph, Resource};
use crate::kind::Kind;
use crate::prices::{Prices, REGIONS};
use crate::stack::Stack;

pub use calls::{CallCost, of_calls};
pub use delta::{CostChange, CostDelta, delta};

/// Hours of a month, as AWS counts them: a twelfth of 365 days.
pub const HOURS_A_MONTH: f64 = 730.0;

/// Millionths of a dollar. Every line is rounded to whole millionths, half away from zero. Sums add
/// the rounded lines, so that a table adds up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl MicroUsd {
    /// Returns the nearest amount, rounding half away from zero.
    pub fn from_usd(usd: f64) -> MicroUsd {
        // The cast saturates at nine trillion dollars, which no bill reaches.
        MicroUsd((usd * 1e6).round() as i64)
    }

    /// Returns the amount in dollars.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl std::ops::Add for MicroUsd {
    type Output = MicroUsd;

    fn add(self, other: MicroUsd) -> MicroUsd {
        MicroUsd(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for MicroUsd {
    type Output = MicroUsd;

    fn sub(self, other: MicroUsd) -> MicroUsd {
        MicroUsd(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for MicroUsd {
    fn sum<I: Iterator<Item = MicroUsd>>(amounts: I) -> MicroUsd {
        amounts.fold(MicroUsd::default(), |sum, amount| sum + amount)
    }
}

/// The amount in dollars and cents.
impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.2}", self.usd()))
    }
}

/// The fixed or the usage part of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Cost without any traffic.
    Fixed,
    /// Cost of traffic.
    Usage,
}

/// One line of an estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Slug of the stack.
    pub stack: String,
    /// The logical id, or the type for the usage of all resources of a type.
    pub resource: String,
    /// Name of the price in the table.
    pub price: String,
    /// The item that is charged.
    pub what: String,
    /// Number of units per month.
    pub quantity: f64,
    /// Name of the unit.
    pub unit: String,
    /// Price of one unit in USD.
    pub unit_usd: f64,
    /// Cost per month.
    #[serde(rename = "month_micro_usd")]
    pub month: MicroUsd,
    /// The part to which the line belongs.
    pub part: Part,
    /// True if a person has compared the price with the source's page.
    pub confirmed: bool,
}

/// A resource whose cost is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpriced {
    /// Slug of the stack.
    pub stack: String,
    /// The logical id.
    pub resource: String,
    /// The resource type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Why there is no price.
    pub why: String,
}

/// The monthly cost of an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Name of the environment.
    pub environment: String,
    /// Its region.
    pub region: String,
    /// Date of the price table.
    pub prices_of: String,
    /// The lines, most expensive first.
    pub lines: Vec<Line>,
    /// Sum of the fixed lines.
    #[serde(rename = "fixed_micro_usd")]
    pub fixed: MicroUsd,
    /// Sum of the usage lines.
    #[serde(rename = "usage_micro_usd")]
    pub usage: MicroUsd,
    /// Sum of all lines.
    #[serde(rename = "total_micro_usd")]
    pub total: MicroUsd,
    /// Resources whose cost is missing from the total.
    pub unpriced: Vec<Unpriced>,
    /// Unconfirmed prices in this estimate.
    pub unconfirmed: Vec<String>,
    /// The assumptions about usage.
    pub assumed: Vec<String>,
    /// Costs that are never included.
    pub not_included: Vec<String>,
}

/// The error for a region without a price table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no price table for the region {0}; available: {known}", known = REGIONS.join(", "))]
pub struct NoPrices(pub String);

/// Costs that no estimate includes.
const NOT_INCLUDED: &[&str] = &[
    "taxes, support plans, free tiers, discounts and commitments",
    "tasks above the minimum of scaling, and the second set of tasks during a blue/green deployment",
    "data transfer between availability zones",
    "the first two rotations of a KMS key, USD 1 a month each",
    "queries of operators: Logs Insights, metrics on dashboards, retrieved traces",
    "requests to Secrets Manager, requests of lifecycle rules, and reads of access logs",
    "the content of the lake and audit buckets, and its copies",
    "restores, and reads of backups",
];

/// Estimates the monthly cost of the stacks.
///
/// # Errors
/// Returns `NoPrices` when there is no price table for the environment's region.
pub fn estimate(
    stacks: &[Stack],
    environment: &Environment,
    usage: &Usage,
) -> Result<Estimate, NoPrices> {
    let region = &environment.settings.account.region;
    let prices = Prices::of(region).ok_or_else(|| NoPrices(region.clone()))?;
    let graph = Graph::new(stacks);
    let mut bill = Bill {
        prices: &prices,
        graph: &graph,
        lines: Vec::new(),
        unpriced: Vec::new(),
    };
    for resource in graph.resources() {
        fixed::resource(&mut bill, &resource);
    }
    let assumed = usage::month(&mut bill, usage);
    let Bill {
        mut lines,
        mut unpriced,
        ..
    } = bill;
    unpriced.sort_by(|a, b| (&a.stack, &a.resource).cmp(&(&b.stack, &b.resource)));
    lines.sort_by(|a, b| {
        b.month
            .cmp(&a.month)
            .then_with(|| (&a.stack, &a.resource, &a.price).cmp(&(&b.stack, &b.resource, &b.price)))
    });
    let sum = |part: Part| {
        lines
            .iter()
            .filter(|line| line.part == part)
            .map(|line| line.month)
            .sum::<MicroUsd>()
    };
    let (fixed, usage) = (sum(Part::Fixed), sum(Part::Usage));
    let unconfirmed: BTreeSet<String> = lines
        .iter()
        .filter(|line| !line.confirmed)
        .map(|line| line.what.clone())
        .collect();
    Ok(Estimate {
        environment: environment.name.clone(),
        region: prices.region.clone(),
        prices_of: prices.date.clone(),
        fixed,
        usage,
        total: fixed + usage,
        unpriced,
        unconfirmed: unconfirmed.into_iter().collect(),
        assumed,
        not_included: NOT_INCLUDED.iter().map(|text| (*text).to_owned()).collect(),
        lines,
    })
}

/// Returns the environment with an image. Services without an image have no tasks, so their
/// estimate would be too low.
pub fn running(environment: &Environment) -> Environment {
    let mut environment = environment.clone();
    let digest = &mut environment.settings.compute.image_digest;
    if digest.is_empty() {
        *digest = format!("sha256:{}", "0".repeat(64));
    }
    environment
}

/// The lines of an estimate under construction.
struct Bill<'a> {
    prices: &'a Prices,
    graph: &'a Graph<'a>,
    lines: Vec<Line>,
    unpriced: Vec<Unpriced>,
}

impl Bill<'_> {
    /// Adds a quantity that is charged every month without any traffic.
    fn fixed(&mut self, resource: &Resource<'_>, price: &str, variant: &str, quantity: f64) {
        self.add(resource, resource.id, Part::Fixed, price, variant, quantity);
    }

    /// Adds the usage of all resources of a type, if there is one.
    fn used(&mut self, kind: Kind, price: &str, quantity: f64) {
        if let Some(first) = self.graph.of_type(kind).next() {
            self.add(&first, kind.as_str(), Part::Usage, price, "", quantity);
        }
    }

    fn add(
        &mut self,
        at: &Resource<'_>,
        named: &str,
        part: Part,
        price: &str,
        variant: &str,
        quantity: f64,
    ) {
        let known = self
            .prices
            .price
            .get(price)
            .and_then(|known| Some((known, known.of(variant)?)));
        let Some((known, unit_usd)) = known else {
            let size = if variant.is_empty() {
                String::new()
            } else {
                format!(" for {variant}")
            };
            return self.unpriced(at, format!("no price `{price}`{size}"));
        };
        if quantity <= 0.0 {
            return;
        }
        let what = if variant.is_empty() {
            known.what.clone()
        } else {
            format!("{} {variant}", known.what)
        };
        self.lines.push(Line {
            stack: at.stack.slug.to_owned(),
            resource: named.to_owned(),
            price: price.to_owned(),
            what,
            quantity,
            unit: known.unit.clone(),
            unit_usd,
            month: MicroUsd::from_usd(quantity * unit_usd),
            part,
            confirmed: known.confirmed,
        });
    }

    fn unpriced(&mut self, at: &Resource<'_>, why: impl Into<String>) {
        self.unpriced.push(Unpriced {
            stack: at.stack.slug.to_owned(),
            resource: at.id.to_owned(),
            kind: at.kind.to_owned(),
            why: why.into(),
        });
    }
}
