//! `haven why`: explains the purpose of a resource and the effect of changes. Makes no call to AWS.

use std::fmt::Write as _;

use anyhow::Context as _;
use blueprint::consequence::Rung;
use blueprint::why::{Answer, Export, Item, Property, Resource, Statement, Watch, why};
use clap::Args;
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

/// Prints the explanation. Returns whether the name exists.
///
/// # Errors
/// When the environment does not exist, or its settings are wrong.
pub fn print(options: &Why) -> anyhow::Result<bool> {
    let Why { resource, which } = options;
    let environment = target::environment(which)?;
    match why(&environment, resource) {
        Ok(answer) if which.json => {
            println!(
                "{}",
                serde_json::to_string_pretty(&answer).context("write JSON")?
            );
            Ok(true)
        }
        Ok(answer) => {
            print!("{}", text(&answer));
            Ok(true)
        }
        Err(miss) => {
            if which.json {
                println!("{:#}", json!({ "missing": miss.name, "hint": miss.hint }));
            }
            eprintln!("haven: {miss}");
            Ok(false)
        }
    }
}

fn text(answer: &Answer) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, answer);
    text
}

fn write(out: &mut String, answer: &Answer) -> std::fmt::Result {
    for Item {
        what,
        slug,
        about,
        facts,
        alarms,
        ..
    } in &answer.items
    {
        writeln!(out, "{what} {slug}: {about}")?;
        facts
            .iter()
            .try_for_each(|fact| writeln!(out, "  {fact}"))?;
        // Each resource lists its alarms itself.
        if answer.resources.is_empty() {
            write_alarms(out, alarms)?;
        }
        writeln!(out)?;
    }
    answer
        .resources
        .iter()
        .try_for_each(|resource| write_resource(out, resource))?;
    if !answer.statements.is_empty() {
        writeln!(out, "Statements")?;
        answer
            .statements
            .iter()
            .try_for_each(|statement| write_statement(out, statement))?;
    }
    if !answer.also.is_empty() {
        writeln!(out, "Resources: {}", answer.also.join(", "))?;
    }
    Ok(())
}

fn write_resource(out: &mut String, resource: &Resource) -> std::fmt::Result {
    let Resource {
        name,
        kind,
        about,
        stateful,
        deletion_policy,
        update_replace_policy,
        ..
    } = resource;
    writeln!(out, "{name} ({kind})\n  Stack: {about}")?;
    resource
        .contract
        .iter()
        .try_for_each(|item| writeln!(out, "  Contract: {item}"))?;
    let kept = format!(
        "when it leaves the stack: {deletion_policy}; when it is replaced: {update_replace_policy}"
    );
    match stateful {
        true => writeln!(
            out,
            "  Holds data: removed or replaced only with --allow {name}; {kept}"
        )?,
        false => writeln!(out, "  Holds no data; {kept}")?,
    }
    resource
        .left_out
        .iter()
        .try_for_each(|why| writeln!(out, "  Here without a part of it: {why}"))?;
    if !resource.referenced_by.is_empty() || !resource.exports.is_empty() {
        writeln!(out, "\nWho refers to it")?;
    }
    resource
        .referenced_by
        .iter()
        .try_for_each(|by| writeln!(out, "  {}  {}", by.from, by.path))?;
    for Export { name, imported_by } in &resource.exports {
        writeln!(
            out,
            "  export {name}{}",
            if imported_by.is_empty() {
                ": nobody imports it"
            } else {
                ""
            }
        )?;
        imported_by
            .iter()
            .try_for_each(|by| writeln!(out, "    {}  {}", by.from, by.path))?;
    }
    if !resource.refers_to.is_empty() {
        writeln!(out, "\nIt refers to\n  {}", resource.refers_to.join(", "))?;
    }
    if !resource.may.is_empty() {
        writeln!(out, "\nWho may do what with it")?;
        resource
            .may
            .iter()
            .try_for_each(|statement| write_statement(out, statement))?;
    }
    if !resource.statements.is_empty() {
        writeln!(out, "\nIts statements")?;
        resource
            .statements
            .iter()
            .try_for_each(|statement| write_statement(out, statement))?;
    }
    if !resource.alarms.is_empty() {
        writeln!(out)?;
    }
    write_alarms(out, &resource.alarms)?;
    if !resource.properties.is_empty() {
        writeln!(out, "\nWhat a change of each property does")?;
    }
    for Property {
        path,
        rung,
        consequence,
    } in &resource.properties
    {
        match rung {
            Rung::Metadata | Rung::InPlace => writeln!(out, "  {path:32} {}", rung.title())?,
            Rung::Interruption
            | Rung::RollingReplacement
            | Rung::Replacement
            | Rung::ZoneLoss
            | Rung::IamBroadening
            | Rung::NetworkExposure
            | Rung::DataLoss => writeln!(out, "  {path:32} {}: it {consequence}", rung.title())?,
        }
    }
    if !resource.waivers.is_empty() {
        writeln!(out, "\nWaived")?;
    }
    resource
        .waivers
        .iter()
        .try_for_each(|waiver| writeln!(out, "  {}: {}", waiver.rule, waiver.reason))?;
    writeln!(out)
}

fn write_statement(out: &mut String, statement: &Statement) -> std::fmt::Result {
    let Statement {
        sid,
        of,
        effect,
        actions,
        resources,
        edge,
        roles,
    } = statement;
    let sid = if sid.is_empty() { "(no Sid)" } else { sid };
    let who = if roles.is_empty() {
        String::new()
    } else {
        format!("  {}", roles.join(", "))
    };
    writeln!(out, "  {sid} in {of}{who}")?;
    match edge {
        Some(edge) => writeln!(out, "      because the contract says: {edge}")?,
        None => writeln!(
            out,
            "      the platform's own machinery: no edge of the contract"
        )?,
    }
    writeln!(
        out,
        "      {effect} {}\n      on {}",
        actions.join(", "),
        resources.join(", ")
    )
}

fn write_alarms(out: &mut String, alarms: &[Watch]) -> std::fmt::Result {
    for Watch {
        slug,
        severity,
        impact,
        runbook,
    } in alarms
    {
        writeln!(
            out,
            "  alarm {slug} ({severity}): {impact}  haven runbook show {runbook}"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_it_is_who_may_and_what_a_change_does() {
        let prod = blueprint::Environment::named("prod").expect("it is one of ours");
        let text = text(&why(&prod, "orders").expect("a queue"));
        for part in [
            "queue orders: Saga commands",
            "messaging/OrdersQueue (AWS::SQS::Queue)",
            "--allow messaging/OrdersQueue",
            "because the contract says: consumes orders",
            "haven runbook show queue-age",
            "VisibilityTimeout                in place",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
