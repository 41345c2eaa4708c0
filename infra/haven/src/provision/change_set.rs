//! One stack by one change set: made, read, executed, watched to its end.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{
    Capability, Change as SdkChange, ChangeAction, ChangeSetStatus, ChangeSetType, OnStackFailure, Replacement, Stack,
    TemplateStage,
};
use blueprint::consequence::{self, Change, Said};
use serde_json::Value;
use uuid::Uuid;

use super::events::{Seen, explain, root_cause};
use super::guard::Named;
use super::protection::Protection;
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

/// A change set that waits to be executed.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    pub arn: String,
    /// Whether it makes the stack.
    pub creates: bool,
    /// What it would do, worst first.
    pub changes: Vec<Change>,
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

/// The template that a stack was last brought to; null for a stack that is not there or was not made by us.
pub async fn deployed_template(client: &Client, name: &str) -> anyhow::Result<Value> {
    match client.get_template().stack_name(name).template_stage(TemplateStage::Original).send().await {
        Ok(got) => Ok(serde_json::from_str(got.template_body().unwrap_or_default()).unwrap_or(Value::Null)),
        Err(error) => {
            let said = why(&error);
            if said.contains("does not exist") { Ok(Value::Null) } else { bail!("read the template of {name}: {said}") }
        }
    }
}

/// Brings the stack to its template, unless that takes what holds data and was not named.
pub async fn apply(target: &Target, stack: &blueprint::Stack, named: &Named, line: &Line) -> anyhow::Result<Changed> {
    let Some(change_set) = prepare(target, stack, line).await? else { return Ok(Changed::Nothing) };
    execute(target, stack, &change_set, named, line).await
}

/// Makes the change set and reads it. `None` when there is nothing to change.
pub async fn prepare(target: &Target, stack: &blueprint::Stack, line: &Line) -> anyhow::Result<Option<ChangeSet>> {
    let client = &target.cloudformation;
    let mut found = find(client, &stack.name).await?;
    // A stack that never came to be cannot be changed, only made again.
    if let Some(corpse) = found.as_ref().filter(|stack| is_corpse(status_of(stack))) {
        line.doing(&format!("deleting what is left of a failed attempt ({})", status_of(corpse)));
        client.delete_stack().stack_name(&stack.name).send().await.map_err(|error| anyhow::anyhow!(why(&error)))?;
        wait_until_gone(client, &stack.name).await?;
        found = None;
    }
    let creates = matches!(found.as_ref().map(status_of), None | Some("REVIEW_IN_PROGRESS"));
    let before = if creates { Value::Null } else { deployed_template(client, &stack.name).await? };
    line.doing("asking CloudFormation what would change");
    let arn = create(target, stack, creates).await?;
    match computed(client, &stack.name, &arn).await {
        Ok(Some(said)) if creates || !said.is_empty() => {
            let changes = consequence::merged(consequence::diff(&before, &stack.template), &said);
            Ok(Some(ChangeSet { arn, creates, changes }))
        }
        Ok(_) => {
            discard(client, &stack.name, &arn).await;
            Ok(None)
        }
        Err(error) => {
            discard(client, &stack.name, &arn).await;
            Err(error)
        }
    }
}

/// Reads a change set that was made earlier.
///
/// # Errors
/// When it is gone, or cannot be executed any more.
pub async fn read(target: &Target, stack: &blueprint::Stack, arn: &str, creates: bool) -> anyhow::Result<ChangeSet> {
    let client = &target.cloudformation;
    let before = if creates { Value::Null } else { deployed_template(client, &stack.name).await? };
    let said = computed(client, &stack.name, arn).await?;
    let said = said.with_context(|| format!("the change set of {} is not what it was: plan again", stack.name))?;
    let changes = consequence::merged(consequence::diff(&before, &stack.template), &said);
    Ok(ChangeSet { arn: arn.to_owned(), creates, changes })
}

/// Executes a change set and follows it to its end.
///
/// # Errors
/// Before anything is done, when it takes what holds data and was not named; else the cause of the failure.
pub async fn execute(
    target: &Target,
    stack: &blueprint::Stack,
    change_set: &ChangeSet,
    named: &Named,
    line: &Line,
) -> anyhow::Result<Changed> {
    let client = &target.cloudformation;
    if let Err(refused) = named.check(stack.slug, &change_set.changes) {
        discard(client, &stack.name, &change_set.arn).await;
        return Err(refused);
    }
    let protection = Protection::of(target, stack);
    if !change_set.creates {
        protection.lift(named).await?;
    }
    let before: HashSet<String> = events(client, &stack.name).await?.into_iter().map(|event| event.id).collect();
    let executed = client.execute_change_set().stack_name(&stack.name).change_set_name(&change_set.arn).send().await;
    let ended = match executed {
        Ok(_) => watch(client, &stack.name, &before, line).await,
        Err(error) => Err(anyhow::anyhow!("execute the change set of {}: {}", stack.name, why(&error))),
    };
    // Whatever became of it; a stack that was rolled back and deleted has nothing to protect.
    let protected = protection.restore().await;
    ended?;
    protected?;
    Ok(if change_set.creates { Changed::Created } else { Changed::Updated })
}

/// Forgets a change set, and the empty stack that a first one is kept in.
pub async fn discard(client: &Client, stack: &str, arn: &str) {
    let _ = client.delete_change_set().stack_name(stack).change_set_name(arn).send().await;
    if let Ok(Some(found)) = find(client, stack).await
        && status_of(&found) == "REVIEW_IN_PROGRESS"
    {
        let _ = client.delete_stack().stack_name(stack).send().await;
    }
}

async fn create(target: &Target, stack: &blueprint::Stack, creates: bool) -> anyhow::Result<String> {
    let kind = if creates { ChangeSetType::Create } else { ChangeSetType::Update };
    let mut call = target
        .cloudformation
        .create_change_set()
        .stack_name(&stack.name)
        .change_set_name(format!("haven-{}", Uuid::now_v7()))
        .change_set_type(kind)
        .template_body(stack.template.to_string())
        .capabilities(Capability::CapabilityNamedIam)
        .description(stack.about)
        .set_tags(Some(target.tags()));
    if creates {
        // So that a failed first attempt leaves no corpse.
        call = call.on_stack_failure(OnStackFailure::Delete);
    }
    match call.send().await {
        Ok(made) => made.id.context("CloudFormation gave the change set no name"),
        Err(error) => bail!("make a change set for {}: {}", stack.name, why(&error)),
    }
}

/// What a change set would do, once CloudFormation has worked it out; `None` when that is nothing, which CloudFormation
/// reports as a failure with a reason.
pub async fn computed(client: &Client, stack: &str, arn: &str) -> anyhow::Result<Option<Vec<Said>>> {
    let begun = std::time::Instant::now();
    let mut pause = LOOK.0;
    loop {
        let mut call =
            client.describe_change_set().stack_name(stack).change_set_name(arn).include_property_values(true);
        let mut said = Vec::new();
        loop {
            let page = call.clone().send().await;
            let page = page.map_err(|error| anyhow::anyhow!("read the change set of {stack}: {}", why(&error)))?;
            let reason = page.status_reason().unwrap_or_default();
            match page.status() {
                Some(ChangeSetStatus::CreateComplete) => {
                    said.extend(page.changes().iter().filter_map(said_of));
                    match page.next_token() {
                        Some(token) => call = call.next_token(token),
                        None => return Ok(Some(said)),
                    }
                }
                Some(ChangeSetStatus::Failed) if says_no_change(reason) => return Ok(None),
                Some(ChangeSetStatus::Failed) => bail!("the change set of {stack} failed: {reason}"),
                _ if begun.elapsed() > COMPUTED_WITHIN => {
                    bail!("the change set of {stack} was not computed within {} s", COMPUTED_WITHIN.as_secs())
                }
                _ => break,
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

fn said_of(change: &SdkChange) -> Option<Said> {
    let change = change.resource_change()?;
    let value = |text: Option<&str>| text.map_or(Value::Null, |text| Value::String(text.to_owned()));
    let properties = change.details().iter().filter_map(|detail| {
        let target = detail.target()?;
        let name = target
            .path()
            .map(|path| path.trim_start_matches("/Properties/").replace('/', "."))
            .or(target.name().map(str::to_owned))?;
        Some((name, value(target.before_value()), value(target.after_value())))
    });
    Some(Said {
        resource: change.logical_resource_id()?.to_owned(),
        kind: change.resource_type().unwrap_or_default().to_owned(),
        removes: change.action() == Some(&ChangeAction::Remove),
        replaces: match change.replacement() {
            Some(Replacement::True) => Some(true),
            Some(Replacement::Conditional) => Some(false),
            _ => None,
        },
        policy: change.policy_action().map(|policy| policy.as_str().to_owned()).unwrap_or_default(),
        properties: properties.collect(),
    })
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
pub async fn events(client: &Client, name: &str) -> anyhow::Result<Vec<Seen>> {
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
