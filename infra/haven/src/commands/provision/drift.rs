//! `haven drift`: finds changes that were made by hand since the last deployment, and reverts them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use blueprint::Stack;
use clap::Args;
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{settings, time, width};
use provision::drift::drifted::{By, Difference, Drifted, How, StackDrift};
use provision::drift::{look_at_all, revert};
use provision::guard::Named;
use provision::{Reporter, account};
use serde_json::{Value, json};

use crate::agreement::{Agreement, Answer};
use crate::arguments::{self, ALLOW};
use crate::target;

// `--yes` and `--confirm` answer the question of `--revert`, and mean nothing without it.
#[derive(Debug, Args)]
#[command(
    mut_arg("yes", |arg| arg.requires("revert")),
    mut_arg("confirm", |arg| arg.requires("revert"))
)]
pub struct Drift {
    #[command(flatten)]
    pub target: arguments::Target,
    /// Restore the templates that were last deployed
    #[arg(long)]
    pub revert: bool,
    #[command(flatten)]
    pub answer: Answer,
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = arguments::stack_and_resource, requires = "revert", help = ALLOW)]
    pub allow: Vec<String>,
}

/// Returns the differences of a resource, each with the name of the resource.
pub fn lines(slug: &str, drifted: &Drifted, columns: usize) -> String {
    let facts = match &drifted.how {
        How::Modified => drifted.differences.iter().map(of_difference).collect(),
        How::Deleted => vec!["deleted outside CloudFormation".to_owned()],
        How::Unknown(reason) => vec![format!("could not be read: {reason}")],
    };
    let by = match drifted.by {
        By::CloudFormation => "",
        By::Reading => " (compared by haven, not by CloudFormation)",
    };
    let first = format!("{}{slug}/{}  ", Meaning::Drift.mark(2), drifted.resource);
    facts
        .iter()
        .map(|fact| wrap(&format!("{fact}{by}"), columns, &first, "    ") + "\n")
        .collect()
}

fn of_difference(difference: &Difference) -> String {
    let path = difference.path.trim_start_matches('/').replace('/', ".");
    let [expected, actual] = [&difference.expected, &difference.actual]
        .map(|value| value.as_deref().unwrap_or("(none)"));
    format!("{path}: template {expected}, now {actual}")
}

/// Shows the drift and reverts it with `--revert`. The exit code says whether everything matches its
/// template at the end.
///
/// # Errors
/// When the account differs from the settings, a stack cannot be read, or a revert fails.
pub async fn command(options: &Drift) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let which = &options.target.which;
    let agreement = Agreement {
        command: "haven drift --revert",
        review: format!("haven drift {}", which.environment),
        environment: &target::environment(which)?,
        answer: &options.answer,
    };
    if options.revert {
        agreement.check()?;
    }
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let name = &target.environment.name;
    let account = account::expected_account(&target).await?;
    let stacks = blueprint::stacks(&target.environment);
    let all: Vec<&Stack> = stacks.iter().collect();
    let resources = resources(&all);
    let json = settings::get().json;
    let reporter = Reporter::aside(json);
    let found = look_at_all(&target, &all, &reporter).await?;
    if !json {
        print!("{}", text(&found, width::stdout_text()));
    }
    let show = |stacks: &[StackDrift], reverted: &[Value], verdict: &Verdict| {
        let fields = json!({ "environment": name, "stacks": stacks, "reverted": reverted });
        verdict.end("haven.drift/1", fields, || println!())
    };
    let drifts: Vec<&StackDrift> = found
        .iter()
        .filter(|stack| !stack.drift.is_empty())
        .collect();
    if !options.revert || drifts.is_empty() {
        let mut verdict = verdict(&found, resources, begun.elapsed());
        if !drifts.is_empty() {
            verdict = verdict.next(format!(
                "haven drift {name} --revert, or change the setting and deploy"
            ));
        }
        return Ok(show(&found, &[], &verdict));
    }
    let count = counted(count(&found), "resource");
    let region = &target.environment.settings.account.region;
    let question = format!("Revert {count} of {name} (account {account}, {region})?");
    if !agreement.ask(&question, &account)? {
        let verdict = Verdict::no(format!("Not reverted: {count} still differ."));
        return Ok(show(&found, &[], &verdict));
    }
    let named = Named::new(&options.allow);
    let mut reverted = Vec::new();
    for stack in drifts {
        let ours = all
            .iter()
            .find(|ours| ours.name == stack.name)
            .context("find the stack of this drift")?;
        let line = reporter.begin(&stack.name, "reverting to the template");
        match revert(&target, ours, &stack.drift, &named, &line).await {
            Ok(how) => {
                line.end(how);
                reverted.push(json!({ "stack": stack.name, "how": how }));
            }
            Err(error) => {
                line.failed();
                return Err(error);
            }
        }
    }
    let left = look_at_all(&target, &all, &Reporter::quiet()).await?;
    if !json {
        print!("{}", text(&left, width::stdout_text()));
    }
    let verdict = match self::count(&left) {
        0 => Verdict::good(format!(
            "Reverted {count}: every stack matches its template."
        )),
        _ => verdict(&left, resources, begun.elapsed()),
    };
    Ok(show(&left, &reverted, &verdict))
}

fn resources(stacks: &[&Stack]) -> usize {
    let of = |stack: &&Stack| {
        stack.template["Resources"]
            .as_object()
            .map(serde_json::Map::len)
    };
    stacks.iter().filter_map(of).sum()
}

fn count(stacks: &[StackDrift]) -> usize {
    stacks.iter().map(|stack| stack.drift.len()).sum()
}

/// Returns the verdict. A stack whose drift is unknown counts as equal, and is named.
fn verdict(stacks: &[StackDrift], resources: usize, took: Duration) -> Verdict {
    let unknown = stacks
        .iter()
        .filter(|stack| stack.unknown.is_some())
        .count();
    let unknown = match unknown {
        0 => String::new(),
        count => format!(", unknown in {}", counted(count, "stack")),
    };
    let resources = counted(resources, "resource");
    let place = format!("{resources} in {}", counted(stacks.len(), "stack"));
    let took = time::duration(took);
    match count(stacks) {
        0 => Verdict::good(format!("No drift: {place} as deployed{unknown} ({took}).")),
        1 => Verdict::no(format!("Drift: 1 of {place} differs{unknown} ({took}).")),
        count => Verdict::no(format!(
            "Drift: {count} of {place} differ{unknown} ({took})."
        )),
    }
}

fn text(stacks: &[StackDrift], columns: usize) -> String {
    let mut text = String::new();
    for stack in stacks {
        for drifted in &stack.drift {
            text += &lines(stack.slug, drifted, columns);
        }
        if let Some(unknown) = &stack.unknown {
            let first = format!("{}{}: drift unknown: ", Meaning::Warn.mark(6), stack.slug);
            text += &(wrap(unknown, columns, &first, "      ") + "\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::provision::testing::plain;
    use crate::schemas::testing::valid;

    fn modified(path: &str, expected: Option<&str>, actual: Option<&str>) -> Drifted {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let difference = Difference {
            path: path.to_owned(),
            expected: text(expected),
            actual: text(actual),
        };
        Drifted {
            resource: "Orders".to_owned(),
            kind: "AWS::SQS::Queue".to_owned(),
            how: How::Modified,
            by: By::CloudFormation,
            differences: vec![difference],
        }
    }

    fn messaging(drift: Vec<Drifted>, unknown: Option<&str>) -> StackDrift {
        StackDrift {
            slug: "messaging",
            name: "brew-haven-dev-messaging".to_owned(),
            drift,
            unknown: unknown.map(str::to_owned),
        }
    }

    #[test]
    fn each_difference_is_a_line_with_both_values() {
        let orders = modified("/RedrivePolicy/maxReceiveCount", Some("5"), None);
        let deleted = Drifted {
            how: How::Deleted,
            differences: Vec::new(),
            ..orders.clone()
        };
        let found = [
            messaging(vec![orders, deleted], None),
            messaging(Vec::new(), Some("skipped")),
        ];
        let expected = "! messaging/Orders  RedrivePolicy.maxReceiveCount: template 5, now (none)\n\
            ! messaging/Orders  deleted outside CloudFormation\n\
            warn  messaging: drift unknown: skipped\n";
        for columns in [80, 120] {
            assert_eq!(plain(&text(&found, columns), columns), expected);
        }
        plain(&text(&found, 60), 60);
        let fields = json!({ "environment": "dev", "stacks": found, "reverted": [] });
        valid(Verdict::no("Drift.").document("haven.drift/1", fields));
    }

    #[test]
    fn drift_exits_with_2_and_an_unknown_stack_is_counted() {
        let took = Duration::from_secs(48);
        let orders = modified("/VisibilityTimeout", Some("30"), Some("77"));
        let found = [messaging(vec![orders], None), messaging(Vec::new(), None)];
        let drift = verdict(&found, 377, took);
        let expected = "Drift: 1 of 377 resources in 2 stacks differs (48 s).";
        assert_eq!(drift, Verdict::no(expected));
        assert_eq!(drift.exit(), Exit::No);
        let clean = verdict(&[messaging(Vec::new(), Some("skipped"))], 30, took);
        let expected = "No drift: 30 resources in 1 stack as deployed, unknown in 1 stack (48 s).";
        assert_eq!(clean, Verdict::good(expected));
        assert_eq!(clean.exit(), Exit::Done);
    }
}
