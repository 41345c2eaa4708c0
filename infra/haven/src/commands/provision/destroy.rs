//! `haven destroy`: deletes the stacks of an environment after a confirmation.

use anyhow::Context as _;
use blueprint::Environment;
use clap::Args;
use haven_console::exit::Exit;
use haven_console::prompt::Question;
use haven_console::verdict::Verdict;
use platform::history::History;
use provision::Reporter;
use provision::account;
use provision::deploy::destroy::{Destroyed, check, destroy, doomed};
use provision::guard::Named;
use serde_json::json;

use super::counted;
use crate::agreement::is_agreed;
use crate::arguments::{ALLOW, Target, YES, stack_and_resource};
use crate::target;

const SCHEMA: &str = "haven.destroy/1";

#[derive(Debug, Args)]
pub struct Destroy {
    #[command(flatten)]
    pub target: Target,
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = stack_and_resource, help = ALLOW)]
    pub allow: Vec<String>,
    #[arg(long, help = YES)]
    pub yes: bool,
}

/// Deletes the stacks of an environment after a confirmation.
///
/// # Errors
/// When a resource with data would be lost without `--allow`, or a stack cannot be deleted.
pub async fn command(options: &Destroy) -> anyhow::Result<bool> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let account = if target.environment.local {
        String::new()
    } else {
        account::expected_account(&target).await?
    };
    let doomed = doomed(&target).await?;
    check(&target, &doomed, &Named::new(&options.allow))?;
    let Environment { name, settings, .. } = &target.environment;
    let place = match account.as_str() {
        "" => "this machine".to_owned(),
        account => format!("account {account}, {}", settings.account.region),
    };
    let question = Question {
        text: &format!("Delete the stacks of {name} ({place})?"),
        command: "haven destroy",
        tip: &format!("review with `haven status {name}`, then add `--yes`"),
    };
    if !is_agreed(question, name, &account, options.yes)? {
        let verdict = Verdict::neutral("Not deleted: nothing was changed.");
        let exit = match options.target.which.json {
            true => verdict.print_result(SCHEMA, json!({})),
            false => verdict.print(),
        };
        return Ok(exit == Exit::Done);
    }
    let destroyed = destroy(&target, doomed, &Reporter::new(options.target.which.json)).await?;
    History::of(&options.target.place.state, name).forget();
    let verdict = verdict(name, &destroyed);
    let exit = if options.target.which.json {
        let fields = serde_json::to_value(&destroyed).context("write JSON")?;
        verdict.print_result(SCHEMA, fields)
    } else {
        let kept = destroyed.retained.iter();
        kept.for_each(|name| println!("kept  {name}"));
        println!();
        verdict.print()
    };
    Ok(exit == Exit::Done)
}

fn verdict(environment: &str, destroyed: &Destroyed) -> Verdict {
    let stacks = counted(destroyed.removed.len(), "stack");
    let kept = match destroyed.retained.len() {
        0 => "no resource was kept".to_owned(),
        1 => "1 resource with data was kept and still costs money".to_owned(),
        count => format!("{count} resources with data were kept and still cost money"),
    };
    Verdict::good(format!("Deleted {stacks} of {environment}; {kept}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_resources_are_counted() {
        let destroyed = |retained: &[&str]| Destroyed {
            removed: vec!["brew-haven-dev-data".to_owned()],
            retained: retained.iter().map(ToString::to_string).collect(),
        };
        let all = verdict("dev", &destroyed(&[]));
        assert_eq!(
            all,
            Verdict::good("Deleted 1 stack of dev; no resource was kept.")
        );
        assert_eq!(all.exit(), Exit::Done);
        let expected =
            "Deleted 1 stack of dev; 2 resources with data were kept and still cost money.";
        assert_eq!(
            verdict("dev", &destroyed(&["a", "b"])),
            Verdict::good(expected)
        );
    }
}
