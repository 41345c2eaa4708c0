//! Deploys all stacks of an environment in the order of their dependencies. Stacks that do not
//! depend on each other are deployed at the same time.

pub mod apply;
pub mod destroy;

use std::time::{Duration, Instant};

use anyhow::bail;
use blueprint::{Environment, LeftOut, Stack};
use futures::future::join_all;
use serde::Serialize;

use crate::aws_failure::Several;
use crate::change_set::apply;
use crate::guard::Named;
use crate::plan::{Plan, StackPlan};
use crate::report::{Line, Reporter};
use crate::target::Target;

pub use crate::change_set::Outcome;

/// The result of a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Deployed {
    pub stacks: Vec<StackOutcome>,
    /// The features that the stacks lack, on a local AWS only.
    pub left_out: Vec<LeftOut>,
}

/// The result of one stack.
#[derive(Debug, Clone, Serialize)]
pub struct StackOutcome {
    pub name: String,
    pub outcome: Outcome,
    pub seconds: f64,
}

impl Deployed {
    /// Returns the result of a plan without changes.
    pub fn unchanged(plan: &Plan, environment: &Environment) -> Deployed {
        let of = |stack: &StackPlan| StackOutcome {
            name: stack.name.clone(),
            outcome: Outcome::Unchanged,
            seconds: 0.0,
        };
        Deployed {
            stacks: plan.stacks.iter().map(of).collect(),
            left_out: blueprint::left_out(environment),
        }
    }

    /// Returns a line for people.
    pub fn summary(&self) -> String {
        let count = |outcome| {
            self.stacks
                .iter()
                .filter(|stack| stack.outcome == outcome)
                .count()
        };
        let (created, updated) = (count(Outcome::Created), count(Outcome::Updated));
        match (created, updated) {
            (0, 0) => format!("{} stacks, no changes", self.stacks.len()),
            _ => format!(
                "{} stacks: {created} created, {updated} updated",
                self.stacks.len()
            ),
        }
    }
}

/// Deploys all stacks that have changed. After a failure, no further stack is started.
///
/// # Errors
/// As [`deploy_stacks`].
pub async fn deploy(target: &Target, reporter: &Reporter) -> anyhow::Result<Deployed> {
    let stacks = blueprint::stacks(&target.environment);
    let stacks = deploy_stacks(target, stacks, &Named::default(), reporter).await?;
    Ok(Deployed {
        stacks,
        left_out: blueprint::left_out(&target.environment),
    })
}

/// Updates stacks to their templates. A stateful resource is removed or replaced only if `named`
/// contains it.
///
/// # Errors
/// All failures of stacks that are deployed at the same time. Stacks that depend on them are not
/// started.
pub async fn deploy_stacks(
    target: &Target,
    stacks: Vec<Stack>,
    named: &Named,
    reporter: &Reporter,
) -> anyhow::Result<Vec<StackOutcome>> {
    in_waves(stacks, async |stack: &Stack| {
        let begun = Instant::now();
        let line = reporter.begin(&stack.name, stack.about);
        let changed = apply(target, stack, named, &line).await;
        StackOutcome::of(&stack.name, changed, begun.elapsed(), line)
    })
    .await
}

/// Calls `act` for every stack, at the same time for stacks that do not depend on each other.
///
/// # Errors
/// All failures of a wave, with the stacks that were changed before. Later waves are not started.
pub(crate) async fn in_waves(
    stacks: Vec<Stack>,
    act: impl AsyncFn(&Stack) -> anyhow::Result<StackOutcome>,
) -> anyhow::Result<Vec<StackOutcome>> {
    let mut outcomes: Vec<StackOutcome> = Vec::new();
    for wave in waves(stacks)? {
        let (done, failed): (Vec<_>, Vec<_>) = join_all(wave.iter().map(|stack| act(stack)))
            .await
            .into_iter()
            .partition(Result::is_ok);
        outcomes.extend(done.into_iter().flatten());
        if !failed.is_empty() {
            let failed: Vec<anyhow::Error> = failed.into_iter().filter_map(Result::err).collect();
            let changed = outcomes
                .iter()
                .filter(|stack| stack.outcome != Outcome::Unchanged);
            let changed: Vec<&str> = changed.map(|stack| stack.name.as_str()).collect();
            let done = match changed.as_slice() {
                [] => "nothing was changed before that".to_owned(),
                names => format!(
                    "the stacks deployed before stay as they are: {}; deploy again to continue",
                    names.join(", ")
                ),
            };
            return Err(Several::of(&failed, &done).into());
        }
    }
    Ok(outcomes)
}

impl StackOutcome {
    /// Makes the result of one stack, and finishes its progress line.
    ///
    /// # Errors
    /// The error in `changed`.
    pub fn of(
        name: &str,
        changed: anyhow::Result<Outcome>,
        took: Duration,
        line: Line,
    ) -> anyhow::Result<StackOutcome> {
        let text = match &changed {
            Ok(Outcome::Created) => Some("created"),
            Ok(Outcome::Updated) => Some("updated"),
            Ok(Outcome::Unchanged) => Some("no changes"),
            Err(_) => None,
        };
        line.end_after(text, took);
        Ok(StackOutcome {
            name: name.to_owned(),
            outcome: changed?,
            seconds: took.as_secs_f64(),
        })
    }
}

/// Groups stacks into waves. The stacks of a wave depend only on earlier waves.
fn waves(mut stacks: Vec<Stack>) -> anyhow::Result<Vec<Vec<Stack>>> {
    let mut waves: Vec<Vec<Stack>> = Vec::new();
    while !stacks.is_empty() {
        let there = |name: &String| waves.iter().flatten().any(|stack| stack.name == *name);
        let (ready, later): (Vec<_>, Vec<_>) = stacks
            .into_iter()
            .partition(|stack| stack.depends_on.iter().all(there));
        if ready.is_empty() {
            let names: Vec<_> = later.iter().map(|stack| stack.name.as_str()).collect();
            bail!(
                "these stacks depend on each other, or on a stack that does not exist: {}",
                names.join(", ")
            );
        }
        waves.push(ready);
        stacks = later;
    }
    Ok(waves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(name: &str, depends_on: &[&str]) -> Stack {
        Stack {
            slug: "test",
            name: name.to_owned(),
            about: "",
            template: serde_json::Value::Null,
            stateful: false,
            depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn independent_stacks_are_deployed_first_and_in_parallel() {
        let waves = waves(vec![
            stack("c", &["a", "b"]),
            stack("a", &[]),
            stack("b", &[]),
            stack("d", &["a"]),
        ]);
        let names: Vec<Vec<_>> = waves
            .expect("no circle")
            .iter()
            .map(|wave| wave.iter().map(|stack| stack.name.clone()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c", "d"]]);
    }

    #[test]
    fn a_cycle_of_stacks_is_reported() {
        let refused = waves(vec![stack("a", &["b"]), stack("b", &["a"])])
            .expect_err("a circle")
            .to_string();
        assert!(refused.contains("a, b"), "{refused}");
    }
}
