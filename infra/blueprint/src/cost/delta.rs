//! The effect of a template change on the monthly cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Estimate, MicroUsd};

/// The change of the cost of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostChange {
    /// Slug of the stack.
    pub stack: String,
    /// The logical id.
    pub resource: String,
    /// The item that is charged.
    pub what: String,
    /// Cost per month before.
    #[serde(rename = "before_micro_usd")]
    pub before: MicroUsd,
    /// Cost per month after.
    #[serde(rename = "after_micro_usd")]
    pub after: MicroUsd,
}

impl CostChange {
    /// Returns the additional cost per month; negative for less.
    pub fn more(&self) -> MicroUsd {
        self.after - self.before
    }
}

/// The monthly cost before and after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostDelta {
    /// Total before.
    #[serde(rename = "before_micro_usd")]
    pub before: MicroUsd,
    /// Total after.
    #[serde(rename = "after_micro_usd")]
    pub after: MicroUsd,
    /// The changed lines, largest change first.
    pub changes: Vec<CostChange>,
}

/// Compares two estimates by resource and price.
pub fn delta(before: &Estimate, after: &Estimate) -> CostDelta {
    let mut changes: BTreeMap<(&str, &str, &str), CostChange> = BTreeMap::new();
    let sides = before
        .lines
        .iter()
        .map(|line| (line, true))
        .chain(after.lines.iter().map(|line| (line, false)));
    for (line, is_before) in sides {
        let change = changes
            .entry((&line.stack, &line.resource, &line.price))
            .or_insert_with(|| CostChange {
                stack: line.stack.clone(),
                resource: line.resource.clone(),
                what: line.what.clone(),
                before: MicroUsd::default(),
                after: MicroUsd::default(),
            });
        // After a change of size, the line has the name of the new size.
        change.what.clone_from(&line.what);
        let side = if is_before {
            &mut change.before
        } else {
            &mut change.after
        };
        *side = *side + line.month;
    }
    let mut changes: Vec<CostChange> = changes
        .into_values()
        .filter(|change| change.more().0 != 0)
        .collect();
    // The sort is stable: equal changes stay in the order of stack and resource.
    changes.sort_by_key(|change| std::cmp::Reverse(change.more().0.unsigned_abs()));
    CostDelta {
        before: before.total,
        after: after.total,
        changes,
    }
}
