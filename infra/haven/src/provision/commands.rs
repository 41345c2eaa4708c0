//! The commands `haven plan`, `apply`, `deploy`, `diff` and `destroy`.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use blueprint::consequence::{self, Change};
use serde::Serialize;
use serde_json::json;

use super::deploy::Deployed;
use super::destroy::{check, destroy, doomed};
use super::history::{History, read_template};
use super::plan::{Options, Plan, forget, plan, worst_first};
use super::{Named, Reporter, Target, present, print_left_out};
use crate::{cli, target};

/// The validity of a plan that `haven deploy` applies at once.
const AT_ONCE: Duration = Duration::from_secs(3600);

/// Makes a plan, shows it, and writes it to a file with `--out`. Returns whether it may be applied.
///
/// # Errors
/// When the environment cannot be resolved, or the plan cannot be made or written.
pub async fn plan_and_show(options: &cli::PlanOf) -> anyhow::Result<bool> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let json = options.target.which.json;
    let planning = Options::of(&options.target, &options.guard, options.file.valid_for);
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

impl Options {
    fn of(target: &cli::Target, guard: &cli::Guard, valid_for: Duration) -> Options {
        Options {
            named: Named::new(&guard.allow),
            set: target.which.settings.set.clone(),
            valid_for,
            history: History::of(&target.place.state, &target.which.environment),
            budget_usd: guard.budget,
            drift: !guard.no_drift,
        }
    }
}

/// Applies the plan in a file.
///
/// # Errors
/// When the plan cannot be read or no longer fits, or a stack fails.
pub async fn apply_command(options: &cli::Apply) -> anyhow::Result<bool> {
    let plan = Plan::read(&options.plan)?;
    let settings = cli::Settings {
        set: plan.set.clone(),
        environments: options.environments.clone(),
    };
    let which = settings.of(&plan.environment, options.json);
    let target = cli::Target {
        which,
        place: options.place.clone(),
    };
    let (aws, environment) = target::resolve(&target).await?;
    apply_and_tell(&aws.target(environment), &plan, &target).await
}

/// Makes a plan, asks for confirmation, and applies it.
///
/// # Errors
/// When the plan is refused, cannot be confirmed, or a stack fails.
pub async fn deploy_command(options: &cli::Deploy) -> anyhow::Result<bool> {
    let which = &options.target.which;
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let planning = Options::of(&options.target, &options.guard, AT_ONCE);
    let made = plan(&target, &planning, &Reporter::aside(which.json)).await?;
    if made.is_empty() {
        return tell(
            &Deployed::unchanged(&made, &target.environment),
            &options.target,
        );
    }
    let done = match is_to_be_done(&target, &made, options.yes) {
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
fn is_to_be_done(target: &Target, plan: &Plan, yes: bool) -> anyhow::Result<bool> {
    plan.check()?;
    if target.environment.local {
        return Ok(true);
    }
    show(plan, false)?;
    Ok(yes || is_agreed(&target.environment.name)?)
}

async fn apply_and_tell(
    target: &Target,
    plan: &Plan,
    options: &cli::Target,
) -> anyhow::Result<bool> {
    let history = History::of(&options.place.state, &target.environment.name);
    // Check before the deployment, because exit code 64 means that nothing was done.
    history.check()?;
    let deployed = super::apply(target, plan, &Reporter::new(options.which.json)).await?;
    history.remember(&blueprint::stacks(&target.environment), &deployed.stacks)?;
    tell(&deployed, options)
}

fn tell(deployed: &Deployed, options: &cli::Target) -> anyhow::Result<bool> {
    if options.which.json {
        println!("{}", serde_json::to_string(deployed).context("write JSON")?);
    } else {
        println!("{}", deployed.summary());
        print_left_out(&deployed.left_out);
    }
    Ok(true)
}

fn show(plan: &Plan, json: bool) -> anyhow::Result<()> {
    match json {
        true => println!(
            "{}",
            serde_json::to_string_pretty(plan).context("write JSON")?
        ),
        false => print!("{}", present::text(plan)),
    }
    Ok(())
}

/// Asks the user to type the name of the environment. Returns whether they did.
///
/// # Errors
/// When standard input is not a terminal.
pub fn is_agreed(environment: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this changes {environment}: say --yes, or use haven plan and haven apply");
    }
    eprint!("\nDo this? Type {environment}: ");
    let mut typed = String::new();
    std::io::stdin()
        .read_line(&mut typed)
        .context("read the answer")?;
    Ok(typed.trim() == environment)
}

#[derive(Serialize)]
struct StackDiff {
    stack: String,
    changes: Vec<Change>,
}

/// Compares the templates with those of the last deployment. Returns whether they are equal.
///
/// # Errors
/// When the settings are wrong, or a template cannot be read.
pub fn diff_command(options: &cli::Diff) -> anyhow::Result<bool> {
    let environment = target::environment(&options.which)?;
    let history = History::of(&options.state, &environment.name);
    let mut diffs = Vec::new();
    for stack in blueprint::stacks(&environment) {
        let before = match &options.against {
            Some(folder) => read_template(folder, &stack.name)?,
            None => history.template(&stack.name)?,
        };
        let changes = consequence::diff(&before, &stack.template);
        if !changes.is_empty() {
            diffs.push(StackDiff {
                stack: stack.slug.to_owned(),
                changes,
            });
        }
    }
    if options.which.json {
        println!(
            "{}",
            serde_json::to_string_pretty(
                &json!({ "environment": environment.name, "stacks": diffs })
            )?
        );
    } else {
        let changes = worst_first(
            diffs
                .iter()
                .map(|diff| (diff.stack.as_str(), diff.changes.as_slice())),
        );
        print!("{}", present::changes(&changes, &Named::default()));
    }
    Ok(diffs.is_empty())
}

/// Deletes the stacks of an environment after a confirmation.
///
/// # Errors
/// When a resource with data would be lost without `--allow`, or a stack cannot be deleted.
pub async fn destroy_command(
    options: &cli::Target,
    allow: &[String],
    yes: bool,
) -> anyhow::Result<bool> {
    let (aws, environment) = target::resolve(options).await?;
    let target = aws.target(environment);
    if !target.environment.local {
        super::live::expected_account(&target).await?;
    }
    let doomed = doomed(&target).await?;
    check(&target, &doomed, &Named::new(allow))?;
    if !yes && !is_agreed(&target.environment.name)? {
        eprintln!("Nothing was deleted.");
        return Ok(true);
    }
    let destroyed = destroy(&target, doomed, &Reporter::new(options.which.json)).await?;
    History::of(&options.place.state, &target.environment.name).forget();
    if options.which.json {
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
