//! All stacks of an environment, in order of need, side by side where they do not need each other.

use std::time::Instant;

use anyhow::bail;
use blueprint::{LeftOut, Stack};
use futures::future::join_all;
use serde::Serialize;

use super::changes::{Changed, apply};
use super::{Reporter, Target};

#[derive(Debug, Clone, Serialize)]
pub struct Deployed {
    pub stacks: Vec<StackOutcome>,
    /// What the stacks do without: on the local AWS only.
    pub left_out: Vec<LeftOut>,
}

#[derive(Debug, Clone, Serialize)]
pub struct StackOutcome {
    pub name: String,
    pub outcome: Outcome,
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Created,
    Updated,
    Unchanged,
}

impl Deployed {
    pub fn summary(&self) -> String {
        let count = |outcome| self.stacks.iter().filter(|stack| stack.outcome == outcome).count();
        let (created, updated) = (count(Outcome::Created), count(Outcome::Updated));
        match (created, updated) {
            (0, 0) => format!("{} stacks, no changes", self.stacks.len()),
            _ => format!("{} stacks: {created} created, {updated} updated", self.stacks.len()),
        }
    }
}

/// Deploys what has changed. The first failure stops whatever has not begun, and is told cause first.
pub async fn deploy(target: &Target, reporter: &Reporter) -> anyhow::Result<Deployed> {
    let mut outcomes = Vec::new();
    for wave in waves(blueprint::stacks(&target.environment))? {
        let deployed = join_all(wave.iter().map(|stack| deploy_one(target, stack, reporter))).await;
        for outcome in deployed {
            outcomes.push(outcome?);
        }
    }
    Ok(Deployed { stacks: outcomes, left_out: blueprint::left_out(&target.environment) })
}

async fn deploy_one(target: &Target, stack: &Stack, reporter: &Reporter) -> anyhow::Result<StackOutcome> {
    let begun = Instant::now();
    let line = reporter.begin(&stack.name, stack.about);
    let changed = apply(target, stack, &line).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (outcome, text) = match &changed {
        Ok(Changed::Created) => (Outcome::Created, "created"),
        Ok(Changed::Updated) => (Outcome::Updated, "updated"),
        Ok(Changed::Nothing) => (Outcome::Unchanged, "no changes"),
        Err(_) => (Outcome::Unchanged, "FAILED"),
    };
    line.end(&format!("{text} ({seconds:.1} s)"));
    changed?;
    Ok(StackOutcome { name: stack.name.clone(), outcome, seconds })
}

/// Stacks that can be deployed side by side, wave after wave.
fn waves(mut stacks: Vec<Stack>) -> anyhow::Result<Vec<Vec<Stack>>> {
    let mut waves: Vec<Vec<Stack>> = Vec::new();
    while !stacks.is_empty() {
        let there = |name: &String| waves.iter().flatten().any(|stack| stack.name == *name);
        let (ready, later): (Vec<_>, Vec<_>) = stacks.into_iter().partition(|stack| stack.depends_on.iter().all(there));
        if ready.is_empty() {
            let names: Vec<_> = later.iter().map(|stack| stack.name.as_str()).collect();
            bail!("these stacks need each other, or one that is not there: {}", names.join(", "));
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
    fn what_needs_nothing_goes_first_and_side_by_side() {
        let waves = waves(vec![stack("c", &["a", "b"]), stack("a", &[]), stack("b", &[]), stack("d", &["a"])]);
        let names: Vec<Vec<_>> = waves
            .expect("no circle")
            .iter()
            .map(|wave| wave.iter().map(|stack| stack.name.clone()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c", "d"]]);
    }

    #[test]
    fn stacks_that_need_each_other_are_told() {
        let refused = waves(vec![stack("a", &["b"]), stack("b", &["a"])]).expect_err("a circle").to_string();
        assert!(refused.contains("a, b"), "{refused}");
    }
}
