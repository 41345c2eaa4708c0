//! `haven deploy`: makes a plan, asks for confirmation, and applies it.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use haven_console::exit::Exit;
use haven_console::prompt::Question;
use haven_console::verdict::Verdict;
use provision::Reporter;
use provision::deploy::Deployed;
use provision::plan::{Plan, forget, plan};
use serde_json::json;

use super::apply::{apply_and_tell, tell};
use super::plan::{planning, show, verdict};
use crate::agreement::is_agreed;
use crate::arguments::{Guard, Target, YES};
use crate::target;

const COMMAND: &str = "deploy";
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
        let unchanged = Deployed::unchanged(&made, &target.environment);
        return tell(COMMAND, &unchanged, Duration::ZERO, &options.target);
    }
    if made.check().is_err() {
        forget(&target, &made.stacks).await;
        let verdict = verdict(&made, None);
        let exit = if which.json {
            let fields = serde_json::to_value(&made).context("write JSON")?;
            verdict.print_result("haven.deploy/1", fields)
        } else {
            show(&made);
            verdict.print()
        };
        return Ok(exit == Exit::Done);
    }
    let done = match is_to_be_done(&target, &made, options.yes, which.json) {
        Ok(true) => apply_and_tell(COMMAND, &target, &made, &options.target).await,
        Ok(false) => {
            forget(&target, &made.stacks).await;
            let verdict = Verdict::neutral("Not deployed: nothing was changed.");
            let exit = match which.json {
                true => verdict.print_result("haven.deploy/1", json!({})),
                false => verdict.print(),
            };
            return Ok(exit == Exit::Done);
        }
        Err(error) => Err(error),
    };
    if done.is_err() {
        // No file names these change sets, so no command could execute them later.
        forget(&target, &made.stacks).await;
    }
    done
}

/// Asks the user unless `yes` is set. `local` needs no confirmation.
///
/// # Errors
/// When standard input is not a terminal.
fn is_to_be_done(
    target: &provision::Target,
    plan: &Plan,
    yes: bool,
    json: bool,
) -> anyhow::Result<bool> {
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
