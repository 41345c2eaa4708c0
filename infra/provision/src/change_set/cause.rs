//! Explains why a stack failed: the cause first, then the evidence, then the status of the stack.

use std::collections::HashSet;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::EventFilter;

use crate::aws_failure::{failed, is_missing_stack};
use crate::change_set::access_denied;
use crate::change_set::events::{Seen, explain, first_cause, root_cause};
use crate::target::Target;

/// The depth of nested stacks that is searched. Our stacks are not nested, but other people's can
/// be.
const NESTED_MAX: usize = 8;

/// Returns the explanation for a failed stack. `evidence` was collected while the failed resource
/// still existed.
pub async fn told(
    target: &Target,
    name: &str,
    status: &str,
    seen: &[Seen],
    evidence: &[String],
) -> String {
    let Some(cause) = find(target, name, seen).await else {
        return format!("the stack {name} is {status}, and CloudFormation returned no reason");
    };
    let evidence: String = evidence
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect();
    format!(
        "{}{evidence}\n  so the stack {name} is {status}",
        explain(&cause)
    )
}

async fn find(target: &Target, name: &str, seen: &[Seen]) -> Option<Seen> {
    let client = &target.cloudformation;
    // Use the id, because the name does not find a stack that was rolled back and deleted.
    let id = seen
        .iter()
        .map(|event| event.stack.as_str())
        .find(|id| !id.is_empty())
        .unwrap_or(name);
    let failed = failures(client, Some(id), None, seen).await;
    let mut cause = first_cause(&failed).or_else(|| root_cause(seen)).cloned()?;
    let mut been = HashSet::new();
    while cause.is_nested_stack() && been.len() < NESTED_MAX && been.insert(cause.physical.clone())
    {
        let inner = events(client, &cause.physical).await.unwrap_or_default();
        match root_cause(&inner) {
            Some(deeper) => cause = deeper.clone(),
            None => break,
        }
    }
    if let Some(reason) = &cause.reason {
        cause.reason = Some(access_denied::decoded(target, reason).await);
    }
    Some(cause)
}

/// Returns the cause of a failed change set if CloudFormation reports more than the status reason:
/// a failed validation or hook.
pub(crate) async fn of_change_set(client: &Client, arn: &str) -> Option<String> {
    first_cause(&failures(client, None, Some(arn), &[]).await).map(explain)
}

/// Returns the failures that CloudFormation reports since the first event in `seen`, oldest first.
/// Returns none if the endpoint has no `DescribeEvents`; the stack events are used then.
async fn failures(
    client: &Client,
    stack: Option<&str>,
    change_set: Option<&str>,
    seen: &[Seen],
) -> Vec<Seen> {
    let since = seen.iter().find_map(|event| event.at);
    let mut failures = Vec::new();
    let call = client
        .describe_events()
        .set_stack_name(stack.map(str::to_owned));
    let call = call.set_change_set_name(change_set.map(str::to_owned));
    let mut pages = call
        .filters(EventFilter::builder().failed_events(true).build())
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let Ok(page) = page else { break };
        failures.extend(page.operation_events().iter().map(Seen::from));
    }
    failures.retain(|event: &Seen| since.is_none() || event.at >= since);
    failures.sort_by_key(|event| event.at);
    failures
}

/// Returns all events of a stack, by name or id, oldest first. A stack that does not exist has
/// none.
///
/// # Errors
/// When the events cannot be read.
pub async fn events(client: &Client, stack: &str) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut pages = client
        .describe_stack_events()
        .stack_name(stack)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => seen.extend(page.stack_events().iter().map(Seen::from)),
            Err(error) if is_missing_stack(&error) => break,
            Err(error) => return Err(failed(format!("read the events of {stack}"), &error)),
        }
    }
    seen.reverse();
    Ok(seen)
}
