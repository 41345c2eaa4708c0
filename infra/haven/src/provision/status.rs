//! What is deployed.

use serde::Serialize;

use super::change_set::{find, status_of};
use super::{Target, why};

#[derive(Debug, Clone, Serialize)]
pub struct StackStatus {
    pub name: String,
    pub about: &'static str,
    /// As CloudFormation writes it, or `NOT_DEPLOYED`.
    pub status: String,
    pub resources: usize,
}

/// What stands for the status of a stack that is not there.
pub const NOT_DEPLOYED: &str = "NOT_DEPLOYED";

/// One line a stack, in the order in which they are deployed.
pub async fn status(target: &Target) -> anyhow::Result<Vec<StackStatus>> {
    let mut all = Vec::new();
    for stack in blueprint::stacks(&target.environment) {
        let found = find(&target.cloudformation, &stack.name).await?;
        let mut resources = 0;
        if found.is_some() {
            let mut pages =
                target.cloudformation.list_stack_resources().stack_name(&stack.name).into_paginator().send();
            while let Some(page) = pages.next().await {
                let page =
                    page.map_err(|error| anyhow::anyhow!("list the resources of {}: {}", stack.name, why(&error)))?;
                resources += page.stack_resource_summaries().len();
            }
        }
        let status = found.as_ref().map_or(NOT_DEPLOYED, status_of).to_owned();
        all.push(StackStatus { name: stack.name, about: stack.about, status, resources });
    }
    Ok(all)
}
