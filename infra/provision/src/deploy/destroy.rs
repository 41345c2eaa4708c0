//! Deletes stacks in reverse order of their dependencies.

use std::collections::{BTreeMap, BTreeSet};

use blueprint::consequence::{self, Change, Rung};
use blueprint::cost::{self, MicroUsd, Part};
use blueprint::{Environment, Stack, kind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::aws_failure::failure_to;
use crate::change_set::protection::Protection;
use crate::change_set::wait_until_gone;
use crate::deployed_stack::deployed_template;
use crate::guard::{Named, name};
use crate::report::Reporter;
use crate::stack::{find, resources};
use crate::target::Target;

/// The unit of prices for stored data.
const STORAGE: &str = "GiB-month";

/// The result of a deletion.
#[derive(Debug, Clone, Serialize)]
pub struct Destroyed {
    pub removed: Vec<String>,
    /// Resources with data, which stay and still cost money.
    pub retained: Vec<String>,
}

/// An existing stack, and the effect of its deletion.
pub struct Doomed {
    stack: Stack,
    template: Value,
    pub changes: Vec<Change>,
}

/// Returns the existing stacks in the order of their deletion.
///
/// # Errors
/// When a stack cannot be read.
pub async fn doomed(target: &Target) -> anyhow::Result<Vec<Doomed>> {
    let mut doomed = Vec::new();
    for stack in blueprint::stacks(&target.environment).into_iter().rev() {
        if find(&target.cloudformation, &stack.name).await?.is_some() {
            // Use the deployed template, because its deletion policies apply.
            let template = deployed_template(&target.cloudformation, &stack.name).await?;
            let changes = consequence::diff(&template, &json!({ "Resources": {} }));
            doomed.push(Doomed {
                stack,
                template,
                changes,
            });
        }
    }
    Ok(doomed)
}

/// Checks that no data is lost without the user's consent. On a local AWS everything may be
/// deleted.
///
/// # Errors
/// When deletions would lose data and `named` does not contain the resources. The message lists all
/// of them. Resources with a deletion policy that keeps them lose nothing.
pub fn check(environment: &Environment, doomed: &[Doomed], named: &Named) -> anyhow::Result<()> {
    let refused: Vec<String> = doomed
        .iter()
        .filter_map(|doomed| {
            named
                .check(doomed.stack.slug, &lost(environment, doomed))
                .err()
        })
        .map(|refused| refused.to_string())
        .collect();
    match refused.is_empty() {
        true => Ok(()),
        false => anyhow::bail!("{}", refused.join("\n")),
    }
}

/// Returns the deletions that need the user's consent.
fn lost(environment: &Environment, doomed: &Doomed) -> Vec<Change> {
    let is_lost = |change: &&Change| !environment.local && change.rung == Rung::DataLoss;
    doomed.changes.iter().filter(is_lost).cloned().collect()
}

/// The effect of a deletion of the stacks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The existing stacks, in the order of their deletion.
    pub stacks: Vec<String>,
    /// The number of resources that are deleted and hold no data.
    pub without_data: usize,
    /// The resources that hold data or stay.
    pub resources: Vec<Doom>,
    /// The monthly cost of what stays, by type: its fixed cost, and its storage at the settings'
    /// usage. `None` for a local AWS, and for regions without prices.
    #[serde(rename = "kept_month_micro_usd")]
    pub kept_cost: Option<BTreeMap<String, MicroUsd>>,
}

/// The fate of a resource when its stack is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doom {
    /// The name, as `--allow` takes it.
    pub resource: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub fate: Fate,
    /// Whether the deletion is refused, because `--allow` does not name the resource.
    pub refused: bool,
}

/// The parts of a resource that remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nothing.
    Deleted,
    /// A final snapshot.
    Snapshot,
    /// The resource itself, outside of all stacks.
    Kept,
}

impl Fate {
    /// Returns the fate by the deletion policy of a resource in a template.
    fn of(template: &Value, id: &str) -> Fate {
        match template["Resources"][id]["DeletionPolicy"].as_str() {
            Some("Retain" | "RetainExceptOnCreate") => Fate::Kept,
            Some("Snapshot") => Fate::Snapshot,
            _ => Fate::Deleted,
        }
    }
}

/// Returns what a deletion would do, without a call to AWS.
pub fn preview(environment: &Environment, doomed: &[Doomed], named: &Named) -> Preview {
    let mut preview = Preview {
        stacks: Vec::new(),
        without_data: 0,
        resources: Vec::new(),
        kept_cost: kept_cost(environment, doomed),
    };
    for stack in doomed {
        let lost = lost(environment, stack);
        let refused = named.missing(stack.stack.slug, &lost);
        for change in &stack.changes {
            let fate = Fate::of(&stack.template, &change.resource);
            if !change.stateful && fate == Fate::Deleted {
                preview.without_data += 1;
                continue;
            }
            preview.resources.push(Doom {
                resource: name(stack.stack.slug, &change.resource),
                kind: change.kind.clone(),
                fate,
                refused: refused
                    .iter()
                    .any(|other| other.resource == change.resource),
            });
        }
        preview.stacks.push(stack.stack.name.clone());
    }
    preview
}

/// Returns the monthly cost of the resources that stay, by type. Requests and traffic end with the
/// stacks.
fn kept_cost(environment: &Environment, doomed: &[Doomed]) -> Option<BTreeMap<String, MicroUsd>> {
    if environment.local {
        return None;
    }
    let deployed: Vec<Stack> = doomed
        .iter()
        .map(|doomed| doomed.stack.with_template(doomed.template.clone()))
        .collect();
    let estimate = cost::estimate(&deployed, environment, &environment.settings.usage).ok()?;
    let kept: BTreeMap<(&str, &str), &str> = doomed
        .iter()
        .flat_map(|doomed| {
            let kept = doomed
                .changes
                .iter()
                .filter(|change| Fate::of(&doomed.template, &change.resource) == Fate::Kept);
            kept.map(|change| {
                let place = (doomed.stack.slug, change.resource.as_str());
                (place, change.kind.as_str())
            })
        })
        .collect();
    let kinds: BTreeSet<&str> = kept.values().copied().collect();
    let mut cost = BTreeMap::new();
    for line in &estimate.lines {
        let kind = match line.part {
            Part::Fixed => kept
                .get(&(line.stack.as_str(), line.resource.as_str()))
                .copied(),
            // The resource of a usage line is a type. Backups are in their vault.
            Part::Usage if line.unit == STORAGE => {
                let holder = match line.resource.as_str() {
                    plan if plan == kind::BACKUP_PLAN.as_str() => kind::BACKUP_VAULT.as_str(),
                    kind => kind,
                };
                kinds.get(holder).copied()
            }
            Part::Usage => None,
        };
        if let Some(kind) = kind {
            let sum: &mut MicroUsd = cost.entry(kind.to_owned()).or_default();
            *sum = *sum + line.month;
        }
    }
    Some(cost)
}

/// Deletes the stacks.
///
/// # Errors
/// When a stack cannot be deleted.
pub async fn destroy(
    target: &Target,
    doomed: Vec<Doomed>,
    reporter: &Reporter,
) -> anyhow::Result<Destroyed> {
    let client = &target.cloudformation;
    let mut destroyed = Destroyed {
        removed: Vec::new(),
        retained: Vec::new(),
    };
    for Doomed {
        stack, template, ..
    } in doomed
    {
        let line = reporter.begin(&stack.name, "deleting");
        let kept = kept(target, &stack.name, &template).await?;
        if stack.stateful && !target.environment.local {
            Protection::of(target, &stack).terminable(true).await?;
        }
        let deleted = client.delete_stack().stack_name(&stack.name).send().await;
        deleted.map_err(failure_to(format!("delete {}", stack.name)))?;
        wait_until_gone(target, &stack.name).await?;
        line.end(&if kept.is_empty() {
            "deleted".to_owned()
        } else {
            format!("deleted; kept {}", kept.join(", "))
        });
        destroyed.retained.extend(kept);
        destroyed.removed.push(stack.name);
    }
    Ok(destroyed)
}

/// Returns the physical names of the resources that the deletion of a stack leaves.
async fn kept(target: &Target, stack: &str, template: &Value) -> anyhow::Result<Vec<String>> {
    let mut kept = Vec::new();
    for resource in resources(&target.cloudformation, stack).await? {
        let id = resource.logical_resource_id().unwrap_or_default();
        let name = resource.physical_resource_id().unwrap_or(id);
        match Fate::of(template, id) {
            Fate::Kept => kept.push(name.to_owned()),
            Fate::Snapshot => kept.push(format!("a last snapshot of {name}")),
            Fate::Deleted => {}
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
