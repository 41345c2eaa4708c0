//! `haven diff`: compares the templates with those of the last deployment.

use std::path::PathBuf;

use blueprint::consequence::{self, Change};
use clap::Args;
use haven_console::exit::Exit;
use haven_console::verdict::Verdict;
use platform::history::{History, read_template};
use provision::guard::Named;
use provision::plan::worst_first;
use serde::Serialize;
use serde_json::json;

use super::present;
use crate::arguments::{STATE, Which};
use crate::target;

#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    pub which: Which,
    /// Compare with the templates in this directory, as `haven synth --out` writes them
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

#[derive(Serialize)]
struct StackDiff {
    stack: String,
    changes: Vec<Change>,
}

/// Compares the templates with those of the last deployment. The exit code says whether they are
/// equal.
///
/// # Errors
/// When the settings are wrong, or a template cannot be read.
pub fn command(options: &Diff) -> anyhow::Result<Exit> {
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
    let changes = worst_first(
        diffs
            .iter()
            .map(|diff| (diff.stack.as_str(), diff.changes.as_slice())),
    );
    let verdict = verdict(&environment.name, &changes);
    let fields = json!({ "environment": environment.name, "stacks": diffs });
    Ok(verdict.end("haven.diff/1", fields, || {
        if !changes.is_empty() {
            println!("{}", present::changes(&changes, &Named::default()));
        }
    }))
}

fn verdict(environment: &str, changes: &[(&str, &Change)]) -> Verdict {
    match changes {
        [] => Verdict::good(format!("{environment}: no template differs.")),
        changes => Verdict::no(format!(
            "{environment} differs: {}.",
            present::count(changes)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_the_differences() {
        let same = verdict("dev", &[]);
        assert_eq!(same, Verdict::good("dev: no template differs."));
        let prod = blueprint::Environment::named("prod").expect("it is one of ours");
        let stacks = blueprint::stacks(&prod);
        let added = consequence::diff(&serde_json::Value::Null, &stacks[0].template);
        let changes = worst_first([(stacks[0].slug, added.as_slice())].into_iter());
        let differs = verdict("prod", &changes);
        let expected = format!(
            "prod differs: {} to create, 0 to change, 0 to replace, 0 to delete.",
            added.len()
        );
        assert_eq!(differs, Verdict::no(expected));
        assert_eq!((same.exit(), differs.exit()), (Exit::Done, Exit::No));
    }
}
