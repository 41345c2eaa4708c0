//! `haven apply`: applies the plan in a file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use blueprint::Environment;
use clap::Args;
use haven_console::exit::Exit;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::{settings, time, width};
use platform::history::History;
use provision::Reporter;
use provision::deploy::{Deployed, Outcome, StackOutcome};
use provision::plan::Plan;
use serde_json::json;

use super::{left_out, present};
use crate::agreement::{Agreement, Answer};
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
    #[command(flatten)]
    pub answer: Answer,
}

/// Applies the plan in a file. A plan for `prod` needs the account id.
///
/// # Errors
/// When the plan cannot be read, is not confirmed or no longer fits, or a stack fails.
pub async fn command(options: &Apply) -> anyhow::Result<Exit> {
    let plan = Plan::read(&options.plan)?;
    let settings = Settings {
        set: plan.set.clone(),
        environments: options.environments.clone(),
    };
    let which = settings.of(&plan.environment);
    if !is_agreed(options, &plan, &target::environment(&which)?)? {
        let verdict = Verdict::neutral("Not applied: nothing was changed.");
        return Ok(verdict.end_lines("haven.apply/1", json!({}), || {}));
    }
    let target = Target {
        which,
        place: options.place.clone(),
    };
    let (aws, environment) = target::resolve(&target).await?;
    apply_and_tell("apply", &aws.target(environment), &plan, &target).await
}

/// Asks for the account id before a plan for production is applied. The users of other
/// environments agreed to the plan when they saved it.
///
/// # Errors
/// As [`Agreement::ask`].
fn is_agreed(options: &Apply, plan: &Plan, environment: &Environment) -> anyhow::Result<bool> {
    let (name, account) = (&environment.name, &plan.account);
    let agreement = Agreement {
        command: "haven apply",
        review: format!("haven plan {name}"),
        environment,
        answer: &options.answer,
    };
    if !agreement.is_needed_for_a_saved_plan() {
        return Ok(true);
    }
    let count = present::count(&plan.changes());
    let text = format!(
        "Apply to {name} (account {account}, {}): {count}?",
        plan.region
    );
    Ok(agreement.ask(&text, account)?)
}

/// Applies a plan, records the deployment and prints its result. `command` names the schema of the
/// result.
///
/// # Errors
/// When the plan no longer fits, or a stack fails.
pub async fn apply_and_tell(
    command: &str,
    target: &provision::Target,
    plan: &Plan,
    options: &Target,
) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let history = History::of(&options.place.state, &target.environment.name);
    // Check before the deployment, because exit code 64 means that nothing was done.
    history.check()?;
    let reporter = Reporter::new(settings::get().json);
    let deployed = provision::deploy::apply::apply(target, plan, &reporter).await?;
    history.remember(&blueprint::stacks(&target.environment), &deployed.stacks)?;
    Ok(tell(command, &deployed, begun.elapsed(), options))
}

/// Prints the result of a deployment.
pub fn tell(command: &str, deployed: &Deployed, took: Duration, options: &Target) -> Exit {
    let verdict = verdict(&options.which.environment, &deployed.stacks, took);
    verdict.end_lines(&format!("haven.{command}/1"), json!(deployed), || {
        let verbose = settings::get().verbose;
        let text = left_out::text(&deployed.left_out, width::stdout_text(), verbose);
        if !text.is_empty() {
            println!("{text}");
        }
    })
}

fn verdict(environment: &str, stacks: &[StackOutcome], took: Duration) -> Verdict {
    let count = |outcome| {
        stacks
            .iter()
            .filter(|stack| stack.outcome == outcome)
            .count()
    };
    let all = counted(stacks.len(), "stack");
    let counts = [
        (count(Outcome::Created), "created"),
        (count(Outcome::Updated), "updated"),
        (count(Outcome::Unchanged), "unchanged"),
    ];
    let [(0, _), (0, _), _] = counts else {
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let (took, counts) = (time::duration(took), counts.join(", "));
        return Verdict::good(format!(
            "Deployed {environment} in {took}: {all}, {counts}."
        ))
        .next(format!("haven smoke {environment}"));
    };
    Verdict::good(format!("Nothing to deploy: {all} unchanged."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan of an environment without a change.
    fn plan(environment: &str) -> Plan {
        let now = ::time::OffsetDateTime::UNIX_EPOCH;
        Plan {
            format: 1,
            environment: environment.to_owned(),
            set: Vec::new(),
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            made_at: now,
            expires_at: now,
            named: Vec::new(),
            stacks: Vec::new(),
            forgotten: Vec::new(),
            parameters: std::collections::BTreeMap::new(),
            findings: Vec::new(),
            cost: None,
            budget_usd: None,
            seal: String::new(),
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        apply: Apply,
    }

    #[test]
    fn a_saved_plan_needs_an_answer_for_production_only() {
        let agreed = |environment: &str, flags: &[&str]| {
            let line = [&["apply", "x.plan.json"], flags].concat();
            let options = <Line as clap::Parser>::parse_from(line).apply;
            let named = Environment::named(environment).expect("one of ours");
            is_agreed(&options, &plan(environment), &named)
        };
        for environment in ["local", "dev", "staging"] {
            assert!(agreed(environment, &[]).expect("asks nothing"));
        }
        for confirmed in [
            &["--confirm", "123456789012"][..],
            &["--yes", "--confirm", "123456789012"],
        ] {
            assert!(agreed("prod", confirmed).expect("confirmed"));
        }
        for environment in ["dev", "prod"] {
            let other = agreed(environment, &["--confirm", "210987654321"]);
            other.expect_err("another account");
        }
        if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            agreed("prod", &["--yes"]).expect_err("--yes alone is no answer");
        }
    }

    #[test]
    fn a_deployment_ends_with_the_outcome_of_the_stacks() {
        let stack = |outcome| StackOutcome {
            name: "brew-haven-dev-data".to_owned(),
            outcome,
            seconds: 1.0,
        };
        let stacks = [
            stack(Outcome::Created),
            stack(Outcome::Created),
            stack(Outcome::Unchanged),
        ];
        let took = Duration::from_secs(860);
        assert_eq!(
            verdict("dev", &stacks, took),
            Verdict::good("Deployed dev in 14 m 20 s: 3 stacks, 2 created, 1 unchanged.")
                .next("haven smoke dev")
        );
        let unchanged = verdict("dev", &stacks[2..], took);
        assert_eq!(
            unchanged,
            Verdict::good("Nothing to deploy: 1 stack unchanged.")
        );
        assert_eq!(unchanged.exit(), Exit::Done);
    }
}
