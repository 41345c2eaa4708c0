//! Plans: the changes that a deployment would make, worst first. A plan is sealed, so that later
//! exactly these changes are made or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use blueprint::consequence::{self, Change};
use blueprint::cost::{self, CostDelta, MicroUsd};
use blueprint::policy::Finding;
use blueprint::{Environment, Stack};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::aws_failure::failure_to;
use crate::change_set::{ChangeSet, discard, prepare};
use crate::deployed_stack::DeployedStack;
use crate::digest::sha256;
use crate::drift::drifted::{Drifted, StackDrift};
use crate::guard::Named;
use crate::report::Reporter;
use crate::stack::status_of;
use crate::target::Target;
use crate::{account, drift};

/// The format version of the plan file.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// The content of a plan file.
pub struct Plan {
    pub format: u32,
    pub environment: String,
    /// The overrides of settings, in the form of `--set`.
    pub set: Vec<String>,
    pub account: String,
    pub region: String,
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// The stateful resources that may be removed or replaced, as `stack/LogicalId`.
    pub named: Vec<String>,
    /// All stacks, in the order of their deployment.
    pub stacks: Vec<StackPlan>,
    /// Stacks of this environment that the current code does not make. The plan does not change
    /// them.
    pub forgotten: Vec<String>,
    /// The version of each parameter, by name.
    pub parameters: BTreeMap<String, i64>,
    /// The findings of our policy. A plan with findings cannot be applied.
    pub findings: Vec<Finding>,
    /// The monthly cost before and after. `None` for a local AWS, and for regions without prices.
    pub cost: Option<CostDelta>,
    /// The highest accepted monthly cost in USD.
    pub budget_usd: Option<f64>,
    /// The SHA-256 hash of everything else.
    pub seal: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// The planned changes of one stack.
pub struct StackPlan {
    pub slug: String,
    pub name: String,
    pub action: StackAction,
    pub template_sha256: String,
    /// The fingerprint of the deployed stack, drift included. Empty if the stack does not exist.
    pub live: String,
    /// Changes that were made by hand since the last deployment.
    pub drift: Vec<Drifted>,
    /// The reason if the drift is unknown: the detection failed, or was skipped.
    pub drift_unknown: Option<String>,
    /// The change set to execute. `None` if nothing changes, or if the change set can only be
    /// created after the exports in `waits_for` exist.
    pub change_set: Option<String>,
    /// Exports of other stacks that do not exist yet.
    pub waits_for: BTreeSet<String>,
    pub changes: Vec<Change>,
    /// The duration in seconds of the last change that was made from this machine.
    pub last_took_s: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
/// The action of a plan on one stack.
pub enum StackAction {
    Create,
    Update,
    Unchanged,
}

impl Plan {
    /// Returns whether the plan changes nothing.
    pub fn is_empty(&self) -> bool {
        self.stacks
            .iter()
            .all(|stack| stack.action == StackAction::Unchanged)
    }

    /// Returns the stateful resources that the user named.
    pub fn named(&self) -> Named {
        Named::new(&self.named)
    }

    /// Checks that the plan may be applied.
    ///
    /// # Errors
    /// All reasons against the plan: stateful resources that were not named, findings of our
    /// policy, and a cost above the budget.
    pub fn check(&self) -> anyhow::Result<()> {
        let named = self.named();
        let unnamed = self
            .stacks
            .iter()
            .filter_map(|stack| named.check(&stack.slug, &stack.changes).err());
        let mut refused: Vec<String> = unnamed.map(|refused| refused.to_string()).collect();
        refused.extend(self.findings.iter().map(|finding| {
            let Finding {
                rule,
                stack,
                resource,
                message,
                ..
            } = finding;
            format!("refused by policy {rule}: {stack}/{resource}: {message}")
        }));
        if let (Some(cost), Some(budget)) = (&self.cost, self.budget_usd)
            && cost.after > MicroUsd::from_usd(budget)
        {
            refused.push(format!(
                "refused by budget: it would cost USD {} a month, and may cost {budget:.2}",
                cost.after
            ));
        }
        match refused.is_empty() {
            true => Ok(()),
            false => bail!("{}", refused.join("\n")),
        }
    }

    /// Returns all changes with the slug of their stack, worst first.
    pub fn changes(&self) -> Vec<(&str, &Change)> {
        worst_first(
            self.stacks
                .iter()
                .map(|stack| (stack.slug.as_str(), stack.changes.as_slice())),
        )
    }

    fn sealed(mut self) -> anyhow::Result<Plan> {
        self.seal = self.seal_of()?;
        Ok(self)
    }

    fn seal_of(&self) -> anyhow::Result<String> {
        let mut open = serde_json::to_value(self).context("write the plan")?;
        open["seal"] = Value::Null;
        Ok(sha256(&open.to_string()))
    }

    /// Reads a plan file.
    ///
    /// # Errors
    /// When the file cannot be read, has another format, or its seal does not match.
    pub fn read(path: &Path) -> anyhow::Result<Plan> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let plan: Plan = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not a plan of `haven plan`, or of another release",
                path.display()
            )
        })?;
        if plan.format != FORMAT {
            bail!(
                "{} has the format {}, and this haven reads {FORMAT}: run `haven plan` again",
                path.display(),
                plan.format
            );
        }
        if plan.seal != plan.seal_of()? {
            bail!(
                "{} was edited after it was made; nothing was applied. Run `haven plan` again",
                path.display()
            );
        }
        Ok(plan)
    }

    /// Writes the plan to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("write the plan")? + "\n";
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// Sorts changes with the slug of their stack, worst first. Changes of the same severity stay in
/// the order of their stacks.
pub fn worst_first<'a>(
    stacks: impl Iterator<Item = (&'a str, &'a [Change])>,
) -> Vec<(&'a str, &'a Change)> {
    let mut changes: Vec<(&str, &Change)> = stacks
        .flat_map(|(slug, changes)| changes.iter().map(move |change| (slug, change)))
        .collect();
    changes.sort_by_key(|(_, change)| std::cmp::Reverse(change.rung));
    changes
}

/// The options of a plan.
pub struct Options {
    pub named: Named,
    pub set: Vec<String>,
    pub valid_for: Duration,
    /// The duration in seconds of the last change of each stack, if it is known.
    pub seconds: BTreeMap<String, f64>,
    pub budget_usd: Option<f64>,
    /// Whether to detect changes by hand.
    pub drift: bool,
}

/// Creates a change set for every stack that can have one, and computes the changes of the others
/// from their templates.
///
/// # Errors
/// When the account differs from the settings, or CloudFormation refuses a template. No change set
/// remains: a failed plan deletes those that it has created.
pub async fn plan(target: &Target, options: &Options, reporter: &Reporter) -> anyhow::Result<Plan> {
    let stacks = blueprint::stacks(&target.environment);
    plan_of(target, &stacks, options, reporter).await
}

/// Makes a plan of the given stacks, which must be in the order of their dependencies.
///
/// # Errors
/// As [`plan`].
pub(crate) async fn plan_of(
    target: &Target,
    wanted: &[Stack],
    options: &Options,
    reporter: &Reporter,
) -> anyhow::Result<Plan> {
    let account = account::expected_account(target).await?;
    let exported = account::exports(target).await?.into_keys().collect();
    let standings =
        DeployedStack::of_all(&target.cloudformation, &wanted.iter().collect::<Vec<_>>()).await?;
    let stacks: Vec<(&Stack, &DeployedStack)> = wanted.iter().zip(&standings).collect();
    let cost = cost_delta(&target.environment, &stacks);
    let (forgotten, parameters) = (
        forgotten(target).await?,
        account::parameter_versions(target).await?,
    );
    let drifts = drifts(target, &stacks, options.drift, reporter).await;
    let stacks = plan_stacks(
        target,
        stacks.into_iter().zip(drifts),
        exported,
        &options.seconds,
        reporter,
    )
    .await?;
    let made_at = OffsetDateTime::now_utc();
    let plan = Plan {
        format: FORMAT,
        environment: target.environment.name.clone(),
        set: options.set.clone(),
        account,
        region: target.environment.settings.account.region.clone(),
        made_at,
        expires_at: made_at + options.valid_for,
        named: options.named.iter().cloned().collect(),
        forgotten,
        parameters,
        findings: findings(&target.environment, wanted),
        cost,
        budget_usd: options.budget_usd,
        stacks,
        seal: String::new(),
    };
    plan.sealed()
}

/// Plans the stacks one after the other, because each can use the exports of earlier ones. After a
/// failure, the created change sets are deleted.
async fn plan_stacks<'a>(
    target: &Target,
    stacks: impl Iterator<Item = ((&'a Stack, &'a DeployedStack), StackDrift)>,
    mut exported: BTreeSet<String>,
    seconds: &BTreeMap<String, f64>,
    reporter: &Reporter,
) -> anyhow::Result<Vec<StackPlan>> {
    let mut planned = Vec::new();
    for ((stack, standing), drift) in stacks {
        match plan_stack(target, stack, standing, drift, &exported, seconds, reporter).await {
            Ok(plan) => planned.push(plan),
            Err(error) => {
                forget(target, &planned).await;
                return Err(error);
            }
        }
        // Later stacks cannot use an export that this stack removes.
        let (kept, had) = (stack.exports(), standing.exports());
        exported.retain(|export| kept.contains(export) || !had.contains(export));
    }
    Ok(planned)
}

/// Returns the findings of our policy without a waiver. Templates for the local AWS are not
/// checked, because they lack required features.
fn findings(environment: &Environment, stacks: &[Stack]) -> Vec<Finding> {
    if environment.local {
        return Vec::new();
    }
    blueprint::policy::check_all(environment, stacks)
        .into_iter()
        .filter(|finding| finding.waived.is_none())
        .collect()
}

/// Returns the change of the monthly cost. Returns `None` for a local AWS and for a region without
/// prices, which can still be deployed to.
fn cost_delta(environment: &Environment, stacks: &[(&Stack, &DeployedStack)]) -> Option<CostDelta> {
    if environment.local {
        return None;
    }
    let (deployed, wanted): (Vec<Stack>, Vec<Stack>) = stacks
        .iter()
        .map(|(stack, standing)| {
            let deployed = stack.with_template(standing.template.clone());
            (deployed, (*stack).clone())
        })
        .unzip();
    let usage = &environment.settings.usage;
    let before = cost::estimate(&deployed, environment, usage).ok()?;
    let after = cost::estimate(&wanted, environment, usage).ok()?;
    Some(cost::delta(&before, &after))
}

/// Deletes the change sets of a plan that will not be applied.
pub async fn forget(target: &Target, stacks: &[StackPlan]) {
    for stack in stacks {
        if let Some(change_set) = &stack.change_set {
            discard(&target.cloudformation, &stack.name, change_set).await;
        }
    }
}

async fn plan_stack(
    target: &Target,
    stack: &Stack,
    standing: &DeployedStack,
    StackDrift {
        drift,
        unknown: drift_unknown,
        ..
    }: StackDrift,
    exported: &BTreeSet<String>,
    seconds: &BTreeMap<String, f64>,
    reporter: &Reporter,
) -> anyhow::Result<StackPlan> {
    let line = reporter.begin(&stack.name, stack.about);
    let live = standing.fingerprint(&drift);
    let waits_for: BTreeSet<String> = stack.imports().difference(exported).cloned().collect();
    let (change_set, changes) = if waits_for.is_empty() {
        match prepare(target, stack, standing, None, &line).await {
            Ok(Some(ChangeSet { arn, changes, .. })) => (Some(arn), changes),
            Ok(None) => (None, Vec::new()),
            Err(error) => {
                line.failed();
                return Err(error);
            }
        }
    } else {
        // CloudFormation refuses a change set whose imports do not exist.
        (None, consequence::diff(&standing.template, &stack.template))
    };
    let action = match (live.is_empty(), changes.is_empty() && change_set.is_none()) {
        (true, _) => StackAction::Create,
        (false, true) => StackAction::Unchanged,
        (false, false) => StackAction::Update,
    };
    line.end(match action {
        StackAction::Create => "new",
        StackAction::Update => "changes",
        StackAction::Unchanged => "no changes",
    });
    Ok(StackPlan {
        slug: stack.slug.to_owned(),
        name: stack.name.clone(),
        action,
        template_sha256: sha256(&stack.template.to_string()),
        live,
        drift,
        drift_unknown,
        change_set,
        waits_for,
        changes,
        last_took_s: seconds.get(&stack.name).copied(),
    })
}

/// Detects the drift of all stacks, in the given order, or marks it as unknown if not wanted.
async fn drifts(
    target: &Target,
    stacks: &[(&Stack, &DeployedStack)],
    wanted: bool,
    reporter: &Reporter,
) -> Vec<StackDrift> {
    if !wanted {
        let skipped = |(stack, _): &(&Stack, &DeployedStack)| StackDrift {
            slug: stack.slug,
            name: stack.name.clone(),
            drift: Vec::new(),
            unknown: Some("drift detection was skipped (--no-drift)".to_owned()),
        };
        return stacks.iter().map(skipped).collect();
    }
    let line = reporter.begin("drift", "comparing the resources with the templates");
    let drifts = drift::look(target, stacks, &Reporter::quiet()).await;
    let count: usize = drifts.iter().map(|stack| stack.drift.len()).sum();
    line.end(&format!("{count} resources were changed by hand"));
    drifts
}

/// Returns the names of this environment's stacks that the current code does not make.
///
/// # Errors
/// When the stacks cannot be listed.
pub async fn forgotten(target: &Target) -> anyhow::Result<Vec<String>> {
    let prefix = target.environment.stack_name("");
    let mut ours: Vec<String> = blueprint::stacks(&target.environment)
        .into_iter()
        .map(|stack| stack.name)
        .collect();
    ours.push(target.environment.stack_name(blueprint::BOOTSTRAP));
    let call = target.cloudformation.describe_stacks();
    let stacks = call.into_paginator().items().send().try_collect().await;
    let stacks = stacks.map_err(failure_to("list the stacks"))?.into_iter();
    let mut forgotten: Vec<String> = stacks
        .filter(|stack| status_of(stack) != "DELETE_COMPLETE")
        .filter_map(|stack| stack.stack_name)
        .filter(|name| name.starts_with(&prefix) && !ours.contains(name))
        .collect();
    forgotten.sort();
    Ok(forgotten)
}

#[cfg(test)]
mod tests;
