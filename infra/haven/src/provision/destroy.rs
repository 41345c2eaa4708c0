//! Taking stacks away, in reverse order of need.

use serde::Serialize;

use super::changes::{find, wait_until_gone};
use super::{Reporter, Target, why};

#[derive(Debug, Clone, Serialize)]
pub struct Destroyed {
    pub removed: Vec<String>,
    /// Resources that hold data: they stay, and cost what they cost.
    pub retained: Vec<String>,
}

/// Deletes every stack that is there.
pub async fn destroy(target: &Target, reporter: &Reporter) -> anyhow::Result<Destroyed> {
    let client = &target.cloudformation;
    let mut destroyed = Destroyed { removed: Vec::new(), retained: Vec::new() };
    for stack in blueprint::stacks(&target.environment).into_iter().rev() {
        if find(client, &stack.name).await?.is_none() {
            continue;
        }
        let line = reporter.begin(&stack.name, "deleting");
        let kept = kept(target, &stack).await?;
        let deleted = client.delete_stack().stack_name(&stack.name).send().await;
        deleted.map_err(|error| anyhow::anyhow!("delete {}: {}", stack.name, why(&error)))?;
        wait_until_gone(client, &stack.name).await?;
        line.end(&if kept.is_empty() { "deleted".to_owned() } else { format!("deleted; kept {}", kept.join(", ")) });
        destroyed.retained.extend(kept);
        destroyed.removed.push(stack.name);
    }
    Ok(destroyed)
}

/// The physical names of what a deletion leaves behind.
async fn kept(target: &Target, stack: &blueprint::Stack) -> anyhow::Result<Vec<String>> {
    let mut kept = Vec::new();
    let mut pages = target.cloudformation.list_stack_resources().stack_name(&stack.name).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| anyhow::anyhow!("list the resources of {}: {}", stack.name, why(&error)))?;
        for resource in page.stack_resource_summaries() {
            let id = resource.logical_resource_id().unwrap_or_default();
            let name = resource.physical_resource_id().unwrap_or(id);
            match stack.template["Resources"][id]["DeletionPolicy"].as_str() {
                Some("Retain" | "RetainExceptOnCreate") => kept.push(name.to_owned()),
                Some("Snapshot") => kept.push(format!("a last snapshot of {name}")),
                _ => {}
            }
        }
    }
    Ok(kept)
}
