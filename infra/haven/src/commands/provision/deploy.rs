//! `haven deploy`: makes a plan, asks for confirmation, and applies it.

use std::time::Duration;

use clap::Args;
use haven_console::exit::Exit;
use haven_console::settings;
use haven_console::verdict::Verdict;
use provision::Reporter;
use provision::deploy::Deployed;
use provision::plan::{Plan, forget, plan};
use serde_json::json;

use super::apply::{apply_and_tell, tell};
use super::plan::{planning, show, verdict};
use crate::agreement::{Agreement, Answer};
use crate::arguments::{Guard, Target};
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
    #[command(flatten)]
    pub answer: Answer,
}

/// Makes a plan, asks for confirmation, and applies it.
///
/// # Errors
/// When the plan is refused, cannot be confirmed, or a stack fails.
pub async fn command(options: &Deploy) -> anyhow::Result<Exit> {
    let which = &options.target.which;
    let agreement = Agreement {
        command: "haven deploy",
        review: format!("haven plan {}", which.environment),
        environment: &target::environment(which)?,
        answer: &options.answer,
    };
    if !agreement.environment.local {
        agreement.check()?;
    }
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let planning = planning(&options.target, &options.guard, AT_ONCE);
    let made = plan(&target, &planning, &Reporter::aside(settings::get().json)).await?;
    if made.is_empty() {
        let unchanged = Deployed::unchanged(&made, &target.environment);
        return Ok(tell(COMMAND, &unchanged, Duration::ZERO, &options.target));
    }
    if made.check().is_err() {
        forget(&target, &made.stacks).await;
        let verdict = verdict(&made, None);
        return Ok(verdict.end_lines("haven.deploy/1", json!(made), || show(&made)));
    }
    let done = match is_to_be_done(&target, &made, &agreement) {
        Ok(true) => apply_and_tell(COMMAND, &target, &made, &options.target).await,
        Ok(false) => {
            forget(&target, &made.stacks).await;
            let verdict = Verdict::neutral("Not deployed: nothing was changed.");
            return Ok(verdict.end_lines("haven.deploy/1", json!({}), || {}));
        }
        Err(error) => Err(error),
    };
    if done.is_err() {
        // No file names these change sets, so no command could execute them later.
        forget(&target, &made.stacks).await;
    }
    done
}

/// Shows the plan and asks for agreement. `local` needs none.
///
/// # Errors
/// As [`Agreement::ask`].
fn is_to_be_done(
    target: &provision::Target,
    plan: &Plan,
    agreement: &Agreement<'_>,
) -> anyhow::Result<bool> {
    if target.environment.local {
        return Ok(true);
    }
    if !settings::get().json {
        show(plan);
    }
    let (name, account) = (&plan.environment, &plan.account);
    let text = format!("Apply to {name} (account {account}, {})?", plan.region);
    Ok(agreement.ask(&text, account)?)
}
