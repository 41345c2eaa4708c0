//! What a change of the templates does to the bill.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Estimate, MicroUsd};

/// One resource's share of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostChange {
    pub stack: String,
    pub resource: String,
    pub what: String,
    #[serde(rename = "before_micro_usd")]
    pub before: MicroUsd,
    #[serde(rename = "after_micro_usd")]
    pub after: MicroUsd,
}

impl CostChange {
    /// What it costs more in a month; less is negative.
    pub fn more(&self) -> MicroUsd {
        self.after - self.before
    }
}

/// What a month costs before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostDelta {
    #[serde(rename = "before_micro_usd")]
    pub before: MicroUsd,
    #[serde(rename = "after_micro_usd")]
    pub after: MicroUsd,
    /// What changes, the largest change first.
    pub changes: Vec<CostChange>,
}

/// What `after` costs other than `before`, by resource and price.
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
        // Of another size it is another thing: the newer one names it.
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
    // Stable: those of one size stay in the order of stack and resource.
    changes.sort_by_key(|change| std::cmp::Reverse(change.more().0.unsigned_abs()));
    CostDelta {
        before: before.total,
        after: after.total,
        changes,
    }
}
