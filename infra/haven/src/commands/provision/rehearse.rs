//! `haven rehearse`: deploys an environment to a separate local AWS before a real deployment. The
//! rehearsal deploys from nothing, deploys again without changes, runs the smoke checks, and
//! provokes one failure to check its report and rollback.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::time::counted;
use haven_console::{Interrupted, settings, width};
use platform::aws::Aws;
use platform::emulator::{Emulator, Source};
use platform::python::{self, Place};
use platform::state::State;
use platform::stop::Stop;
use platform::{leftovers, private_file};
use provision::Reporter;
use provision::deploy::{Outcome, deploy_stacks};
use provision::guard::Named;
use serde_json::{Value, json};
use uuid::Uuid;

use super::left_out;
use super::smoke::{Check, of_the_platform, step, text, verdict};
use crate::arguments::{STATE, Which};

/// The logical id of a resource that cannot be created: an alarm without a metric.
const BROKEN: &str = "PlannedFailure";

#[derive(Debug, Args)]
pub struct Rehearse {
    #[command(flatten)]
    pub which: Which,
    /// The state directory, whose Python environment is used if there is one.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Runs the rehearsal and prints each step. The exit code says whether all steps succeeded.
///
/// # Errors
/// When the local AWS cannot be started, or a signal ends the rehearsal. Its directory is removed
/// in every case.
pub async fn command(options: &Rehearse) -> anyhow::Result<Exit> {
    let mut environment = crate::target::environment(&options.which)?;
    // The templates then lack what the local AWS does not support, as for `haven deploy local`.
    environment.local = true;
    let begun = Instant::now();
    let progress = Steps::vanishing("rehearse");
    let stop = Stop::listen()?;
    let folder = Folder::new();
    let state = State::open(&folder.0)?;
    let rehearsed = tokio::select! {
        rehearsed = on_a_local_aws(&progress, &state, &environment, &options.state) => rehearsed,
        // A rehearsal has nothing to save.
        why = async {
            stop.asked().await;
            state.records().kill_all();
            Interrupted
        } => Err(why.into()),
    };
    // Processes of an interrupted start can still write to the directory.
    leftovers::end(&state).await;
    let checks = rehearsed?;
    let left_out = blueprint::left_out(&environment);
    let note = match left_out
        .iter()
        .map(|one| one.resources.len())
        .sum::<usize>()
    {
        0 => String::new(),
        count => format!("; {} not rehearsed (-v)", counted(count, "resource")),
    };
    let verdict = verdict(&checks, begun.elapsed(), &note);
    let fields = json!({ "well": verdict.exit() == Exit::Done, "steps": checks });
    Ok(verdict.end("haven.rehearse/1", fields, || {
        let columns = width::stdout_text();
        println!("{}", text(&checks, columns));
        if settings::get().verbose {
            println!("{}", left_out::text(&left_out, columns, true));
        }
    }))
}

/// The state directory of one rehearsal, removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(std::env::temp_dir().join(format!("haven-rehearsal-{}", Uuid::now_v7())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn on_a_local_aws(
    progress: &Steps,
    state: &State,
    environment: &blueprint::Environment,
    here: &Path,
) -> anyhow::Result<Vec<Check>> {
    let starting = progress.begin("starting a local AWS");
    let python = interpreter(state, here).await?;
    let emulator = Emulator::start(&Source::Python(python), state, None).await?;
    starting.ok("local AWS started");
    let rehearsed = steps(progress, &Aws::local(&emulator.access), environment).await;
    emulator.stop().await;
    rehearsed
}

/// Returns the Python interpreter from `HAVEN_PYTHON_ENV`, or from the state directory `here` of the
/// command line, or from the user's cache directory.
async fn interpreter(state: &State, here: &Path) -> anyhow::Result<PathBuf> {
    let place = match python::place(here) {
        named @ Place::Shared(_) => named,
        Place::InState(folder) => {
            // Use a finished environment, but do not build one here: `haven up` does that under the
            // lock of the state directory.
            if private_file::check_owner(here).is_ok()
                && let Some(found) = python::finished(&Place::Shared(folder)).await
            {
                return Ok(found);
            }
            python::in_cache().unwrap_or_else(|| Place::InState(state.path("python")))
        }
    };
    Ok(python::ensure(&place).await?.0)
}

async fn steps(
    progress: &Steps,
    aws: &Aws,
    environment: &blueprint::Environment,
) -> anyhow::Result<Vec<Check>> {
    let created = brought(aws, environment, Outcome::Created);
    let mut checks = vec![step(progress, "deploy from nothing", created).await];
    // The other checks need the deployed stacks.
    if checks.iter().all(|check| check.ok) {
        let unchanged = brought(aws, environment, Outcome::Unchanged);
        checks.push(step(progress, "deploy again", unchanged).await);
        checks.extend(of_the_platform(progress, aws, environment).await);
        checks.push(step(progress, "planned failure", failure(aws, environment)).await);
    }
    Ok(checks)
}

async fn brought(
    aws: &Aws,
    environment: &blueprint::Environment,
    expected: Outcome,
) -> anyhow::Result<String> {
    let begun = Instant::now();
    let stacks = blueprint::stacks(environment);
    let target = aws.target(environment.clone());
    let outcomes = deploy_stacks(&target, stacks, &Named::default(), &Reporter::quiet()).await?;
    match outcomes.iter().find(|stack| stack.outcome != expected) {
        Some(other) => bail!(
            "{} was {:?} instead of {expected:?}",
            other.name,
            other.outcome
        ),
        None => Ok(format!(
            "{} stacks in {:.1} s",
            outcomes.len(),
            begun.elapsed().as_secs_f64()
        )),
    }
}

/// Adds a resource that cannot be created to the first stack, and checks the error and the
/// rollback.
async fn failure(aws: &Aws, environment: &blueprint::Environment) -> anyhow::Result<String> {
    let target = aws.target(environment.clone());
    let mut stack = blueprint::stacks(environment)
        .into_iter()
        .next()
        .context("an environment has stacks")?;
    stack.template["Resources"][BROKEN] = json!({ "Type": "AWS::CloudWatch::Alarm",
        "Properties": { "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1 } });
    let name = stack.name.clone();
    stack.depends_on.clear();
    let failed = deploy_stacks(&target, vec![stack], &Named::default(), &Reporter::quiet()).await;
    let said = match failed {
        Ok(_) => bail!("{BROKEN} was created"),
        Err(error) => error.to_string(),
    };
    let cause = said.lines().next().unwrap_or_default();
    if !cause.starts_with(BROKEN) {
        bail!("the cause is not named first: {said}");
    }
    let left = provision::deployed_stack::deployed_template(&target.cloudformation, &name).await?;
    match &left["Resources"][BROKEN] {
        Value::Null => Ok(format!("rolled back; {cause}")),
        _ => bail!("{name} was not rolled back: its template has {BROKEN}"),
    }
}
