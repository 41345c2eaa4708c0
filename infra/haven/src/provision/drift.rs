//! `haven drift`: what somebody changed without us, and the way back.

mod detect;
mod read;
mod revert;

use anyhow::{Context as _, bail};
use clap::Args;
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::change_set::find;
use super::commands::is_agreed;
use super::{Named, Reporter, Target, live};
use crate::{cli, target};

#[derive(Debug, Args)]
pub struct Drift {
    #[command(flatten)]
    pub target: cli::Target,
    /// Put back what differs, as the deployed templates have it; code that was not deployed yet stays out of it
    #[arg(long)]
    pub revert: bool,
    /// Let --revert replace this one though it holds data, such as data/Database; may be given again
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = cli::stack_and_resource, requires = "revert")]
    pub allow: Vec<String>,
    /// Do not ask before --revert
    #[arg(long, requires = "revert")]
    pub yes: bool,
}

/// Who compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    CloudFormation,
    /// Haven, from what the service itself says: where CloudFormation does not compare.
    Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Modified,
    Deleted,
}

/// A resource that is not as its template has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drifted {
    /// The logical id.
    pub resource: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub physical: String,
    pub state: State,
    pub by: By,
    pub differences: Vec<Difference>,
}

/// One property. What is not there is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// A JSON pointer below the resource's properties.
    pub path: String,
    pub expected: Value,
    pub actual: Value,
}

/// One stack that is deployed.
#[derive(Debug, Clone, Serialize)]
pub struct StackDrift {
    pub slug: &'static str,
    pub stack: String,
    /// Resources that were compared, by whom.
    pub by_cloudformation: usize,
    pub by_reading: usize,
    /// Those that nobody compares, by type.
    pub not_compared: Vec<String>,
    pub drifted: Vec<Drifted>,
    /// Why the stack as a whole was not compared, or not in full.
    pub note: Option<String>,
}

/// Prints what differs, and puts it back if that is asked. Gives whether nothing differs, at the end.
///
/// # Errors
/// When AWS cannot be asked, or a way back is refused or fails.
pub async fn print(options: &Drift) -> anyhow::Result<bool> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    if !target.environment.local {
        live::expected_account(&target).await?;
    }
    let json = options.target.which.json;
    let reporter = Reporter::aside(json);
    let found = compare(&target, &reporter).await?;
    let drifted = found.iter().any(|stack| !stack.drifted.is_empty());
    let mut reverted = Vec::new();
    let mut left = None;
    if drifted && options.revert {
        if !json {
            print!("{}", text(&found));
        }
        if !target.environment.local && !options.yes && !is_agreed(&target.environment.name)? {
            eprintln!("Nothing was done.");
            return Ok(false);
        }
        let named = Named::new(&options.allow);
        for stack in found.iter().filter(|stack| !stack.drifted.is_empty()) {
            reverted.push(revert::revert(&target, stack, &named, &reporter).await?);
        }
        left = Some(compare(&target, &reporter).await?);
    }
    let at_the_end = left.as_ref().unwrap_or(&found);
    let is_fine = at_the_end.iter().all(|stack| stack.drifted.is_empty());
    if json {
        let document = json!({ "environment": target.environment.name, "in_sync": is_fine, "stacks": found,
            "reverted": reverted, "left": left });
        println!("{}", serde_json::to_string_pretty(&document).context("write JSON")?);
    } else {
        reverted.iter().for_each(|reverted| println!("{}: put back by {}", reverted.stack, reverted.way.title()));
        print!("{}", text(at_the_end));
    }
    Ok(is_fine)
}

/// All stacks that are there, side by side: CloudFormation takes its time.
async fn compare(target: &Target, reporter: &Reporter) -> anyhow::Result<Vec<StackDrift>> {
    let stacks = blueprint::stacks(&target.environment);
    let compared = join_all(stacks.iter().map(|stack| compare_stack(target, stack, reporter))).await;
    let compared: Vec<StackDrift> = compared.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
    if compared.is_empty() {
        bail!("nothing is deployed in {}: there is nothing to compare", target.environment.name);
    }
    Ok(compared)
}

/// `None` for a stack that is not there.
async fn compare_stack(
    target: &Target,
    stack: &blueprint::Stack,
    reporter: &Reporter,
) -> anyhow::Result<Option<StackDrift>> {
    let Some(found) = find(&target.cloudformation, &stack.name).await? else { return Ok(None) };
    let line = reporter.begin(&stack.name, "comparing with what is there");
    match detect::compare(target, stack, &found, &line).await {
        Ok(compared) => {
            line.end(&match (compared.drifted.len(), &compared.note) {
                (0, Some(note)) => note.clone(),
                (0, None) => "as its template has it".to_owned(),
                (count, _) => format!("{count} differ"),
            });
            Ok(Some(compared))
        }
        Err(error) => {
            line.end("FAILED");
            Err(error)
        }
    }
}

fn text(stacks: &[StackDrift]) -> String {
    let mut lines = Vec::new();
    for stack in stacks {
        for Drifted { resource, kind, physical, state, by, differences } in &stack.drifted {
            let by = match by {
                By::CloudFormation => "",
                By::Reading => ", as haven reads it",
            };
            let state = match state {
                State::Modified => "was changed",
                State::Deleted => "WAS DELETED",
            };
            lines.push(format!("{}/{resource} ({kind}) {state}{by}\n    {physical}", stack.slug));
            lines.extend(differences.iter().map(|difference| {
                let Difference { path, expected, actual } = difference;
                format!("    {path}: should be {}, is {}", value(expected), value(actual))
            }));
        }
        lines.extend(stack.note.iter().map(|note| format!("{}: {note}", stack.stack)));
    }
    let sum = |count: fn(&StackDrift) -> usize| stacks.iter().map(count).sum::<usize>();
    let (told, read) = (sum(|stack| stack.by_cloudformation), sum(|stack| stack.by_reading));
    let (nobody, drifted) = (sum(|stack| stack.not_compared.len()), sum(|stack| stack.drifted.len()));
    lines.push(format!(
        "{drifted} differ; {told} resources compared by CloudFormation, {read} by reading them, {nobody} by nobody"
    ));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_should_be_what_is_and_who_compared() {
        let differences =
            vec![Difference { path: "/VisibilityTimeout".to_owned(), expected: json!("300"), actual: json!("30") }];
        let drifted = Drifted {
            resource: "OrdersQueue".to_owned(),
            kind: "AWS::SQS::Queue".to_owned(),
            physical: "http://queue".to_owned(),
            state: State::Modified,
            by: By::CloudFormation,
            differences,
        };
        let stack = StackDrift {
            slug: "messaging",
            stack: "brew-haven-dev-messaging".to_owned(),
            by_cloudformation: 12,
            by_reading: 3,
            not_compared: vec!["AWS::SQS::QueuePolicy".to_owned()],
            drifted: vec![drifted],
            note: None,
        };
        let expected = "messaging/OrdersQueue (AWS::SQS::Queue) was changed\n    http://queue\n    /VisibilityTimeout: should be \
                        300, is 30\n1 differ; 12 resources compared by CloudFormation, 3 by reading them, 1 by nobody\n";
        assert_eq!(text(&[stack]), expected);
    }
}
