//! `haven plan`: makes a plan, shows it, and writes it to a file.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use platform::history::History;
use provision::Reporter;
use provision::guard::Named;
use provision::plan::{Options, Plan, forget, plan};

use super::present;
use crate::arguments::{Guard, PlanFile, Target};
use crate::target;

#[derive(Debug, Args)]
pub struct PlanOf {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub file: PlanFile,
}

/// Makes a plan, shows it, and writes it to a file with `--out`. Returns whether it may be applied.
///
/// # Errors
/// When the environment cannot be resolved, or the plan cannot be made or written.
pub async fn command(options: &PlanOf) -> anyhow::Result<bool> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let json = options.target.which.json;
    let planning = planning(&options.target, &options.guard, options.file.valid_for);
    let made = plan(&target, &planning, &Reporter::aside(json)).await?;
    let out = options.file.out.as_ref();
    let written = out.map_or(Ok(()), |path| made.write(path));
    if out.is_none() || written.is_err() {
        forget(&target, &made.stacks).await;
    }
    written?;
    show(&made, json)?;
    let may_be_applied = made.check();
    match (out, &may_be_applied, json) {
        (_, _, true) => {}
        (_, Err(refused), _) => eprintln!("\n{refused}"),
        (Some(path), Ok(()), _) => eprintln!(
            "\nIt is in {0}; do it with: haven apply {0}",
            path.display()
        ),
        (None, Ok(()), _) => {
            eprintln!("\nNothing was kept: with --out FILE it can be applied as it is.")
        }
    }
    Ok(may_be_applied.is_ok())
}

/// Returns the options of a plan.
pub fn planning(target: &Target, guard: &Guard, valid_for: Duration) -> Options {
    Options {
        named: Named::new(&guard.allow),
        set: target.which.settings.set.clone(),
        valid_for,
        seconds: History::of(&target.place.state, &target.which.environment).seconds(),
        budget_usd: guard.budget,
        drift: !guard.no_drift,
    }
}

/// Prints a plan.
///
/// # Errors
/// When the JSON cannot be written.
pub fn show(plan: &Plan, json: bool) -> anyhow::Result<()> {
    match json {
        true => println!(
            "{}",
            serde_json::to_string_pretty(plan).context("write JSON")?
        ),
        false => print!("{}", present::text(plan)),
    }
    Ok(())
}
