//! One stack by one change set: made, read, executed, watched to its end.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Capability, ChangeSetStatus, ChangeSetType, OnStackFailure, Stack, Tag};
use blueprint::Environment;
use uuid::Uuid;

use super::events::{Seen, explain, root_cause};
use super::report::Line;
use super::{Target, why};

/// Between two looks at something that is under way.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A change set is computed within seconds; CloudFormation itself gives up after an hour.
const COMPUTED_WITHIN: Duration = Duration::from_secs(600);

/// What a change set did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    Created,
    Updated,
    Nothing,
}

/// The stack as CloudFormation has it; `None` when it has none of this name.
pub async fn find(client: &Client, name: &str) -> anyhow::Result<Option<Stack>> {
    match client.describe_stacks().stack_name(name).send().await {
        Ok(found) => Ok(found.stacks.unwrap_or_default().into_iter().next()),
        Err(error) => {
            let said = why(&error);
            if said.contains("does not exist") { Ok(None) } else { bail!("look for the stack {name}: {said}") }
        }
    }
}

pub fn status_of(stack: &Stack) -> &str {
    stack.stack_status().map(|status| status.as_str()).unwrap_or("UNKNOWN")
}

/// Brings the stack to its template.
pub async fn apply(target: &Target, stack: &blueprint::Stack, line: &Line) -> anyhow::Result<Changed> {
    let client = &target.cloudformation;
    let mut found = find(client, &stack.name).await?;
    // A stack that never came to be cannot be changed, only made again.
    if let Some(corpse) = found.as_ref().filter(|stack| is_corpse(status_of(stack))) {
        line.doing(&format!("deleting what is left of a failed attempt ({})", status_of(corpse)));
        client.delete_stack().stack_name(&stack.name).send().await.map_err(|error| anyhow::anyhow!(why(&error)))?;
        wait_until_gone(client, &stack.name).await?;
        found = None;
    }
    let kind = match found.as_ref().map(status_of) {
        None | Some("REVIEW_IN_PROGRESS") => ChangeSetType::Create,
        Some(_) => ChangeSetType::Update,
    };
    let change_set = format!("haven-{}", Uuid::now_v7());
    create(client, &target.environment, stack, &change_set, kind.clone()).await?;
    if !wait_until_computed(client, stack, &change_set, &kind).await? {
        let _ = client.delete_change_set().stack_name(&stack.name).change_set_name(&change_set).send().await;
        return Ok(Changed::Nothing);
    }
    let before: HashSet<String> = events(client, &stack.name).await?.into_iter().map(|event| event.id).collect();
    let executed = client.execute_change_set().stack_name(&stack.name).change_set_name(&change_set).send().await;
    executed.map_err(|error| anyhow::anyhow!("execute the change set of {}: {}", stack.name, why(&error)))?;
    watch(client, &stack.name, &before, line).await?;
    Ok(if kind == ChangeSetType::Create { Changed::Created } else { Changed::Updated })
}

async fn create(
    client: &Client,
    environment: &Environment,
    stack: &blueprint::Stack,
    change_set: &str,
    kind: ChangeSetType,
) -> anyhow::Result<()> {
    let mut call = client
        .create_change_set()
        .stack_name(&stack.name)
        .change_set_name(change_set)
        .change_set_type(kind.clone())
        .template_body(stack.template.to_string())
        .capabilities(Capability::CapabilityNamedIam)
        .description(stack.about);
    if kind == ChangeSetType::Create {
        // So that a failed first attempt leaves no corpse.
        call = call.on_stack_failure(OnStackFailure::Delete);
    }
    for (key, value) in [("Environment", environment.name.as_str()), ("Service", "brew-haven"), ("ManagedBy", "haven")]
    {
        call = call.tags(Tag::builder().key(key).value(value).build());
    }
    match call.send().await {
        Ok(_) => Ok(()),
        Err(error) => bail!("make a change set for {}: {}", stack.name, why(&error)),
    }
}

/// False when there is nothing to change, which CloudFormation reports as a failure with a reason.
async fn wait_until_computed(
    client: &Client,
    stack: &blueprint::Stack,
    change_set: &str,
    kind: &ChangeSetType,
) -> anyhow::Result<bool> {
    let begun = std::time::Instant::now();
    let mut pause = LOOK.0;
    loop {
        let described = client.describe_change_set().stack_name(&stack.name).change_set_name(change_set).send().await;
        let described =
            described.map_err(|error| anyhow::anyhow!("read the change set of {}: {}", stack.name, why(&error)))?;
        let reason = described.status_reason().unwrap_or_default();
        match described.status() {
            Some(ChangeSetStatus::CreateComplete) => {
                return Ok(*kind == ChangeSetType::Create || !described.changes().is_empty());
            }
            Some(ChangeSetStatus::Failed) if says_no_change(reason) => return Ok(false),
            Some(ChangeSetStatus::Failed) => bail!("the change set of {} failed: {reason}", stack.name),
            _ if begun.elapsed() > COMPUTED_WITHIN => {
                bail!("the change set of {} was not computed within {} s", stack.name, COMPUTED_WITHIN.as_secs())
            }
            _ => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

fn says_no_change(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("didn't contain changes")
        || reason.contains("no updates are to be performed")
        || reason.contains("no changes")
}

/// Follows the events until the stack rests.
async fn watch(client: &Client, name: &str, before: &HashSet<String>, line: &Line) -> anyhow::Result<()> {
    let mut pause = LOOK.0;
    loop {
        let stack = find(client, name).await?;
        let seen: Vec<Seen> = events(client, name)
            .await
            .unwrap_or_default()
            .into_iter()
            .filter(|event| !before.contains(&event.id))
            .collect();
        let Some(stack) = stack else {
            // A first attempt that failed was taken away again.
            bail!("{}", failure(name, "was rolled back and deleted", &seen));
        };
        let status = status_of(&stack);
        if is_at_rest(status) {
            return if is_good(status) { Ok(()) } else { bail!("{}", failure(name, status, &seen)) };
        }
        if let Some(last) = seen.last() {
            line.doing(&format!("{} {}", last.resource, last.status.to_ascii_lowercase().replace('_', " ")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

/// The cause first, then what became of the stack.
fn failure(name: &str, status: &str, seen: &[Seen]) -> String {
    match root_cause(seen) {
        Some(cause) => format!("{}\n  so the stack {name} is {status}", explain(cause)),
        None => format!("the stack {name} is {status}, and CloudFormation gave no reason"),
    }
}

/// All events of the stack, oldest first.
async fn events(client: &Client, name: &str) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut pages = client.describe_stack_events().stack_name(name).into_paginator().send();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => seen.extend(page.stack_events().iter().map(Seen::from)),
            Err(error) if why(&error).contains("does not exist") => break,
            Err(error) => bail!("read the events of {name}: {}", why(&error)),
        }
    }
    seen.reverse();
    Ok(seen)
}

pub async fn wait_until_gone(client: &Client, name: &str) -> anyhow::Result<()> {
    let mut pause = LOOK.0;
    loop {
        match find(client, name).await?.as_ref().map(status_of) {
            None | Some("DELETE_COMPLETE") => return Ok(()),
            Some("DELETE_FAILED") => {
                let seen = events(client, name).await.context("find out why")?;
                bail!("{}", failure(name, "DELETE_FAILED", &seen));
            }
            Some(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

fn is_corpse(status: &str) -> bool {
    matches!(status, "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" | "DELETE_FAILED")
}

fn is_at_rest(status: &str) -> bool {
    !status.ends_with("_IN_PROGRESS")
}

fn is_good(status: &str) -> bool {
    matches!(status, "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_told_from_failure() {
        assert!(says_no_change("The submitted information didn't contain changes. Submit different information."));
        assert!(says_no_change("No updates are to be performed."));
        assert!(!says_no_change("Template format error"));
    }

    #[test]
    fn a_status_nobody_knows_is_at_rest_and_not_good() {
        assert!(is_at_rest("SOMETHING_NEW") && !is_good("SOMETHING_NEW"));
        assert!(!is_at_rest("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"));
        assert!(!is_good("UPDATE_ROLLBACK_COMPLETE"));
    }
}
