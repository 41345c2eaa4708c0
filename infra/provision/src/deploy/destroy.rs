//! Deletes stacks in reverse order of their dependencies.

use blueprint::Stack;
use blueprint::consequence::{self, Change};
use serde::Serialize;
use serde_json::{Value, json};

use crate::aws_failure::failure_to;
use crate::change_set::protection::Protection;
use crate::change_set::wait_until_gone;
use crate::deployed_stack::deployed_template;
use crate::guard::Named;
use crate::report::Reporter;
use crate::stack::{find, resources};
use crate::target::Target;

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
pub fn check(target: &Target, doomed: &[Doomed], named: &Named) -> anyhow::Result<()> {
    if target.environment.local {
        return Ok(());
    }
    let lost = |change: &&Change| change.rung == consequence::Rung::DataLoss;
    let mut refused = Vec::new();
    for Doomed { stack, changes, .. } in doomed {
        let lost: Vec<Change> = changes.iter().filter(lost).cloned().collect();
        refused.extend(named.check(stack.slug, &lost).err());
    }
    match refused.is_empty() {
        true => Ok(()),
        false => anyhow::bail!(
            "{}",
            refused
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        ),
    }
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
        match template["Resources"][id]["DeletionPolicy"].as_str() {
            Some("Retain" | "RetainExceptOnCreate") => kept.push(name.to_owned()),
            Some("Snapshot") => kept.push(format!("a last snapshot of {name}")),
            _ => {}
        }
    }
    Ok(kept)
}
