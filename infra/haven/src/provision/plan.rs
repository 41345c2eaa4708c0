//! A plan: what a deployment would do, worst first, sealed, so that exactly that is done later or
//! nothing.

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

use super::change_set::{ChangeSet, discard, prepare, status_of};
use super::drift::{self, Drifted, StackDrift};
use super::guard::Named;
use super::history::History;
use super::live;
use super::standing::Standing;
use super::{Reporter, Target, failed};

/// Of this file's form.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    pub environment: String,
    /// Overrides that it was made with, as `--set` takes them.
    pub set: Vec<String>,
    pub account: String,
    pub region: String,
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// What may be removed or replaced though it holds data, as `stack/LogicalId`.
    pub named: Vec<String>,
    /// Every stack, in the order in which they are deployed.
    pub stacks: Vec<StackPlan>,
    /// Stacks of this environment that nothing describes any more; a plan leaves them alone.
    pub forgotten: Vec<String>,
    /// The version of each parameter, by name.
    pub parameters: BTreeMap<String, i64>,
    /// What our policy has against the templates. A plan with findings is not applied.
    pub findings: Vec<Finding>,
    /// What a month costs, before and after; `None` on the local AWS, and where no prices are
    /// known.
    pub cost: Option<CostDelta>,
    /// The most that a month may cost, USD.
    pub budget_usd: Option<f64>,
    /// SHA-256 over everything else.
    pub seal: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackPlan {
    pub slug: String,
    pub name: String,
    pub action: StackAction,
    pub template_sha256: String,
    /// What stood there, drift included; empty where nothing did.
    pub live: String,
    /// What was changed by hand since the stack was last deployed.
    pub drift: Vec<Drifted>,
    /// Why nobody looked for that, or could.
    pub drift_unknown: Option<String>,
    /// The change set that waits; `None` where nothing changes, or where it can only be made once
    /// `waits_for` is there.
    pub change_set: Option<String>,
    /// Exports of other stacks that are not there yet.
    pub waits_for: BTreeSet<String>,
    pub changes: Vec<Change>,
    /// Seconds that its last change took, where it was made from here.
    pub last_took_s: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackAction {
    Create,
    Update,
    Unchanged,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.stacks
            .iter()
            .all(|stack| stack.action == StackAction::Unchanged)
    }

    pub fn named(&self) -> Named {
        Named::new(&self.named)
    }

    /// # Errors
    /// Every reason not to apply it: data that would go and was not named, a policy that does not
    /// hold, a budget that is too small.
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

    /// All changes, worst first, with the slug of their stack.
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
        Ok(live::sha256(&open.to_string()))
    }

    /// # Errors
    /// When the file cannot be read, is no plan, or was changed after it was made.
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
                "{} has the form {}, and this haven reads {FORMAT}: plan again",
                path.display(),
                plan.format
            );
        }
        if plan.seal != plan.seal_of()? {
            bail!(
                "{} was changed after it was made: its seal does not fit; plan again",
                path.display()
            );
        }
        Ok(plan)
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("write the plan")? + "\n";
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// Changes with the slug of their stack; those that are equally bad stay in the order of their
/// stacks.
pub fn worst_first<'a>(
    stacks: impl Iterator<Item = (&'a str, &'a [Change])>,
) -> Vec<(&'a str, &'a Change)> {
    let mut changes: Vec<(&str, &Change)> = stacks
        .flat_map(|(slug, changes)| changes.iter().map(move |change| (slug, change)))
        .collect();
    changes.sort_by_key(|(_, change)| std::cmp::Reverse(change.rung));
    changes
}

/// What to plan with.
pub struct Options {
    pub named: Named,
    pub set: Vec<String>,
    pub valid_for: Duration,
    pub history: History,
    pub budget_usd: Option<f64>,
    /// Whether to look for what was changed by hand.
    pub drift: bool,
}

/// Asks CloudFormation for a change set of every stack that can have one yet, and foresees the
/// rest.
///
/// # Errors
/// When the account is another one than the settings say, or CloudFormation refuses a template. No
/// change set is left: everything else that can fail is asked before the first is made.
pub async fn plan(target: &Target, options: &Options, reporter: &Reporter) -> anyhow::Result<Plan> {
    plan_of(
        target,
        &blueprint::stacks(&target.environment),
        options,
        reporter,
    )
    .await
}

/// The same for these stacks, in order of need.
///
/// # Errors
/// As [`plan`].
pub async fn plan_of(
    target: &Target,
    wanted: &[Stack],
    options: &Options,
    reporter: &Reporter,
) -> anyhow::Result<Plan> {
    let account = live::expected_account(target).await?;
    let exported = live::exports(target).await?.into_keys().collect();
    let standings =
        Standing::of_all(&target.cloudformation, &wanted.iter().collect::<Vec<_>>()).await?;
    let stacks: Vec<(&Stack, &Standing)> = wanted.iter().zip(&standings).collect();
    let cost = cost_delta(&target.environment, &stacks);
    let (forgotten, parameters) = (
        forgotten(target).await?,
        live::parameter_versions(target).await?,
    );
    let drifts = drifts(target, &stacks, options.drift, reporter).await;
    let stacks = plan_stacks(
        target,
        stacks.into_iter().zip(drifts),
        exported,
        &options.history,
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

/// One after the other, since each counts on the exports of those before it. Nothing is left of a
/// plan that fails.
async fn plan_stacks<'a>(
    target: &Target,
    stacks: impl Iterator<Item = ((&'a Stack, &'a Standing), StackDrift)>,
    mut exported: BTreeSet<String>,
    history: &History,
    reporter: &Reporter,
) -> anyhow::Result<Vec<StackPlan>> {
    let mut planned = Vec::new();
    for ((stack, standing), drift) in stacks {
        match plan_stack(target, stack, standing, drift, &exported, history, reporter).await {
            Ok(plan) => planned.push(plan),
            Err(error) => {
                forget(target, &planned).await;
                return Err(error);
            }
        }
        // What it takes away, nobody can count on.
        let (kept, had) = (stack.exports(), standing.exports());
        exported.retain(|export| kept.contains(export) || !had.contains(export));
    }
    Ok(planned)
}

/// What stands against the templates without a reason. The local AWS is held to nothing: it lacks
/// half of what we ask.
fn findings(environment: &Environment, stacks: &[Stack]) -> Vec<Finding> {
    if environment.local {
        return Vec::new();
    }
    blueprint::policy::check_all(environment, stacks)
        .into_iter()
        .filter(|finding| finding.waived.is_none())
        .collect()
}

/// `None` on the local AWS, and for a region without prices, which is no reason not to deploy to
/// it.
fn cost_delta(environment: &Environment, stacks: &[(&Stack, &Standing)]) -> Option<CostDelta> {
    if environment.local {
        return None;
    }
    let (deployed, wanted): (Vec<Stack>, Vec<Stack>) = stacks
        .iter()
        .map(|(stack, standing)| {
            (
                Stack {
                    template: standing.template.clone(),
                    ..(*stack).clone()
                },
                (*stack).clone(),
            )
        })
        .unzip();
    let usage = &environment.settings.usage;
    let before = cost::estimate(&deployed, environment, usage).ok()?;
    let after = cost::estimate(&wanted, environment, usage).ok()?;
    Some(cost::delta(&before, &after))
}

/// Takes back the change sets of a plan that is not to be applied.
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
    standing: &Standing,
    StackDrift {
        drift,
        unknown: drift_unknown,
        ..
    }: StackDrift,
    exported: &BTreeSet<String>,
    history: &History,
    reporter: &Reporter,
) -> anyhow::Result<StackPlan> {
    let line = reporter.begin(&stack.name, stack.about);
    let live = standing.fingerprint(&drift);
    let waits_for: BTreeSet<String> = stack.imports().difference(exported).cloned().collect();
    let (change_set, changes) = if waits_for.is_empty() {
        match prepare(target, stack, standing, &line).await {
            Ok(Some(ChangeSet { arn, changes, .. })) => (Some(arn), changes),
            Ok(None) => (None, Vec::new()),
            Err(error) => {
                line.end("FAILED");
                return Err(error);
            }
        }
    } else {
        // CloudFormation makes no change set for what imports something that is not there.
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
        template_sha256: live::sha256(&stack.template.to_string()),
        live,
        drift,
        drift_unknown,
        change_set,
        waits_for,
        changes,
        last_took_s: history.seconds(&stack.name),
    })
}

/// Of every stack, in the order given.
async fn drifts(
    target: &Target,
    stacks: &[(&Stack, &Standing)],
    wanted: bool,
    reporter: &Reporter,
) -> Vec<StackDrift> {
    if !wanted {
        let skipped = |(stack, _): &(&Stack, &Standing)| StackDrift {
            slug: stack.slug,
            name: stack.name.clone(),
            drift: Vec::new(),
            unknown: Some("it was not looked for (--no-drift)".to_owned()),
        };
        return stacks.iter().map(skipped).collect();
    }
    let line = reporter.begin("drift", "comparing what is there with the templates");
    let drifts = drift::look(target, stacks, &Reporter::quiet()).await;
    let count: usize = drifts.iter().map(|stack| stack.drift.len()).sum();
    line.end(&format!("{count} resources were changed by hand"));
    drifts
}

/// Stacks with our names that no code makes any more.
pub async fn forgotten(target: &Target) -> anyhow::Result<Vec<String>> {
    let prefix = target.environment.stack_name("");
    let mut ours: Vec<String> = blueprint::stacks(&target.environment)
        .into_iter()
        .map(|stack| stack.name)
        .collect();
    ours.push(target.environment.stack_name(blueprint::BOOTSTRAP));
    let mut forgotten = Vec::new();
    let mut pages = target
        .cloudformation
        .describe_stacks()
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failed("list the stacks", &error))?;
        let names = page
            .stacks()
            .iter()
            .filter(|stack| status_of(stack) != "DELETE_COMPLETE");
        let names = names.filter_map(|stack| stack.stack_name());
        forgotten.extend(
            names
                .filter(|name| name.starts_with(&prefix) && !ours.iter().any(|our| our == name))
                .map(str::to_owned),
        );
    }
    forgotten.sort();
    Ok(forgotten)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
