//! Change sets of one stack: creates, reads and executes one, and watches the stack until the end.

mod access_denied;
mod cause;
mod events;
pub(crate) mod protection;
mod task_failure;

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{
    Capability, Change as SdkChange, ChangeAction, ChangeSetStatus, ChangeSetType, DeploymentMode,
    OnStackFailure, Replacement,
};
use blueprint::consequence::{self, Change, Said};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::aws_failure::failure_to;
use crate::change_set::cause::{events, told};
use crate::change_set::events::Seen;
use crate::change_set::protection::Protection;
use crate::change_set::task_failure::last_words;
use crate::deployed_stack::{DeployedStack, deployed_template};
use crate::execution_role::role_for;
use crate::guard::Named;
use crate::report::Line;
use crate::stack::{find, poll_until, status_of};
use crate::target::Target;

/// The time in which CloudFormation must compute a change set. Normally this takes seconds;
/// CloudFormation's own limit is an hour.
const COMPUTED_WITHIN: Duration = Duration::from_secs(600);

/// The prefix of the names of our change sets.
pub(crate) const CHANGE_SET_PREFIX: &str = "haven-";

/// The effect of a change set, or of a deployment, on one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Created,
    Updated,
    Unchanged,
}

/// A change set that was not executed yet.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    pub arn: String,
    /// Whether the change set creates the stack.
    pub creates: bool,
    /// The changes, worst first.
    pub changes: Vec<Change>,
}

/// Updates a stack to its template, unless a change would remove or replace a stateful resource
/// that `named` does not contain.
///
/// # Errors
/// As [`prepare`] and [`execute`].
pub async fn apply(
    target: &Target,
    stack: &blueprint::Stack,
    named: &Named,
    line: &Line,
) -> anyhow::Result<Outcome> {
    let standing = DeployedStack::of(&target.cloudformation, &stack.name).await?;
    let Some(change_set) = prepare(target, stack, &standing, None, line).await? else {
        return Ok(Outcome::Unchanged);
    };
    execute(target, stack, &change_set, named, line).await
}

/// Creates the change set of a stack and waits until it is computed. Returns `None` if nothing
/// would change. Deletes the rest of a failed first attempt before.
///
/// With [`DeploymentMode::RevertDrift`] the change set is drift-aware: it compares the template with
/// the actual resources, and so undoes changes by hand. At an endpoint that does not support this
/// mode it is always empty.
///
/// # Errors
/// When CloudFormation refuses the change set, or does not compute it in time.
pub async fn prepare(
    target: &Target,
    stack: &blueprint::Stack,
    standing: &DeployedStack,
    mode: Option<DeploymentMode>,
    line: &Line,
) -> anyhow::Result<Option<ChangeSet>> {
    let client = &target.cloudformation;
    let mut found = standing.stack.as_ref();
    // CloudFormation cannot update a stack whose creation failed. Such a stack must be deleted and
    // created again.
    if let Some(corpse) = found.filter(|stack| is_corpse(status_of(stack))) {
        line.doing(&format!(
            "deleting the remains of a failed attempt ({})",
            status_of(corpse)
        ));
        let deleted = client.delete_stack().stack_name(&stack.name).send().await;
        deleted.map_err(failure_to(format!("delete the remains of {}", stack.name)))?;
        wait_until_gone(target, &stack.name).await?;
        found = None;
    }
    let creates = matches!(found.map(status_of), None | Some("REVIEW_IN_PROGRESS"));
    let before = if creates {
        &Value::Null
    } else {
        &standing.template
    };
    line.doing("creating a change set");
    let arn = create(target, stack, creates, mode).await?;
    match computed(client, &stack.name, &arn).await {
        Ok(Some(said)) if creates || !said.is_empty() => {
            let changes = consequence::merged(consequence::diff(before, &stack.template), &said);
            Ok(Some(ChangeSet {
                arn,
                creates,
                changes,
            }))
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

/// Reads a change set that was created earlier.
///
/// # Errors
/// When the change set is gone, or can no longer be executed.
pub async fn read(
    target: &Target,
    stack: &blueprint::Stack,
    arn: &str,
    creates: bool,
) -> anyhow::Result<ChangeSet> {
    let client = &target.cloudformation;
    let before = if creates {
        Value::Null
    } else {
        deployed_template(client, &stack.name).await?
    };
    let said = computed(client, &stack.name, arn).await?;
    let said = said.with_context(|| {
        format!(
            "the change set of {} has changed since the plan: run `haven plan` again",
            stack.name
        )
    })?;
    let changes = consequence::merged(consequence::diff(&before, &stack.template), &said);
    Ok(ChangeSet {
        arn: arn.to_owned(),
        creates,
        changes,
    })
}

/// Executes a change set and watches the stack until the end.
///
/// # Errors
/// Before anything is done, when a change needs `--allow` and does not have it. Afterwards, the
/// cause of the failure.
pub async fn execute(
    target: &Target,
    stack: &blueprint::Stack,
    change_set: &ChangeSet,
    named: &Named,
    line: &Line,
) -> anyhow::Result<Outcome> {
    let client = &target.cloudformation;
    if let Err(refused) = named.check(stack.slug, &change_set.changes) {
        discard(client, &stack.name, &change_set.arn).await;
        return Err(refused);
    }
    let protection = Protection::of(target, stack);
    if !change_set.creates {
        protection.lift(named).await?;
    }
    let before: HashSet<String> = events(client, &stack.name)
        .await?
        .into_iter()
        .map(|event| event.id)
        .collect();
    let id = find(client, &stack.name)
        .await?
        .and_then(|found| found.stack_id)
        .unwrap_or_else(|| stack.name.clone());
    let executed = client
        .execute_change_set()
        .stack_name(&stack.name)
        .change_set_name(&change_set.arn)
        .send()
        .await;
    let ended = match executed {
        Ok(_) => watch(target, &stack.name, &id, &before, line).await,
        Err(error) => {
            let what = format!("execute the change set of {}", stack.name);
            Err(failure_to(what)(error))
        }
    };
    // Restore the protection after a failure too. A stack that was rolled back and deleted needs
    // none.
    let protected = protection.restore().await;
    ended?;
    protected?;
    Ok(if change_set.creates {
        Outcome::Created
    } else {
        Outcome::Updated
    })
}

/// Deletes a change set, and the empty stack if the change set would have created one.
pub(crate) async fn discard(client: &Client, stack: &str, arn: &str) {
    let _ = client
        .delete_change_set()
        .stack_name(stack)
        .change_set_name(arn)
        .send()
        .await;
    if let Ok(Some(found)) = find(client, stack).await
        && status_of(&found) == "REVIEW_IN_PROGRESS"
    {
        let _ = client.delete_stack().stack_name(stack).send().await;
    }
}

async fn create(
    target: &Target,
    stack: &blueprint::Stack,
    creates: bool,
    mode: Option<DeploymentMode>,
) -> anyhow::Result<String> {
    let kind = if creates {
        ChangeSetType::Create
    } else {
        ChangeSetType::Update
    };
    let mut call = target
        .cloudformation
        .create_change_set()
        .stack_name(&stack.name)
        .change_set_name(format!("{CHANGE_SET_PREFIX}{}", Uuid::now_v7()))
        .change_set_type(kind)
        .template_body(stack.template.to_string())
        .capabilities(Capability::CapabilityNamedIam)
        .description(stack.about)
        .set_tags(Some(target.tags()))
        .set_deployment_mode(mode)
        .set_role_arn(role_for(target, stack).await?);
    if creates {
        // A failed creation then leaves no stack that must be deleted first.
        call = call.on_stack_failure(OnStackFailure::Delete);
    }
    let made = call.send().await;
    let made = made.map_err(failure_to(format!(
        "create a change set for {}",
        stack.name
    )))?;
    made.id
        .context("CloudFormation returned no name for the change set")
}

/// Waits until CloudFormation has computed a change set, and returns its changes. Returns `None` if
/// there are none, which CloudFormation reports as a failure with a reason.
async fn computed(client: &Client, stack: &str, arn: &str) -> anyhow::Result<Option<Vec<Said>>> {
    let begun = std::time::Instant::now();
    poll_until(async || {
        let mut call = client
            .describe_change_set()
            .stack_name(stack)
            .change_set_name(arn)
            .include_property_values(true);
        let mut said = Vec::new();
        loop {
            let page = call.clone().send().await;
            let page = page.map_err(failure_to(format!("read the change set of {stack}")))?;
            let reason = page.status_reason().unwrap_or_default();
            match page.status() {
                Some(ChangeSetStatus::CreateComplete) => {
                    said.extend(page.changes().iter().filter_map(said_of));
                    match page.next_token() {
                        Some(token) => call = call.next_token(token),
                        None => return Ok(Some(Some(said))),
                    }
                }
                Some(ChangeSetStatus::Failed) if says_no_change(reason) => {
                    return Ok(Some(None));
                }
                Some(ChangeSetStatus::Failed) => {
                    let cause = cause::of_change_set(client, arn).await;
                    let cause = cause
                        .map(|cause| format!("\n  {cause}"))
                        .unwrap_or_default();
                    bail!("the change set of {stack} failed: {reason}{cause}")
                }
                _ if begun.elapsed() > COMPUTED_WITHIN => {
                    bail!(
                        "the change set of {stack} was not computed within {} s",
                        COMPUTED_WITHIN.as_secs()
                    )
                }
                _ => return Ok(None),
            }
        }
    })
    .await
}

fn said_of(change: &SdkChange) -> Option<Said> {
    let change = change.resource_change()?;
    let value =
        |text: Option<&str>| text.map_or(Value::Null, |text| Value::String(text.to_owned()));
    let properties = change.details().iter().filter_map(|detail| {
        let target = detail.target()?;
        let name = target
            .path()
            .map(|path| path.trim_start_matches("/Properties/").replace('/', "."))
            .or(target.name().map(str::to_owned))?;
        Some((
            name,
            value(target.before_value()),
            value(target.after_value()),
        ))
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
        policy: change
            .policy_action()
            .map(|policy| policy.as_str().to_owned())
            .unwrap_or_default(),
        properties: properties.collect(),
    })
}

fn says_no_change(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("didn't contain changes")
        || reason.contains("no updates are to be performed")
        || reason.contains("no changes")
}

/// Watches the events until the stack is no longer in progress. `id` finds the events of a stack
/// that was deleted too.
async fn watch(
    target: &Target,
    name: &str,
    id: &str,
    before: &HashSet<String>,
    line: &Line,
) -> anyhow::Result<()> {
    let client = &target.cloudformation;
    let mut evidence = None;
    poll_until(async || {
        let stack = find(client, name).await?;
        let seen: Vec<Seen> = events(client, id)
            .await
            .unwrap_or_default()
            .into_iter()
            .filter(|event| !before.contains(&event.id))
            .collect();
        // Collect the evidence now: a rollback deletes the service, and its tasks cannot be found
        // then.
        let service = seen
            .iter()
            .find(|event| event.is_failure() && event.kind == "AWS::ECS::Service");
        if let (None, Some(service)) = (&evidence, service) {
            evidence = Some(last_words(&target.config, &service.physical).await);
        }
        let evidence = evidence.as_deref().unwrap_or_default();
        let Some(stack) = stack else {
            // A first attempt that failed was deleted.
            bail!(
                "{}",
                told(target, name, "was rolled back and deleted", &seen, evidence).await
            );
        };
        let status = status_of(&stack);
        if is_at_rest(status) {
            return match is_good(status) {
                true => Ok(Some(())),
                false => bail!("{}", told(target, name, status, &seen, evidence).await),
            };
        }
        if let Some(last) = seen.last() {
            line.doing(&format!(
                "{} {}",
                last.resource,
                last.status.to_ascii_lowercase().replace('_', " ")
            ));
        }
        Ok(None)
    })
    .await
}

/// Waits until a stack is deleted.
///
/// # Errors
/// The cause, when the deletion fails.
pub(crate) async fn wait_until_gone(target: &Target, name: &str) -> anyhow::Result<()> {
    let client = &target.cloudformation;
    poll_until(
        async || match find(client, name).await?.as_ref().map(status_of) {
            None => Ok(Some(())),
            Some("DELETE_FAILED") => {
                let seen = events(client, name)
                    .await
                    .context("read the cause of the failure")?;
                bail!("{}", told(target, name, "DELETE_FAILED", &seen, &[]).await);
            }
            Some(_) => Ok(None),
        },
    )
    .await
}

/// Returns whether a stack with this status cannot be updated, only deleted.
fn is_corpse(status: &str) -> bool {
    matches!(
        status,
        "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" | "DELETE_FAILED"
    )
}

fn is_at_rest(status: &str) -> bool {
    !status.ends_with("_IN_PROGRESS")
}

fn is_good(status: &str) -> bool {
    matches!(
        status,
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_set_without_changes_is_not_a_failure() {
        assert!(says_no_change(
            "The submitted information didn't contain changes. Submit different information."
        ));
        assert!(says_no_change("No updates are to be performed."));
        assert!(!says_no_change("Template format error"));
    }

    #[test]
    fn an_unknown_status_is_final_and_not_a_success() {
        assert!(is_at_rest("SOMETHING_NEW") && !is_good("SOMETHING_NEW"));
        assert!(!is_at_rest("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"));
        assert!(!is_good("UPDATE_ROLLBACK_COMPLETE"));
    }
}
