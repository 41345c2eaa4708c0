//! `haven doctor`: whatever state things are in, the one next command.

mod account;
mod advice;
mod call;

use std::collections::BTreeSet;

use anyhow::Context as _;
use aws_sdk_cloudformation::types::{ChangeSetSummary, ExecutionStatus};
use blueprint::Stack;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use self::advice::Verdict;
use super::change_set::{events, find, status_of};
use super::events::{Seen, explain, root_cause};
use super::plan::forgotten;
use super::{Target, why};
use crate::{cli, target};

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub target: cli::Target,
}

/// How one thing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Diagnosis {
    verdict: Verdict,
    what: String,
    finding: String,
    /// The one to type next.
    command: Option<String>,
}

impl Diagnosis {
    fn ok(what: &str, finding: String) -> Diagnosis {
        Diagnosis { verdict: Verdict::Ok, what: what.to_owned(), finding, command: None }
    }

    fn unchecked(what: &str, finding: String) -> Diagnosis {
        Diagnosis { verdict: Verdict::Unchecked, what: what.to_owned(), finding, command: None }
    }

    fn look(what: &str, finding: String, command: &str) -> Diagnosis {
        Diagnosis { verdict: Verdict::Look, what: what.to_owned(), finding, command: Some(command.to_owned()) }
    }

    fn wrong(what: &str, finding: String, command: &str) -> Diagnosis {
        Diagnosis { verdict: Verdict::Wrong, ..Diagnosis::look(what, finding, command) }
    }
}

/// Prints it. Gives whether there is nothing to see to.
///
/// # Errors
/// When the settings are wrong, or `local` is meant and no local AWS runs.
pub async fn print(options: &Doctor) -> anyhow::Result<bool> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let mut all = examine(&target).await;
    for diagnosis in &mut all {
        diagnosis.command = diagnosis.command.take().map(|command| complete(&command, &target));
    }
    let worst = all.iter().map(|diagnosis| diagnosis.verdict).max_by_key(|verdict| weight(*verdict));
    let is_well = worst.is_none_or(|worst| weight(worst) <= weight(Verdict::Unchecked));
    if options.target.which.json {
        let document = json!({ "environment": target.environment.name, "well": is_well, "diagnoses": all });
        println!("{}", serde_json::to_string_pretty(&document).context("write JSON")?);
    } else {
        print!("{}", text(&all));
    }
    Ok(is_well)
}

const fn weight(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Unchecked => 1,
        Verdict::Look => 2,
        Verdict::Wrong => 3,
    }
}

async fn examine(target: &Target) -> Vec<Diagnosis> {
    let stacks = blueprint::stacks(&target.environment);
    let identity = account::identity(target).await;
    let answers = identity.verdict != Verdict::Wrong;
    let mut all = vec![identity];
    if !target.environment.local {
        all.push(account::region(target));
    }
    all.push(account::template_sizes(&stacks));
    if !answers {
        all.push(Diagnosis::unchecked("everything else", "see to the account first".to_owned()));
        return all;
    }
    let mut deployed = BTreeSet::new();
    let mut of_stacks = Vec::new();
    for stack in &stacks {
        match stack_stands(target, stack).await {
            Ok(stands) => {
                deployed.extend(stands.there.then_some(stack.slug));
                of_stacks.extend(stands.diagnoses);
            }
            Err(error) => of_stacks.push(Diagnosis::unchecked(&stack.name, format!("{error:#}"))),
        }
    }
    all.extend(account::checks(target, &stacks, &deployed).await);
    all.extend(of_stacks);
    all.extend(missing(target, &stacks, &deployed));
    match forgotten(target).await {
        Ok(names) => all.extend(names.iter().map(|name| left_behind(name))),
        Err(error) => all.push(Diagnosis::unchecked("stacks that nothing makes", format!("{error:#}"))),
    }
    all
}

/// One stack, as far as it is there.
struct Stands {
    there: bool,
    diagnoses: Vec<Diagnosis>,
}

async fn stack_stands(target: &Target, stack: &Stack) -> anyhow::Result<Stands> {
    let client = &target.cloudformation;
    let Some(found) = find(client, &stack.name).await? else {
        return Ok(Stands { there: false, diagnoses: Vec::new() });
    };
    let status = status_of(&found);
    let advice = advice::advice(status);
    let mut finding = format!("{status}: {}", advice.meaning);
    // Whatever went wrong said why; what is as it should be may have failed long ago.
    if status.contains("FAILED") || status.contains("ROLLBACK") {
        let events = events(client, &stack.name).await?;
        if let Some(cause) = root_cause(last_operation(&events)) {
            finding.push_str(&format!("\nthe cause: {}", explain(cause)));
        }
    }
    let command = advice.command.map(|command| command.replace("{stack}", &stack.name));
    let mut diagnoses = vec![Diagnosis { verdict: advice.verdict, what: stack.name.clone(), finding, command }];
    let reviewed = status == "REVIEW_IN_PROGRESS";
    if !reviewed {
        let left = change_sets(target, &stack.name).await?;
        diagnoses.extend(left.iter().filter_map(|change_set| left_over(&stack.name, change_set)));
    }
    Ok(Stands { there: !reviewed, diagnoses })
}

/// From where the stack was last asked to change. `events` are in the order of time.
fn last_operation(events: &[Seen]) -> &[Seen] {
    let begins = |event: &Seen| {
        event.kind == "AWS::CloudFormation::Stack"
            && ["CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS"]
                .contains(&event.status.as_str())
    };
    let at = events.iter().rposition(begins).unwrap_or_default();
    &events[at..]
}

async fn change_sets(target: &Target, stack: &str) -> anyhow::Result<Vec<ChangeSetSummary>> {
    let mut all = Vec::new();
    let mut pages = target.cloudformation.list_change_sets().stack_name(stack).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| anyhow::anyhow!("list the change sets of {stack}: {}", why(&error)))?;
        all.extend(page.summaries.unwrap_or_default());
    }
    Ok(all)
}

/// A change set that nobody has executed, or that never can be.
fn left_over(stack: &str, change_set: &ChangeSetSummary) -> Option<Diagnosis> {
    let name = change_set.change_set_name().unwrap_or_default();
    let finding = match change_set.execution_status() {
        Some(ExecutionStatus::ExecuteComplete | ExecutionStatus::ExecuteInProgress) => return None,
        Some(ExecutionStatus::Available) => format!(
            "the change set {name} waits to be executed. Does a plan file still want it? Then `haven apply` it, else delete it"
        ),
        _ => format!(
            "the change set {name} can never be executed: {}",
            change_set.status_reason().unwrap_or("out of date")
        ),
    };
    let command = format!("aws cloudformation delete-change-set --stack-name {stack} --change-set-name {name}");
    Some(Diagnosis::look(stack, finding, &command))
}

/// Of a platform that is there in part. `haven up` deploys a part of the local one, and no more is asked of that.
fn missing(target: &Target, stacks: &[Stack], deployed: &BTreeSet<&str>) -> Option<Diagnosis> {
    let missing: Vec<&str> = stacks.iter().map(|stack| stack.slug).filter(|slug| !deployed.contains(slug)).collect();
    let (what, list) = ("stacks", missing.join(", "));
    match (missing.is_empty(), deployed.is_empty(), target.environment.local) {
        (true, ..) => None,
        (false, true, _) => Some(Diagnosis::ok(what, "none is deployed yet".to_owned())),
        (false, false, true) => {
            Some(Diagnosis::ok(what, format!("not deployed, and not needed by `haven up`: {list}")))
        }
        (false, false, false) => Some(Diagnosis::look(what, format!("not deployed: {list}"), "haven deploy {env}")),
    }
}

fn left_behind(name: &str) -> Diagnosis {
    let finding = "nothing makes this stack any more: if nobody needs what is in it, delete it".to_owned();
    Diagnosis::look(name, finding, &format!("aws cloudformation delete-stack --stack-name {name}"))
}

/// With the names in it, and what a command of AWS's own needs to reach the same place.
fn complete(command: &str, target: &Target) -> String {
    let region = &target.environment.settings.account.region;
    let command = command.replace("{env}", &target.environment.name).replace("{region}", region);
    if !command.starts_with("aws ") {
        return command;
    }
    let endpoint = target.config.endpoint_url().map(|url| format!(" --endpoint-url {url}")).unwrap_or_default();
    format!("{command} --region {region}{endpoint}")
}

fn text(all: &[Diagnosis]) -> String {
    let mut lines = Vec::new();
    for Diagnosis { verdict, what, finding, command } in all {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Look => "look",
            Verdict::Wrong => "WRONG",
            Verdict::Unchecked => "?",
        };
        let mut said = finding.lines();
        lines.push(format!("{word:5}  {what}: {}", said.next().unwrap_or_default()));
        lines.extend(said.map(|line| format!("       {line}")));
        lines.extend(command.iter().map(|command| format!("       next: {command}")));
    }
    let count = |verdict| all.iter().filter(|diagnosis| diagnosis.verdict == verdict).count();
    lines.push(match (count(Verdict::Wrong), count(Verdict::Look)) {
        (0, 0) => "\nNothing to see to.".to_owned(),
        (wrong, look) => format!("\n{wrong} wrong, {look} to look at"),
    });
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::ChangeSetStatus;

    use super::*;

    fn event(kind: &str, status: &str) -> Seen {
        let text = |text: &str| text.to_owned();
        Seen { id: text(status), resource: text("it"), kind: text(kind), status: text(status), reason: None }
    }

    #[test]
    fn only_the_last_operation_is_asked_for_its_cause() {
        let (stack, queue) = ("AWS::CloudFormation::Stack", "AWS::SQS::Queue");
        let events = [
            event(stack, "CREATE_IN_PROGRESS"),
            event(queue, "CREATE_FAILED"),
            event(stack, "UPDATE_IN_PROGRESS"),
            event(queue, "UPDATE_FAILED"),
            event(stack, "UPDATE_ROLLBACK_IN_PROGRESS"),
            event(stack, "UPDATE_ROLLBACK_COMPLETE"),
        ];
        let cause = root_cause(last_operation(&events)).expect("there is one");
        assert_eq!(cause.status, "UPDATE_FAILED");
        assert!(last_operation(&[]).is_empty());
    }

    #[test]
    fn a_change_set_that_waits_and_one_that_failed_are_told_and_an_executed_one_is_not() {
        let of = |execution: ExecutionStatus| {
            let summary = ChangeSetSummary::builder().change_set_name("haven-1").status(ChangeSetStatus::Failed);
            left_over("data", &summary.execution_status(execution).build())
        };
        assert!(of(ExecutionStatus::Available).is_some_and(|told| told.finding.contains("waits to be executed")));
        assert!(of(ExecutionStatus::Unavailable).is_some_and(|told| told.finding.contains("never be executed")));
        assert_eq!(of(ExecutionStatus::ExecuteComplete), None);
    }

    #[test]
    fn a_line_says_how_it_stands_why_and_what_to_type() {
        let all = [
            Diagnosis::ok("region", "eu-west-1".to_owned()),
            Diagnosis::wrong("data", "ROLLBACK_COMPLETE: empty\nthe cause: Db failed".to_owned(), "haven deploy dev"),
        ];
        let expected = "ok     region: eu-west-1\nWRONG  data: ROLLBACK_COMPLETE: empty\n       the cause: Db failed\n       \
                        next: haven deploy dev\n\n1 wrong, 0 to look at\n";
        assert_eq!(text(&all), expected);
    }
}
