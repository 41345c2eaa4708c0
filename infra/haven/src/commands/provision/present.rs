//! The text form of a plan: consequences first, the worst at the top.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use blueprint::consequence::{Action, Change, PropertyChange, Rung};
use blueprint::cost::CostDelta;
use haven_console::width;
use serde_json::Value;

use super::drift::lines;
use provision::deploy::apply::text_of;
use provision::guard::{Named, name};
use provision::plan::{Plan, StackAction};

/// The longest value that is shown. The plan file contains the whole value.
const VALUE_LENGTH: usize = 72;

/// Returns the text of a plan.
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, plan);
    text
}

/// Returns the text of changes, in the given order.
pub fn changes(changes: &[(&str, &Change)], named: &Named) -> String {
    let mut text = String::new();
    let _ = write_changes(&mut text, changes, named);
    let _ = write_count(&mut text, changes);
    text
}

fn write(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let (environment, account, region) = (&plan.environment, &plan.account, &plan.region);
    writeln!(
        out,
        "Plan for {environment} (account {account}, {region}), good until {}",
        text_of(plan.expires_at)
    )?;
    // A new stack adds all its resources, so only changes with a worse consequence are listed.
    let is_told = |slug: &str, change: &Change| {
        let new = plan
            .stacks
            .iter()
            .any(|stack| stack.slug == slug && stack.action == StackAction::Create);
        !(new && change.action == Action::Add && change.rung == Rung::InPlace)
    };
    let changes = plan.changes();
    let told: Vec<(&str, &Change)> = changes
        .iter()
        .copied()
        .filter(|(slug, change)| is_told(slug, change))
        .collect();
    write_changes(out, &told, &plan.named())?;
    writeln!(out)?;
    for stack in &plan.stacks {
        let count = stack.changes.len();
        let words = match stack.action {
            StackAction::Create => format!("new, {count} resources"),
            StackAction::Update => format!("{count} changes"),
            StackAction::Unchanged => "no changes".to_owned(),
        };
        let waits = if stack.waits_for.is_empty() {
            ""
        } else {
            ", foreseen: it needs what other stacks of this plan make"
        };
        let took = match (stack.action, stack.last_took_s) {
            (StackAction::Unchanged, _) | (_, None) => String::new(),
            (_, Some(seconds)) => format!("; the last time it took {seconds:.0} s"),
        };
        writeln!(out, "  {:32} {words}{waits}{took}", stack.name)?;
    }
    for stack in &plan.forgotten {
        writeln!(
            out,
            "  {stack:32} nothing makes it any more; this plan leaves it alone"
        )?;
    }
    write_drift(out, plan)?;
    write_count(out, &changes)?;
    for finding in &plan.findings {
        writeln!(
            out,
            "REFUSED by policy {}: {}/{}: {}",
            finding.rule, finding.stack, finding.resource, finding.message
        )?;
    }
    match &plan.cost {
        None => Ok(()),
        Some(cost) => write_cost(out, cost),
    }
}

/// Writes the drift, and the stacks whose drift is unknown.
fn write_drift(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let drifted = plan
        .stacks
        .iter()
        .flat_map(|stack| stack.drift.iter().map(|drifted| (&stack.slug, drifted)));
    for (at, (slug, drifted)) in drifted.enumerate() {
        if at == 0 {
            let way = format!("haven drift {} --revert", plan.environment);
            writeln!(
                out,
                "\nchanged by hand since the last deployment; this plan does not undo it ({way} does)"
            )?;
        }
        write!(out, "{}", lines(slug, drifted, width::stdout_text()))?;
    }
    // Group by reason, because most stacks have the same one.
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for stack in &plan.stacks {
        if let Some(reason) = &stack.drift_unknown {
            unknown.entry(reason).or_default().push(&stack.slug);
        }
    }
    unknown.iter().try_for_each(|(reason, slugs)| {
        writeln!(
            out,
            "\nwhat was changed by hand is not known of {}: {reason}",
            slugs.join(", ")
        )
    })
}

/// The changes in cost that are shown. The plan file and `haven cost` have all of them.
const COST_LINES: usize = 5;

fn write_cost(out: &mut String, cost: &CostDelta) -> std::fmt::Result {
    writeln!(
        out,
        "USD a month: {} -> {} ({:+.2})",
        cost.before,
        cost.after,
        (cost.after - cost.before).usd()
    )?;
    for change in cost.changes.iter().take(COST_LINES) {
        writeln!(
            out,
            "  {:+10.2}  {}/{}: {}",
            change.more().usd(),
            change.stack,
            change.resource,
            change.what
        )?;
    }
    match cost.changes.len().saturating_sub(COST_LINES) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} smaller changes"),
    }
}

fn write_changes(out: &mut String, changes: &[(&str, &Change)], named: &Named) -> std::fmt::Result {
    let mut rung = None;
    for (slug, change) in changes {
        if rung != Some(change.rung) {
            rung = Some(change.rung);
            writeln!(out, "\n{}", change.rung.title())?;
        }
        writeln!(
            out,
            "  {} {} ({})",
            sign(change.action),
            name(slug, &change.resource),
            change.kind
        )?;
        writeln!(out, "      {}", change.consequence)?;
        for property in &change.properties {
            writeln!(out, "      {}", line(property))?;
        }
        if change.must_be_named() && !named.has(slug, &change.resource) {
            writeln!(
                out,
                "      REFUSED unless it is named: --allow {}",
                name(slug, &change.resource)
            )?;
        }
    }
    Ok(())
}

fn write_count(out: &mut String, changes: &[(&str, &Change)]) -> std::fmt::Result {
    let count = |action| {
        changes
            .iter()
            .filter(|(_, change)| change.action == action)
            .count()
    };
    writeln!(
        out,
        "\n{} to add, {} to change, {} to replace, {} to remove",
        count(Action::Add),
        count(Action::Change),
        count(Action::Replace) + count(Action::MayReplace),
        count(Action::Remove)
    )
}

fn sign(action: Action) -> &'static str {
    match action {
        Action::Add => "+",
        Action::Change => "~",
        Action::Replace | Action::MayReplace => "-/+",
        Action::Remove => "-",
    }
}

fn line(property: &PropertyChange) -> String {
    let mark = if property.rung >= Rung::Replacement {
        format!("  <- {}", property.rung.title())
    } else {
        String::new()
    };
    format!(
        "{}: {} -> {}{mark}",
        property.path,
        value(&property.before),
        value(&property.after)
    )
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => "(none)".to_owned(),
        value => value.to_string(),
    };
    if text.chars().count() <= VALUE_LENGTH {
        return text;
    }
    text.chars().take(VALUE_LENGTH - 1).chain(['…']).collect()
}
