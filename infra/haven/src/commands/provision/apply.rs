//! `haven apply`: applies the plan in a file.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use platform::history::History;
use provision::Reporter;
use provision::deploy::Deployed;
use provision::plan::Plan;

use super::left_out::print_left_out;
use crate::arguments::{ENVIRONMENTS, Place, Settings, Target};
use crate::target;

#[derive(Debug, Args)]
pub struct Apply {
    /// Plan file that `haven plan --out` wrote
    pub plan: PathBuf,
    /// The environments that the plan was made with.
    #[arg(long, value_name = "DIR", env = "HAVEN_ENVIRONMENTS", help = ENVIRONMENTS)]
    pub environments: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
}

/// Applies the plan in a file.
///
/// # Errors
/// When the plan cannot be read or no longer fits, or a stack fails.
pub async fn command(options: &Apply) -> anyhow::Result<bool> {
    let plan = Plan::read(&options.plan)?;
    let settings = Settings {
        set: plan.set.clone(),
        environments: options.environments.clone(),
    };
    let which = settings.of(&plan.environment, options.json);
    let target = Target {
        which,
        place: options.place.clone(),
    };
    let (aws, environment) = target::resolve(&target).await?;
    apply_and_tell(&aws.target(environment), &plan, &target).await
}

/// Applies a plan, records the deployment and prints its result.
///
/// # Errors
/// When the plan no longer fits, or a stack fails.
pub async fn apply_and_tell(
    target: &provision::Target,
    plan: &Plan,
    options: &Target,
) -> anyhow::Result<bool> {
    let history = History::of(&options.place.state, &target.environment.name);
    // Check before the deployment, because exit code 64 means that nothing was done.
    history.check()?;
    let deployed =
        provision::deploy::apply::apply(target, plan, &Reporter::new(options.which.json)).await?;
    history.remember(&blueprint::stacks(&target.environment), &deployed.stacks)?;
    tell(&deployed, options)
}

/// Prints the result of a deployment.
///
/// # Errors
/// When the JSON cannot be written.
pub fn tell(deployed: &Deployed, options: &Target) -> anyhow::Result<bool> {
    if options.which.json {
        println!("{}", serde_json::to_string(deployed).context("write JSON")?);
    } else {
        println!("{}", deployed.summary());
        print_left_out(&deployed.left_out);
    }
    Ok(true)
}
