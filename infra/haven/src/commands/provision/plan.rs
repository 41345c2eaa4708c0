//! `haven plan`: makes a plan, shows it, and writes it to a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use haven_console::exit::Exit;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::{settings, time, width};
use platform::history::History;
use provision::Reporter;
use provision::guard::Named;
use provision::plan::{Options, Plan, forget, plan};
use serde_json::json;

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

/// Makes a plan, shows it, and writes it to a file with `--out`. The exit code says whether it may be
/// applied.
///
/// # Errors
/// When the environment cannot be resolved, or the plan cannot be made or written.
pub async fn command(options: &PlanOf) -> anyhow::Result<Exit> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let planning = planning(&options.target, &options.guard, options.file.valid_for);
    let made = plan(&target, &planning, &Reporter::aside(settings::get().json)).await?;
    let out = options.file.out.as_ref();
    let written = out.map_or(Ok(()), |path| made.write(path));
    if out.is_none() || written.is_err() {
        forget(&target, &made.stacks).await;
    }
    written?;
    let verdict = verdict(&made, out.map(PathBuf::as_path));
    Ok(verdict.end("haven.plan/1", json!(made), || show(&made)))
}

/// Returns whether the plan may be applied, with the number of changes and the next step. `file` is
/// where the plan was saved.
pub fn verdict(plan: &Plan, file: Option<&Path>) -> Verdict {
    let count = present::count(&plan.changes());
    if plan.check().is_err() {
        let verdict = Verdict::no(format!("Plan refused: {count}."));
        let named = plan.named();
        let missing = plan.stacks.iter().flat_map(|stack| {
            let changes = named.missing(&stack.slug, &stack.changes).into_iter();
            changes.map(move |change| format!("--allow {}/{}", stack.slug, change.resource))
        });
        let missing: Vec<String> = missing.collect();
        return match missing.is_empty() {
            true => verdict,
            false => verdict.next(format!("change the settings, or add {}", missing.join(" "))),
        };
    }
    if plan.is_empty() {
        let stacks = counted(plan.stacks.len(), "stack");
        return Verdict::good(format!("No changes in {stacks}."));
    }
    match file {
        Some(path) => saved(&count, path, &time::expiry(plan.expires_at, plan.made_at)),
        // Not `haven deploy`, which would need the same --set and --allow.
        None => Verdict::good(format!("Plan: {count}. Not saved."))
            .next("add --out FILE to apply exactly this plan"),
    }
}

fn saved(count: &str, path: &Path, expiry: &str) -> Verdict {
    let path = path.display();
    Verdict::good(format!(
        "Plan: {count}. Saved in {path}, expires at {expiry}."
    ))
    .next(format!("haven apply {path}"))
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

/// Prints a plan without its verdict.
pub fn show(plan: &Plan) {
    let text = present::text(plan, width::stdout(), settings::get().verbose);
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use ::time::macros::datetime;

    use super::*;

    #[test]
    fn a_saved_plan_says_when_it_expires_without_fractions_of_a_second() {
        let made_at = datetime!(2026-11-29 07:07:23.717990741 UTC);
        let expiry = time::expiry(made_at + Duration::from_secs(8 * 3600), made_at);
        let count = "2 to create, 0 to change, 0 to replace, 0 to delete";
        let expected = "Plan: 2 to create, 0 to change, 0 to replace, 0 to delete. \
            Saved in dev.plan.json, expires at 15:07 UTC (in 8 h).";
        assert_eq!(
            saved(count, Path::new("dev.plan.json"), &expiry),
            Verdict::good(expected).next("haven apply dev.plan.json")
        );
    }
}
