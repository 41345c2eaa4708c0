//! The status of the deployed stacks.

use blueprint::Environment;
use serde::Serialize;

use crate::stack::{NOT_DEPLOYED, find, resources, status_of};
use crate::target::Target;

/// The status of one stack.
#[derive(Debug, Clone, Serialize)]
pub struct StackStatus {
    pub name: String,
    pub about: &'static str,
    /// The status of CloudFormation, or `NOT_DEPLOYED`.
    pub status: String,
    pub resources: usize,
}

/// Returns the status of each stack in deployment order. `haven up` deploys only some of the local
/// stacks; the others are included only if they exist.
///
/// # Errors
/// When CloudFormation does not answer.
pub async fn status(target: &Target) -> anyhow::Result<Vec<StackStatus>> {
    let shop: Vec<String> = blueprint::stacks(&Environment::shop())
        .into_iter()
        .map(|stack| stack.name)
        .collect();
    let is_ours = target.environment.name == Environment::shop().name;
    let may_be_missing = |name: &String| is_ours && !shop.contains(name);
    let mut all = Vec::new();
    for stack in blueprint::stacks(&target.environment) {
        let found = find(&target.cloudformation, &stack.name).await?;
        if found.is_none() && may_be_missing(&stack.name) {
            continue;
        }
        let resources = match &found {
            Some(_) => resources(&target.cloudformation, &stack.name).await?.len(),
            None => 0,
        };
        let status = found.as_ref().map_or(NOT_DEPLOYED, status_of).to_owned();
        all.push(StackStatus {
            name: stack.name,
            about: stack.about,
            status,
            resources,
        });
    }
    Ok(all)
}
