//! The text form of a plan: consequences first, what is created last.

use std::collections::BTreeMap;

use blueprint::consequence::{Action, Change, PropertyChange, Rung};
use blueprint::cost::{CostDelta, MicroUsd};
use haven_console::style::Meaning;
use haven_console::time::{counted, decimal};
use haven_console::width::{self, wrap};
use provision::guard::{Named, name};
use provision::plan::Plan;
use serde_json::Value;

use super::drift::lines;

const INDENT: &str = "      ";
/// The longest value that is shown without `-v`.
const VALUE_LENGTH: usize = 44;
/// The changes in place that are shown without `-v`.
const IN_PLACE: usize = 8;
/// A stack with more created resources is one line without `-v`.
const CREATED: usize = 3;
/// The changes in cost that are shown with `-v`. The plan file has all of them.
const COST_LINES: usize = 5;

/// The headings of a plan, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Data,
    Network,
    Permissions,
    Zones,
    Replaced,
    Deleted,
    Interrupted,
    InBatches,
    InPlace,
    Created,
}

impl Section {
    fn of(change: &Change) -> Section {
        if change.must_be_named() {
            return Section::Data;
        }
        match (change.rung, change.action) {
            (Rung::DataLoss, _) => Section::Data,
            (Rung::NetworkExposure, _) => Section::Network,
            (Rung::IamBroadening, _) => Section::Permissions,
            (Rung::ZoneLoss, _) => Section::Zones,
            (_, Action::Replace | Action::MayReplace) => Section::Replaced,
            (_, Action::Remove) => Section::Deleted,
            (_, Action::Add) => Section::Created,
            (Rung::Replacement, Action::Change) => Section::Replaced,
            (Rung::Interruption, Action::Change) => Section::Interrupted,
            (Rung::RollingReplacement, Action::Change) => Section::InBatches,
            (Rung::Metadata | Rung::InPlace, Action::Change) => Section::InPlace,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Section::Data => "Deletes or replaces data",
            Section::Network => Rung::NetworkExposure.title(),
            Section::Permissions => Rung::IamBroadening.title(),
            Section::Zones => Rung::ZoneLoss.title(),
            Section::Replaced => "Replaced, no data lost",
            Section::Deleted => "Deleted, no data lost",
            Section::Interrupted => "Changed with an interruption",
            Section::InBatches => "Tasks replaced in batches",
            Section::InPlace => "Changed in place",
            Section::Created => "Created",
        }
    }
}

/// Returns the text of a plan without its verdict.
pub fn text(plan: &Plan, columns: usize, verbose: bool) -> String {
    let (stacks, account) = (&plan.stacks, &plan.account);
    let mut text = format!("{}, account {account}, {}\n", plan.environment, plan.region);
    text += &sections(&plan.changes(), &plan.named(), columns, verbose);
    let waiting = stacks.iter().filter(|stack| !stack.waits_for.is_empty());
    let waiting: Vec<&str> = waiting.map(|stack| stack.slug.as_str()).collect();
    text.push('\n');
    if !waiting.is_empty() {
        let predicted = format!(
            "Predicted, since other stacks of this plan come first: {}",
            waiting.join(", ")
        );
        text += &(wrap(&predicted, columns, "", "  ") + "\n");
    }
    if verbose {
        for stack in stacks {
            let changes = counted(stack.changes.len(), "change");
            let took = stack.last_took_s.map_or(String::new(), |seconds| {
                format!("; last deployed in {seconds:.0} s")
            });
            text += &format!("{}: {changes}{took}\n", stack.name);
        }
    }
    for stack in &plan.forgotten {
        let why = format!("{stack} is not in the code; the plan does not change it");
        text += &(wrap(&why, columns, &Meaning::Warn.mark(6), INDENT) + "\n");
    }
    for finding in &plan.findings {
        let place = format!("{}  {}/{}: ", finding.rule, finding.stack, finding.resource);
        let first = Meaning::Fail.mark(6) + &place;
        text += &(wrap(&finding.message, columns, &first, INDENT) + "\n");
    }
    text += &drift(plan, columns);
    if let Some(cost) = &plan.cost {
        text += &of_cost(cost, plan.budget_usd, columns, verbose);
    }
    text
}

/// Returns the text of changes, in the given order.
pub fn changes(changes: &[(&str, &Change)], named: &Named) -> String {
    let verbose = haven_console::settings::get().verbose;
    sections(changes, named, width::stdout(), verbose)
}

/// Returns the number of changes of each kind.
pub fn count(changes: &[(&str, &Change)]) -> String {
    let count = |actions: &[Action]| {
        let of = |(_, change): &&(&str, &Change)| actions.contains(&change.action);
        changes.iter().filter(of).count()
    };
    format!(
        "{} to create, {} to change, {} to replace, {} to delete",
        count(&[Action::Add]),
        count(&[Action::Change]),
        count(&[Action::Replace, Action::MayReplace]),
        count(&[Action::Remove])
    )
}

fn sections(changes: &[(&str, &Change)], named: &Named, columns: usize, verbose: bool) -> String {
    let mut sections: BTreeMap<Section, Vec<(&str, &Change)>> = BTreeMap::new();
    for (slug, change) in changes {
        let section = sections.entry(Section::of(change)).or_default();
        section.push((*slug, *change));
    }
    let mut text = String::new();
    for (section, changes) in sections {
        let heading = format!("{} ({})", section.heading(), changes.len());
        text += &format!("\n{}\n", Meaning::Heading.paint(heading));
        if section == Section::Created && !verbose {
            text += &created(&changes, columns);
            continue;
        }
        let shown = match section == Section::InPlace && !verbose {
            true => IN_PLACE,
            false => changes.len(),
        };
        for (slug, change) in changes.iter().take(shown) {
            text += &of_change(slug, change, named, columns, verbose);
        }
        if changes.len() > shown {
            let more = changes.len() - shown;
            text += &format!("{}{more} more  (list: -v)\n", sign(Action::Change));
        }
    }
    text
}

/// Returns the created resources of each stack: their names if they are few, else their number.
fn created(changes: &[(&str, &Change)], columns: usize) -> String {
    let mut stacks: Vec<(&str, Vec<&str>)> = Vec::new();
    for (slug, change) in changes {
        match stacks.iter_mut().find(|(known, _)| known == slug) {
            Some((_, resources)) => resources.push(change.resource.as_str()),
            None => stacks.push((*slug, vec![change.resource.as_str()])),
        }
    }
    let of = |(slug, resources): &(&str, Vec<&str>)| {
        let resources = if resources.len() > CREATED {
            format!("{}  (list: -v)", counted(resources.len(), "resource"))
        } else {
            resources.join(", ")
        };
        let first = format!("{}{slug}: ", sign(Action::Add));
        wrap(&resources, columns, &first, INDENT) + "\n"
    };
    stacks.iter().map(of).collect()
}

fn of_change(slug: &str, change: &Change, named: &Named, columns: usize, verbose: bool) -> String {
    let name = name(slug, &change.resource);
    let first = sign(change.action);
    let mut text = wrap(&format!("{name}  {}", change.kind), columns, &first, INDENT) + "\n";
    let mut line = |line: &str| text += &(wrap(line, columns, INDENT, "        ") + "\n");
    // The sign says the rest.
    if !matches!(
        change.consequence.as_str(),
        "is updated in place" | "created"
    ) {
        let emphasis = Meaning::Bad.paint("EMPTY");
        line(&change.consequence.replace("EMPTY", &emphasis));
    }
    for property in &change.properties {
        line(&of_property(property, verbose));
    }
    if change.must_be_named() && !named.has(slug, &change.resource) {
        // One word, since a flag must be copied whole.
        line(&format!("allow  --allow\u{a0}{name}"));
    }
    text
}

/// Returns the sign of an action, aligned to the right.
fn sign(action: Action) -> String {
    let meaning = match action {
        Action::Add => Meaning::Create,
        Action::Change => Meaning::Change,
        Action::Replace | Action::MayReplace => Meaning::Replace,
        Action::Remove => Meaning::Delete,
    };
    let padding = 3_usize.saturating_sub(meaning.sign().len());
    format!("{}{} ", " ".repeat(padding), meaning.mark(0))
}

fn of_property(property: &PropertyChange, verbose: bool) -> String {
    let [before, after] =
        [&property.before, &property.after].map(|value| self::value(value, verbose));
    let (before, after) = (Meaning::Delete.paint(before), Meaning::Create.paint(after));
    format!("{}: {before} -> {after}", property.path)
}

fn value(value: &Value, verbose: bool) -> String {
    let text = match value {
        Value::Null => "(none)".to_owned(),
        value => value.to_string(),
    };
    if verbose || text.chars().count() <= VALUE_LENGTH {
        return text;
    }
    text.chars().take(VALUE_LENGTH - 3).collect::<String>() + "..."
}

/// Returns the drift, and the stacks whose drift is unknown.
fn drift(plan: &Plan, columns: usize) -> String {
    let stacks = &plan.stacks;
    let drifted: Vec<_> = stacks
        .iter()
        .flat_map(|stack| stack.drift.iter().map(|drifted| (&stack.slug, drifted)))
        .collect();
    let mut text = String::new();
    if !drifted.is_empty() {
        let heading = format!("Changed outside CloudFormation ({})", drifted.len());
        text += &format!("{}\n", Meaning::Heading.paint(heading));
        for (slug, drifted) in drifted {
            text += &lines(slug, drifted, columns);
        }
        let revert = format!("`haven drift {} --revert`", plan.environment);
        let note = format!("This plan keeps these changes; {revert} undoes them.");
        text += &(wrap(&note, columns, "", "") + "\n");
    }
    // Group by reason, because most stacks have the same one.
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for stack in stacks {
        if let Some(reason) = &stack.drift_unknown {
            unknown.entry(reason).or_default().push(&stack.slug);
        }
    }
    for (reason, slugs) in &unknown {
        let line = format!("Drift unknown in {}: {reason}", slugs.join(", "));
        text += &(wrap(&line, columns, "", "  ") + "\n");
    }
    if text.is_empty() {
        text += "Drift: none.\n";
    }
    text
}

fn of_cost(cost: &CostDelta, budget: Option<f64>, columns: usize, verbose: bool) -> String {
    let changes = &cost.changes;
    let [before, after] = [cost.before, cost.after].map(|amount| decimal(amount.usd(), 2));
    let mut text = format!("Cost: {before} -> {after} USD a month\n");
    if verbose {
        for change in changes.iter().take(COST_LINES) {
            let more = format!("{:+10.2}  ", change.more().usd());
            let what = format!("{}/{}: {}", change.stack, change.resource, change.what);
            text += &(wrap(&what, columns, &more, "            ") + "\n");
        }
        if changes.len() > COST_LINES {
            text += &format!("{INDENT}{} smaller changes\n", changes.len() - COST_LINES);
        }
    }
    if let Some(budget) = budget.filter(|usd| cost.after > MicroUsd::from_usd(*usd)) {
        let over = format!("{after} of {} USD a month", decimal(budget, 2));
        text += &format!("{}over budget: {over}\n", Meaning::Fail.mark(6));
    }
    text
}

#[cfg(test)]
mod tests;
