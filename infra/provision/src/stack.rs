//! Reads stacks and their resources.

use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Stack, StackResourceSummary};

use crate::aws_failure::{failed, failure_to, is_missing_stack};

/// The status of a stack that does not exist.
pub const NOT_DEPLOYED: &str = "NOT_DEPLOYED";

/// The first and the longest pause between two reads of something that is in progress.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
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
        Err(error) => match is_missing_stack(&error) {
            true => Ok(None),
            false => Err(failed(format!("read the stack {name}"), &error)),
        },
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
    let call = client.list_stack_resources().stack_name(stack);
    let resources = call.into_paginator().items().send().try_collect().await;
    resources.map_err(failure_to(format!("list the resources of {stack}")))
}

/// Calls `ask` until it returns a value, with pauses that double from 100 ms to 2 s.
///
/// # Errors
/// The first error of `ask`, which decides about timeouts too.
pub(crate) async fn poll_until<T>(
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let (mut pause, longest) = PAUSES;
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}
