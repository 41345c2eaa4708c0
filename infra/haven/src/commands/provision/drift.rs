//! `haven drift`: finds changes that were made by hand since the last deployment, and reverts them.

use anyhow::Context as _;
use blueprint::Stack;
use clap::Args;
use provision::drift::drifted::{By, Drifted, How, StackDrift};
use provision::drift::{look_at_all, revert};
use provision::guard::Named;
use provision::{Reporter, Target, account};
use serde_json::{Value, json};

use crate::agreement::is_agreed;
use crate::arguments::{self, ALLOW, YES};
use crate::target;

#[derive(Debug, Args)]
pub struct Drift {
    #[command(flatten)]
    pub target: arguments::Target,
    /// Restore the templates that were last deployed
    #[arg(long)]
    pub revert: bool,
    #[arg(long, requires = "revert", help = YES)]
    pub yes: bool,
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = arguments::stack_and_resource, requires = "revert", help = ALLOW)]
    pub allow: Vec<String>,
}

/// Returns a line for a resource and one for each difference.
pub fn lines(slug: &str, drifted: &Drifted) -> Vec<String> {
    let what = match &drifted.how {
        How::Modified => String::new(),
        How::Deleted => ": it is gone".to_owned(),
        How::Unknown(reason) => format!(": could not be read: {reason}"),
    };
    let by = if drifted.by == By::Reading {
        " (as haven reads it: CloudFormation does not compare it)"
    } else {
        ""
    };
    let mut lines = vec![format!(
        "{slug}/{} ({}){what}{by}",
        drifted.resource, drifted.kind
    )];
    lines.extend(drifted.differences.iter().map(|difference| {
        let path = difference.path.trim_start_matches('/').replace('/', ".");
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        format!(
            "    {path}: template {}, actual {}",
            text(&difference.expected),
            text(&difference.actual)
        )
    }));
    lines
}

/// Shows the drift and reverts it with `--revert`. Returns whether everything matches its template
/// at the end.
///
/// # Errors
/// When the account differs from the settings, a stack cannot be read, or a revert fails.
pub async fn command(options: &Drift) -> anyhow::Result<bool> {
    let which = &options.target.which;
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    account::expected_account(&target).await?;
    let stacks = blueprint::stacks(&target.environment);
    let all: Vec<&Stack> = stacks.iter().collect();
    let reporter = Reporter::aside(which.json);
    let found = look_at_all(&target, &all, &reporter).await?;
    if !which.json {
        print(&found);
    }
    let drifts: Vec<&StackDrift> = found
        .iter()
        .filter(|stack| !stack.drift.is_empty())
        .collect();
    if !options.revert || drifts.is_empty() {
        if which.json {
            tell(&target, &found, &[])?;
        } else if !drifts.is_empty() {
            eprintln!(
                "\nBring back what the templates say with: haven drift {} --revert",
                which.environment
            );
        }
        return Ok(found.iter().all(is_clean));
    }
    if !options.yes && !is_agreed(&target.environment.name)? {
        eprintln!("Nothing was done.");
        return Ok(false);
    }
    let named = Named::new(&options.allow);
    let mut reverted = Vec::new();
    for stack in drifts {
        let ours = all
            .iter()
            .find(|ours| ours.name == stack.name)
            .context("it is one of ours")?;
        let line = reporter.begin(&stack.name, "bringing back what its template says");
        match revert(&target, ours, &stack.drift, &named, &line).await {
            Ok(how) => {
                line.end(how);
                reverted.push(json!({ "stack": stack.name, "how": how }));
            }
            Err(error) => {
                line.end("FAILED");
                return Err(error);
            }
        }
    }
    let left = look_at_all(&target, &all, &Reporter::quiet()).await?;
    if which.json {
        tell(&target, &left, &reverted)?;
    } else if left.iter().all(is_clean) {
        println!("\nEverything is as the templates say.");
    } else {
        println!("\nThis is left:");
        print(&left);
    }
    Ok(left.iter().all(is_clean))
}

/// A stack whose drift is unknown counts as clean: it shows no drift, and the output names it.
fn is_clean(stack: &StackDrift) -> bool {
    stack.drift.is_empty()
}

fn tell(target: &Target, stacks: &[StackDrift], reverted: &[Value]) -> anyhow::Result<()> {
    let document =
        json!({ "environment": target.environment.name, "stacks": stacks, "reverted": reverted });
    println!(
        "{}",
        serde_json::to_string_pretty(&document).context("write JSON")?
    );
    Ok(())
}

fn print(stacks: &[StackDrift]) {
    for stack in stacks {
        for line in stack
            .drift
            .iter()
            .flat_map(|drifted| lines(stack.slug, drifted))
        {
            println!("{line}");
        }
        if let Some(unknown) = &stack.unknown {
            println!("{}: not known: {unknown}", stack.slug);
        }
    }
    let count: usize = stacks.iter().map(|stack| stack.drift.len()).sum();
    println!("{count} resources differ from their templates");
}

#[cfg(test)]
mod tests {
    use provision::drift::drifted::Difference;

    use super::*;

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

    #[test]
    fn each_difference_is_a_line_with_both_values() {
        let told = lines(
            "messaging",
            &modified("/RedrivePolicy/maxReceiveCount", Some("5"), None),
        );
        assert_eq!(told[0], "messaging/Orders (AWS::SQS::Queue)");
        assert_eq!(
            told[1],
            "    RedrivePolicy.maxReceiveCount: template 5, actual (none)"
        );
    }
}
