//! Applies a plan exactly. If anything has changed since the plan was made, the plan is refused
//! before anything is done.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context as _, bail};
use blueprint::Stack;
use blueprint::consequence::Change;
use time::OffsetDateTime;

use crate::change_set::{ChangeSet, Outcome, discard, execute, prepare, read};
use crate::deploy::{Deployed, StackOutcome, in_waves};
use crate::deployed_stack::DeployedStack;
use crate::digest::sha256;
use crate::drift::drifted::StackDrift;
use crate::plan::{Plan, StackAction, StackPlan};
use crate::report::{Line, Reporter};
use crate::target::Target;
use crate::{account, drift};

/// Applies a plan, with stacks that do not depend on each other at the same time.
///
/// # Errors
/// Before the first change, a list of everything that differs from the plan. Afterwards, the causes
/// of the first failures.
pub async fn apply(target: &Target, plan: &Plan, reporter: &Reporter) -> anyhow::Result<Deployed> {
    plan.check()?;
    let stacks = blueprint::stacks(&target.environment);
    let moved = moved(target, plan, &stacks).await?;
    if !moved.is_empty() {
        bail!(
            "the plan is out of date; nothing was applied. Run `haven plan` again:\n  {}",
            moved.join("\n  ")
        );
    }
    let planned: HashMap<&str, &StackPlan> = plan
        .stacks
        .iter()
        .map(|stack| (stack.name.as_str(), stack))
        .collect();
    let stacks = in_waves(stacks, async |stack: &Stack| {
        let planned = planned
            .get(stack.name.as_str())
            .context("the plan has every stack")?;
        apply_stack(target, plan, stack, planned, reporter).await
    })
    .await?;
    Ok(Deployed {
        stacks,
        left_out: blueprint::left_out(&target.environment),
    })
}

/// Returns a line for everything that differs from the time when the plan was made.
async fn moved(target: &Target, plan: &Plan, stacks: &[Stack]) -> anyhow::Result<Vec<String>> {
    let mut moved = Vec::new();
    let now = OffsetDateTime::now_utc();
    if now > plan.expires_at {
        let expired = haven_console::time::absolute(plan.expires_at);
        moved.push(format!("it expired at {expired}"));
    }
    let account = account::expected_account(target).await?;
    if account != plan.account {
        moved.push(format!(
            "it was made for account {}, and this is {account}",
            plan.account
        ));
    }
    let region = &target.environment.settings.account.region;
    if *region != plan.region {
        moved.push(format!(
            "it was made for region {}, and this is {region}",
            plan.region
        ));
    }
    if !moved.is_empty() {
        return Ok(moved);
    }
    if stacks.len() != plan.stacks.len() {
        moved.push(format!(
            "it has {} stacks, and now there are {}",
            plan.stacks.len(),
            stacks.len()
        ));
    }
    let ours: Vec<&Stack> = stacks.iter().collect();
    let standings = DeployedStack::of_all(&target.cloudformation, &ours).await?;
    let standings: Vec<(&Stack, &DeployedStack)> = stacks.iter().zip(&standings).collect();
    for planned in &plan.stacks {
        let Some((stack, standing)) = standings
            .iter()
            .find(|(stack, _)| stack.name == planned.name)
        else {
            moved.push(format!(
                "{}: the code does not define this stack any more",
                planned.name
            ));
            continue;
        };
        if sha256(&stack.template.to_string()) != planned.template_sha256 {
            moved.push(format!(
                "{}: its template has changed, by code or by settings",
                planned.name
            ));
        }
        // Compare with the drift of the plan; new drift is reported below.
        if standing.fingerprint(&planned.drift) != planned.live {
            moved.push(format!(
                "{}: it was deployed again after the plan",
                planned.name
            ));
        }
    }
    moved.extend(moved_by_hand(target, plan, &standings).await);
    moved.extend(moved_parameters(
        plan,
        &account::parameter_versions(target).await?,
    ));
    Ok(moved)
}

/// Returns a line for each stack that was changed by hand since the plan was made. Stacks whose
/// drift was unknown then are skipped.
async fn moved_by_hand(
    target: &Target,
    plan: &Plan,
    stacks: &[(&Stack, &DeployedStack)],
) -> Vec<String> {
    let planned = |name: &str| plan.stacks.iter().find(|planned| planned.name == name);
    let is_known =
        |name: &str| planned(name).is_some_and(|planned| planned.drift_unknown.is_none());
    let known: Vec<_> = stacks
        .iter()
        .copied()
        .filter(|(stack, _)| is_known(&stack.name))
        .collect();
    let mut moved = Vec::new();
    for StackDrift {
        name,
        drift,
        unknown,
        ..
    } in drift::look(target, &known, &Reporter::quiet()).await
    {
        let before = planned(&name)
            .map(|planned| planned.drift.as_slice())
            .unwrap_or_default();
        if let Some(unknown) = unknown {
            moved.push(format!(
                "{name}: drift cannot be detected any more: {unknown}"
            ));
        } else if drift != before {
            let changed = drift.iter().filter(|drifted| !before.contains(drifted));
            let undone = before
                .iter()
                .filter(|old| !drift.iter().any(|new| new.resource == old.resource));
            let names: Vec<&str> = changed
                .chain(undone)
                .map(|drifted| drifted.resource.as_str())
                .collect();
            moved.push(format!(
                "{name}: changed by hand since: {}",
                names.join(", ")
            ));
        }
    }
    moved
}

/// Returns a line for each parameter whose version differs from the plan.
fn moved_parameters(plan: &Plan, now: &std::collections::BTreeMap<String, i64>) -> Vec<String> {
    let names = plan.parameters.keys().chain(
        now.keys()
            .filter(|name| !plan.parameters.contains_key(*name)),
    );
    let version = |version: Option<&i64>| {
        version.map_or("missing".to_owned(), |version| {
            format!("at version {version}")
        })
    };
    names
        .filter(|name| plan.parameters.get(*name) != now.get(*name))
        .map(|name| {
            format!(
                "the parameter {name} was {} and is {}",
                version(plan.parameters.get(name)),
                version(now.get(name))
            )
        })
        .collect()
}

async fn apply_stack(
    target: &Target,
    plan: &Plan,
    stack: &Stack,
    planned: &StackPlan,
    reporter: &Reporter,
) -> anyhow::Result<StackOutcome> {
    let begun = Instant::now();
    let estimate = planned
        .last_took_s
        .map(|seconds| format!(", about {seconds:.0} s"))
        .unwrap_or_default();
    let line = reporter.begin(&stack.name, &format!("{}{estimate}", stack.about));
    let changed = match planned.action {
        StackAction::Unchanged => Ok(Outcome::Unchanged),
        StackAction::Create | StackAction::Update => {
            change(target, plan, stack, planned, &line).await
        }
    };
    StackOutcome::of(&stack.name, changed, begun.elapsed(), line)
}

async fn change(
    target: &Target,
    plan: &Plan,
    stack: &Stack,
    planned: &StackPlan,
    line: &Line,
) -> anyhow::Result<Outcome> {
    let change_set = match &planned.change_set {
        Some(arn) => Some(read(target, stack, arn, planned.live.is_empty()).await?),
        // The plan has no change set, because the stack depended on others that now exist.
        None => {
            let standing = DeployedStack::of(&target.cloudformation, &stack.name).await?;
            prepare(target, stack, &standing, None, line).await?
        }
    };
    let Some(change_set) = change_set else {
        return Ok(Outcome::Unchanged);
    };
    if let Some(surprise) = surprise(&planned.changes, &change_set) {
        discard(&target.cloudformation, &stack.name, &change_set.arn).await;
        bail!(
            "{}: stopped, because the plan does not contain this change: {} {}",
            stack.name,
            surprise.resource,
            surprise.consequence
        );
    }
    execute(target, stack, &change_set, &plan.named(), line).await
}

/// Returns the first change that was not planned or that is worse than planned.
fn surprise<'a>(planned: &[Change], change_set: &'a ChangeSet) -> Option<&'a Change> {
    change_set.changes.iter().find(|change| {
        let expected = planned
            .iter()
            .find(|planned| planned.resource == change.resource);
        expected.is_none_or(|planned| {
            change.rung > planned.rung || (change.must_be_named() && !planned.must_be_named())
        })
    })
}
