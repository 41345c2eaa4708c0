//! `haven why`: explains the purpose of a resource and the effect of changes. Makes no call to AWS.

use std::collections::BTreeMap;

use blueprint::consequence::Rung;
use blueprint::why::{Answer, Item, Resource, Statement, Watch, why};
use clap::Args;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{settings, width};
use serde_json::json;

use crate::arguments::Which;
use crate::target;

#[derive(Debug, Args)]
pub struct Why {
    /// Resource to explain
    pub resource: String,
    #[command(flatten)]
    pub which: Which,
}

/// Prints the explanation. The exit code says whether the name exists.
///
/// # Errors
/// When the environment does not exist, its settings are wrong, or nothing has the name.
pub fn print(options: &Why) -> anyhow::Result<Exit> {
    const SCHEMA: &str = "haven.why/1";
    let Why { resource, which } = options;
    let environment = target::environment(which)?;
    match why(&environment, resource) {
        Ok(answer) => Ok(verdict(&answer).end(SCHEMA, json!(answer), || {
            let (columns, verbose) = (width::stdout_text(), settings::get().verbose);
            println!("{}", text(&answer, &environment.name, columns, verbose));
        })),
        Err(miss) => {
            let message = format!("nothing in {} is named `{}`", miss.environment, miss.name);
            if !settings::get().json {
                let mut failure = Failure::not_found(message);
                failure.tip = miss.hint;
                return Err(failure.into());
            }
            let fields = json!({ "missing": miss.name, "hint": miss.hint });
            Ok(Verdict::no(format!("Not found: {message}.")).print_json(SCHEMA, fields))
        }
    }
}

fn verdict(answer: &Answer) -> Verdict {
    let (resources, statements) = (&answer.resources, &answer.statements);
    let stateful = resources.iter().filter(|resource| resource.stateful);
    let stateful: Vec<&str> = stateful.map(|resource| resource.name.as_str()).collect();
    Verdict::neutral(match (stateful.as_slice(), resources.as_slice()) {
        ([], []) if statements.is_empty() => "No resource of its own.".to_owned(),
        ([], []) => format!("{}.", counted(statements.len(), "policy statement")),
        ([], [_]) => "Not stateful: a replacement loses no data.".to_owned(),
        ([], several) => {
            let resources = counted(several.len(), "resource");
            format!("{resources}, none stateful: a replacement loses no data.")
        }
        (names, _) => {
            let flags: Vec<String> = names.iter().map(|name| format!("--allow {name}")).collect();
            format!(
                "Stateful: deleted or replaced only with {}.",
                flags.join(", ")
            )
        }
    })
}

/// Returns the explanation. Without `verbose`, long lists are counted.
fn text(answer: &Answer, environment: &str, columns: usize, verbose: bool) -> String {
    let mut paragraphs = Vec::new();
    for item in &answer.items {
        // Each resource lists its alarms itself.
        let alarms = if answer.resources.is_empty() {
            item.alarms.as_slice()
        } else {
            &[]
        };
        paragraphs.push(of_item(item, alarms, columns));
    }
    for resource in &answer.resources {
        let title = format!("  {}, {environment}", resource.kind);
        let mut paragraph = Meaning::Name.paint(&resource.name) + &title + "\n";
        // The items above have said it.
        if answer.items.is_empty() {
            for item in &resource.contract {
                paragraph += &(wrap(item, columns, "", "") + "\n");
            }
        }
        for (label, text) in rows(resource, verbose) {
            paragraph += &row(label, &text, columns);
        }
        paragraphs.push(paragraph);
    }
    if !answer.statements.is_empty() {
        let statements = answer.statements.iter();
        paragraphs.push(
            statements
                .map(|statement| row(&statement.effect, &in_full(statement), columns))
                .collect(),
        );
    }
    if !answer.also.is_empty() {
        paragraphs.push(row("Also", &answer.also.join(", "), columns));
    }
    paragraphs.join("\n")
}

/// Returns a fact below its label.
fn row(label: &str, text: &str, columns: usize) -> String {
    wrap(text, columns, &format!("  {label:10}"), "            ") + "\n"
}

fn of_item(item: &Item, alarms: &[Watch], columns: usize) -> String {
    let name = Meaning::Name.paint(format!("{} {}:", item.what, item.slug)) + " ";
    let mut text = wrap(&item.about, columns, &name, "") + "\n";
    for fact in &item.facts {
        text += &(wrap(fact, columns, "  ", "    ") + "\n");
    }
    for alarm in alarms {
        text += &row("Alarm", &of_alarm(alarm), columns);
    }
    text
}

/// Returns the facts about a resource, each with its label.
fn rows(resource: &Resource, verbose: bool) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Stack", resource.about.to_owned())];
    let left_out = resource.left_out.iter();
    rows.extend(left_out.map(|why| ("Lacks", why.clone())));
    for statement in resource.may.iter().chain(&resource.statements) {
        let text = match verbose {
            true => in_full(statement),
            false => in_short(statement),
        };
        let is_allowed = statement.effect == "Allow";
        rows.push((if is_allowed { "Allows" } else { "Denies" }, text));
    }
    let alarms = resource.alarms.iter();
    rows.extend(alarms.map(|alarm| ("Alarm", of_alarm(alarm))));
    rows.extend(changes(resource, verbose));
    rows.extend(references(resource, verbose));
    let (deleted, replaced) = (&resource.deletion_policy, &resource.update_replace_policy);
    let policies = format!("{deleted} when deleted, {replaced} when replaced");
    rows.push(("Policy", policies));
    let waivers = resource.waivers.iter();
    rows.extend(waivers.map(|waiver| ("Waived", format!("{}: {}", waiver.rule, waiver.reason))));
    rows
}

/// Returns who has a permission, and the first actions.
fn in_short(statement: &Statement) -> String {
    const SHOWN: usize = 2;
    let actions = &statement.actions;
    let who = match statement.roles.as_slice() {
        [] => statement.of.clone(),
        roles => roles.join(", "),
    };
    let first: Vec<&str> = actions.iter().take(SHOWN).map(String::as_str).collect();
    let more = match actions.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", {more} more"),
    };
    format!("{who}: {}{more}", first.join(", "))
}

/// Returns a statement with its reason, actions and resources.
fn in_full(statement: &Statement) -> String {
    let of = &statement.of;
    let sid = match statement.sid.as_str() {
        "" => "(no Sid)",
        sid => sid,
    };
    let roles = match statement.roles.as_slice() {
        [] => String::new(),
        roles => format!(" for {}", roles.join(", ")),
    };
    let because = match &statement.edge {
        Some(edge) => format!("because the contract says: {edge}"),
        None => "for the platform itself; not in the contract".to_owned(),
    };
    let (actions, resources) = (statement.actions.join(", "), statement.resources.join(", "));
    format!("{sid} in {of}{roles}\n{because}\n{actions}\non {resources}")
}

fn of_alarm(alarm: &Watch) -> String {
    let Watch {
        slug,
        severity,
        impact,
        runbook,
    } = alarm;
    format!("{slug}, {severity}: {impact} `haven runbook show {runbook}`")
}

/// Returns what a change of each property does, worst first.
fn changes(resource: &Resource, verbose: bool) -> Vec<(&'static str, String)> {
    let mut kinds: BTreeMap<(Rung, &str), Vec<&str>> = BTreeMap::new();
    for property in &resource.properties {
        // The sentences of changes in place differ in words only.
        let consequence = match property.rung <= Rung::InPlace {
            true => "in place",
            false => property.consequence.as_str(),
        };
        let key = (property.rung.max(Rung::InPlace), consequence);
        kinds.entry(key).or_default().push(&property.path);
    }
    let rows = kinds.into_iter().rev().map(|((rung, consequence), paths)| {
        if rung == Rung::InPlace && !verbose {
            let noun = match paths.len() {
                1 => "property",
                _ => "properties",
            };
            return format!("~ {} {noun} in place  (list: -v)", paths.len());
        }
        let sign = match matches!(rung, Rung::Replacement | Rung::DataLoss) {
            true => "-/+",
            false => "~",
        };
        format!("{sign} {}: {consequence}", paths.join(", "))
    });
    rows.map(|text| ("Change", text)).collect()
}

/// Returns what refers to the resource, and to what it refers.
fn references(resource: &Resource, verbose: bool) -> Vec<(&'static str, String)> {
    let exports = &resource.exports;
    let imports = exports.iter().flat_map(|export| &export.imported_by);
    let used_by: Vec<String> = resource
        .referenced_by
        .iter()
        .chain(imports)
        .map(|by| format!("{} {}", by.from, by.path))
        .collect();
    let mut rows = Vec::new();
    match (used_by.len(), verbose) {
        (0, _) => {}
        (_, true) => rows.extend(used_by.into_iter().map(|by| ("Used by", by))),
        (count, false) => {
            let count = counted(count, "reference");
            rows.push(("Used by", format!("{count}  (list: -v)")));
        }
    }
    if verbose {
        rows.extend(exports.iter().map(|export| ("Export", export.name.clone())));
    }
    if !resource.refers_to.is_empty() {
        rows.push(("Uses", resource.refers_to.join(", ")));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::provision::testing::plain;

    fn answer(name: &str) -> Answer {
        let prod = blueprint::Environment::named("prod").expect("an embedded environment");
        why(&prod, name).expect("it exists")
    }

    #[test]
    fn the_text_has_the_purpose_the_permissions_and_the_effects_of_changes() {
        let orders = answer("orders");
        for columns in [60, 80, 120] {
            let text = plain(&text(&orders, "prod", columns, false), columns);
            for part in [
                "queue orders: Saga commands",
                "messaging/OrdersQueue  AWS::SQS::Queue, prod\n",
                "  Allows    order-worker: ",
                "`haven runbook show queue-age`",
                "  Change    -/+ ",
                "in place  (list: -v)\n",
            ] {
                assert!(text.contains(part), "{part}:\n{text}");
            }
            assert!(!text.contains("because the contract says"), "{text}");
        }
        let verbose = text(&orders, "prod", 100, true);
        for part in [
            "because the contract says: consumes orders",
            "VisibilityTimeout",
        ] {
            assert!(verbose.contains(part), "{part}:\n{verbose}");
        }
    }

    #[test]
    fn the_last_line_names_the_flag_for_a_deletion() {
        let queue = verdict(&answer("messaging/OrdersQueue"));
        let expected = "Stateful: deleted or replaced only with --allow messaging/OrdersQueue.";
        assert_eq!(queue, Verdict::neutral(expected));
        let statement = verdict(&answer("ConsumesOrders"));
        assert!(
            format!("{statement:?}").contains("policy statement"),
            "{statement:?}"
        );
        assert_eq!(statement.exit(), Exit::Done);
    }
}
