//! `haven deploy`: makes a plan, asks for confirmation, and applies it.

use std::time::Duration;

use clap::Args;
use haven_console::prompt::Question;
use provision::Reporter;
use provision::deploy::Deployed;
use provision::plan::{Plan, forget, plan};

use super::apply::{apply_and_tell, tell};
use super::plan::{planning, show};
use crate::agreement::is_agreed;
use crate::arguments::{Guard, Target, YES};
use crate::target;

/// The validity of a plan that `haven deploy` applies at once.
const AT_ONCE: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub guard: Guard,
    #[arg(long, help = YES)]
    pub yes: bool,
}

/// Makes a plan, asks for confirmation, and applies it.
///
/// # Errors
/// When the plan is refused, cannot be confirmed, or a stack fails.
pub async fn command(options: &Deploy) -> anyhow::Result<bool> {
    let which = &options.target.which;
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let planning = planning(&options.target, &options.guard, AT_ONCE);
    let made = plan(&target, &planning, &Reporter::aside(which.json)).await?;
    if made.is_empty() {
        return tell(
            &Deployed::unchanged(&made, &target.environment),
            &options.target,
        );
    }
    let done = match is_to_be_done(&target, &made, options.yes, which.json) {
        Ok(true) => apply_and_tell(&target, &made, &options.target).await,
        Ok(false) => {
            forget(&target, &made.stacks).await;
            eprintln!("Nothing was done.");
            return Ok(true);
        }
        Err(error) => Err(error),
    };
    if done.is_err() {
        // No file names these change sets, so nobody could execute them later.
        forget(&target, &made.stacks).await;
    }
    done
}

/// Checks the plan, and asks the user unless `yes` is set. `local` needs no confirmation.
///
/// # Errors
/// When the plan is refused, or standard input is not a terminal.
fn is_to_be_done(
    target: &provision::Target,
    plan: &Plan,
    yes: bool,
    json: bool,
) -> anyhow::Result<bool> {
    plan.check()?;
    if target.environment.local {
        return Ok(true);
    }
    if !json {
        show(plan);
    }
    let Plan {
        environment: name,
        account,
        region,
        ..
    } = plan;
    let question = Question {
        text: &format!("Apply to {name} (account {account}, {region})?"),
        command: "haven deploy",
        tip: &format!("review with `haven plan {name}`, then add `--yes`"),
    };
    Ok(is_agreed(question, name, account, yes)?)
}
