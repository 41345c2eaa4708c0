//! Reads stacks and their resources.

use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Stack, StackResourceSummary};

use crate::aws_failure::{failed, why};

/// The status of a stack that does not exist.
pub const NOT_DEPLOYED: &str = "NOT_DEPLOYED";

/// The first and the longest pause between two reads of something that is in progress.
pub const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Returns a stack, or `None` if it does not exist or was deleted.
///
/// # Errors
/// When CloudFormation does not answer.
pub async fn find(client: &Client, name: &str) -> anyhow::Result<Option<Stack>> {
    match client.describe_stacks().stack_name(name).send().await {
        Ok(found) => Ok(found
            .stacks
            .unwrap_or_default()
            .into_iter()
            .find(|stack| status_of(stack) != "DELETE_COMPLETE")),
        Err(error) => {
            let said = why(&error);
            match said.contains("does not exist") {
                true => Ok(None),
                false => Err(failed(format!("look for the stack {name}"), &error)),
            }
        }
    }
}

/// Returns the status of a stack, or `UNKNOWN`.
pub fn status_of(stack: &Stack) -> &str {
    stack
        .stack_status()
        .map(|status| status.as_str())
        .unwrap_or("UNKNOWN")
}

/// Returns all resources of a stack.
///
/// # Errors
/// When they cannot be listed.
pub async fn resources(client: &Client, stack: &str) -> anyhow::Result<Vec<StackResourceSummary>> {
    let mut resources = Vec::new();
    let mut pages = client
        .list_stack_resources()
        .stack_name(stack)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| failed(format!("list the resources of {stack}"), &error))?;
        resources.extend(page.stack_resource_summaries.unwrap_or_default());
    }
    Ok(resources)
}
