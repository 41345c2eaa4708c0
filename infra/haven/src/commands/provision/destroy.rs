//! `haven destroy`: deletes the stacks of an environment after a confirmation.

use anyhow::Context as _;
use blueprint::Environment;
use clap::Args;
use haven_console::prompt::Question;
use platform::history::History;
use provision::Reporter;
use provision::account;
use provision::deploy::destroy::{check, destroy, doomed};
use provision::guard::Named;

use crate::agreement::is_agreed;
use crate::arguments::{ALLOW, Target, YES, stack_and_resource};
use crate::target;

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
        eprintln!("Nothing was deleted.");
        return Ok(true);
    }
    let destroyed = destroy(&target, doomed, &Reporter::new(options.target.which.json)).await?;
    History::of(&options.target.place.state, &target.environment.name).forget();
    if options.target.which.json {
        println!(
            "{}",
            serde_json::to_string(&destroyed).context("write JSON")?
        );
    } else {
        let (removed, retained) = (destroyed.removed.len(), destroyed.retained.len());
        println!("{removed} stacks deleted; {retained} resources that hold data were kept");
        destroyed
            .retained
            .iter()
            .for_each(|name| println!("  kept  {name}"));
    }
    Ok(true)
}
