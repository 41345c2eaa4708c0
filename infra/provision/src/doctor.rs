//! `haven doctor`: checks the account and the stacks, and names the next command for each problem.

pub mod check;
mod image;
pub mod next_step;
mod preflight;
mod quotas;

use aws_sdk_cloudformation::types::{ChangeSetStatus, ChangeSetSummary, ExecutionStatus};
use blueprint::BOOTSTRAP;
use serde::Serialize;

use crate::aws_failure::{AwsFailure, failure_to};
use crate::change_set::{CHANGE_SET_PREFIX, wait_until_gone};
use crate::doctor::check::Check;
use crate::doctor::next_step::{Verdict, advice};
use crate::plan::forgotten;
use crate::stack::{NOT_DEPLOYED, find, status_of};
use crate::target::Target;

/// The state of one stack.
struct Patient {
    name: String,
    status: String,
    /// Whether the stack is ours and the current code does not make it.
    is_forgotten: bool,
    /// Unexecuted change sets of haven.
    ours: Vec<String>,
    /// The number of unexecuted change sets of other tools.
    others: usize,
}

/// The result of all checks of one environment.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    pub environment: String,
    /// What `--fix` did, a line each.
    pub fixed: Vec<String>,
    pub checks: Vec<Check>,
}

/// Checks the account and the stacks. With `with_fix`, first deletes change sets and empty stacks
/// that haven left.
///
/// # Errors
/// When a fix fails.
pub async fn diagnose(target: &Target, with_fix: bool) -> anyhow::Result<Diagnosis> {
    let identity = preflight::identity(target).await;
    let is_known = identity.is_known;
    let mut checks = vec![identity.check];
    let mut fixed = Vec::new();
    // Without an account, all other calls would fail for the same reason.
    if is_known {
        checks.extend(preflight::checks(target).await);
        match patients(target).await {
            Ok(mut patients) => {
                if with_fix {
                    fixed = fix(target, &patients).await?;
                    patients = self::patients(target).await?;
                }
                checks.extend(
                    patients
                        .iter()
                        .flat_map(|patient| diagnosis(&target.environment.name, patient)),
                );
            }
            Err(error) => {
                let next = next_of(&error).unwrap_or("aws cloudformation describe-stacks");
                checks.push(Check::wrong(
                    format!("the stacks cannot be listed: {error:#}"),
                    next,
                ));
            }
        }
    }
    Ok(Diagnosis {
        environment: target.environment.name.clone(),
        fixed,
        checks,
    })
}

/// Returns the next step for a failed call.
fn next_of(error: &anyhow::Error) -> Option<&'static str> {
    error
        .downcast_ref::<AwsFailure>()
        .map(|failure| failure.cause.next())
}

async fn patients(target: &Target) -> anyhow::Result<Vec<Patient>> {
    let ours = blueprint::stacks(&target.environment)
        .into_iter()
        .map(|stack| (stack.name, false));
    let bootstrap = target.environment.stack_name(BOOTSTRAP);
    let forgotten = forgotten(target)
        .await?
        .into_iter()
        .map(|name| (name, true));
    let mut patients = Vec::new();
    for (name, is_forgotten) in ours.chain([(bootstrap.clone(), false)]).chain(forgotten) {
        let found = find(&target.cloudformation, &name).await?;
        let status = found.as_ref().map_or(NOT_DEPLOYED, status_of).to_owned();
        // A separate check reports whether the bootstrap stack should exist.
        if name == bootstrap && found.is_none() {
            continue;
        }
        let waiting = if found.is_some() {
            waiting(target, &name).await?
        } else {
            Vec::new()
        };
        let (ours, others): (Vec<String>, Vec<String>) = waiting
            .into_iter()
            .partition(|name| name.starts_with(CHANGE_SET_PREFIX));
        patients.push(Patient {
            name,
            status,
            is_forgotten,
            ours,
            others: others.len(),
        });
    }
    Ok(patients)
}

/// Returns the names of a stack's unexecuted change sets.
async fn waiting(target: &Target, stack: &str) -> anyhow::Result<Vec<String>> {
    let call = target.cloudformation.list_change_sets().stack_name(stack);
    let summaries = call.into_paginator().items().send().try_collect().await;
    let summaries = summaries.map_err(failure_to(format!("list the change sets of {stack}")))?;
    let waiting = summaries.into_iter().filter(is_waiting);
    Ok(waiting
        .filter_map(|summary| summary.change_set_name)
        .collect())
}

/// Returns whether a change set is complete and was not executed. A change set that is being
/// computed or executed is still in use.
fn is_waiting(summary: &ChangeSetSummary) -> bool {
    use ExecutionStatus::{Available, Obsolete, Unavailable};
    matches!(
        summary.status(),
        Some(ChangeSetStatus::CreateComplete | ChangeSetStatus::Failed)
    ) && matches!(
        summary.execution_status(),
        Some(Available | Obsolete | Unavailable)
    )
}

fn diagnosis(environment: &str, patient: &Patient) -> Vec<Check> {
    let Patient {
        name,
        status,
        is_forgotten,
        ours,
        others,
    } = patient;
    let advice = advice(status);
    let verdict = advice.verdict;
    let mut checks = Vec::new();
    if *is_forgotten && verdict == Verdict::Ok {
        let next = format!("aws cloudformation list-stack-resources --stack-name {name}");
        checks.push(Check::look(
            format!("{name} {status}: the code does not define this stack any more; review its resources"),
            next,
        ));
    } else if status == "REVIEW_IN_PROGRESS" && *others > 0 {
        let next = format!("aws cloudformation list-change-sets --stack-name {name}");
        checks.push(Check::look(
            format!("{name} {status}: it has change sets that haven did not create"),
            next,
        ));
    } else {
        let what = format!("{name} {status}: {}", advice.why);
        checks.push(Check::new(verdict, what, advice.next(environment, name)));
    }
    if !ours.is_empty() && status != "REVIEW_IN_PROGRESS" {
        let what = format!(
            "{name}: {} change sets of haven were never executed: a plan to apply, or a forgotten one",
            ours.len()
        );
        checks.push(Check::look(
            what,
            format!("haven doctor {environment} --fix"),
        ));
    }
    checks
}

/// Deletes haven's unexecuted change sets, and empty stacks. Returns a line for each.
async fn fix(target: &Target, patients: &[Patient]) -> anyhow::Result<Vec<String>> {
    let client = &target.cloudformation;
    let mut fixed = Vec::new();
    for Patient {
        name,
        status,
        ours,
        others,
        ..
    } in patients
    {
        for change_set in ours {
            let deleted = client
                .delete_change_set()
                .stack_name(name)
                .change_set_name(change_set)
                .send()
                .await;
            let what = format!("delete the change set {change_set} of {name}");
            deleted.map_err(failure_to(what))?;
            fixed.push(format!(
                "{name}: deleted the change set {change_set}, which was never executed"
            ));
        }
        // The deletion of the stack would delete other tools' change sets too.
        if status == "REVIEW_IN_PROGRESS" && *others == 0 {
            let deleted = client.delete_stack().stack_name(name).send().await;
            deleted.map_err(failure_to(format!("delete the empty stack {name}")))?;
            wait_until_gone(target, name).await?;
            fixed.push(format!("{name}: deleted the empty stack"));
        }
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(status: &str) -> Patient {
        let (name, status) = ("brew-haven-dev-data".to_owned(), status.to_owned());
        Patient {
            name,
            status,
            is_forgotten: false,
            ours: Vec::new(),
            others: 0,
        }
    }

    #[test]
    fn an_unexecuted_change_set_is_reported_beside_its_stack() {
        let waits = Patient {
            ours: vec!["haven-1".to_owned()],
            ..patient("UPDATE_COMPLETE")
        };
        let checks = diagnosis("dev", &waits);
        assert_eq!(
            checks.iter().map(|check| check.verdict).collect::<Vec<_>>(),
            [Verdict::Ok, Verdict::Look]
        );
        assert_eq!(checks[1].next.as_deref(), Some("haven doctor dev --fix"));
    }

    #[test]
    fn an_empty_stack_with_a_foreign_change_set_is_not_deleted() {
        let shell = Patient {
            ours: vec!["haven-1".to_owned()],
            others: 1,
            ..patient("REVIEW_IN_PROGRESS")
        };
        let checks = diagnosis("dev", &shell);
        assert_eq!(checks.len(), 1);
        assert!(
            checks[0].what.contains("haven did not create"),
            "{checks:?}"
        );
    }

    #[test]
    fn a_stack_that_the_code_does_not_define_is_reported() {
        let forgotten = Patient {
            is_forgotten: true,
            ..patient("CREATE_COMPLETE")
        };
        assert!(
            diagnosis("dev", &forgotten)[0]
                .what
                .contains("the code does not define this stack any more")
        );
        let broken = Patient {
            is_forgotten: true,
            ..patient("UPDATE_ROLLBACK_FAILED")
        };
        assert_eq!(diagnosis("dev", &broken)[0].verdict, Verdict::Wrong);
    }

    #[test]
    fn a_change_set_in_progress_is_not_waiting() {
        let summary = |status, execution| {
            is_waiting(
                &ChangeSetSummary::builder()
                    .status(status)
                    .execution_status(execution)
                    .build(),
            )
        };
        assert!(summary(
            ChangeSetStatus::CreateComplete,
            ExecutionStatus::Available
        ));
        assert!(summary(
            ChangeSetStatus::Failed,
            ExecutionStatus::Unavailable
        ));
        assert!(!summary(
            ChangeSetStatus::CreateInProgress,
            ExecutionStatus::Unavailable
        ));
        assert!(!summary(
            ChangeSetStatus::CreateComplete,
            ExecutionStatus::ExecuteInProgress
        ));
    }
}
