//! `haven doctor`: checks the account and the stacks, and names the next command for each problem.

use anyhow::Context as _;
use clap::Args;
use provision::doctor::check::Check;
use provision::doctor::diagnose;
use provision::doctor::next_step::Verdict;

use crate::arguments::{self, FIX};
use crate::target;

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub target: arguments::Target,
    #[arg(long, help = FIX)]
    pub fix: bool,
}

/// Prints all checks. Returns whether nothing is wrong.
///
/// # Errors
/// When the settings are wrong, or a fix fails.
pub async fn command(options: &Doctor) -> anyhow::Result<bool> {
    let which = &options.target.which;
    let (aws, environment) = target::locate(&options.target).await?;
    let target = aws.target(environment);
    let diagnosis = diagnose(&target, options.fix).await?;
    if which.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&diagnosis).context("write JSON")?
        );
    } else {
        diagnosis
            .fixed
            .iter()
            .for_each(|done| println!("fixed  {done}"));
        diagnosis.checks.iter().for_each(print);
    }
    Ok(diagnosis
        .checks
        .iter()
        .all(|check| check.verdict != Verdict::Wrong))
}

fn print(check: &Check) {
    let verdict = match check.verdict {
        Verdict::Ok => "ok",
        Verdict::Look => "look",
        Verdict::Wrong => "wrong",
    };
    println!("{verdict:6} {}", check.what);
    if let Some(next) = &check.next {
        println!("       -> {next}");
    }
}
