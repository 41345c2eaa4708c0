//! `haven why`: what a thing is for, who uses it, who may, what watches it, and what a change of it would do. From the code
//! alone.

mod contract;
mod explain;
mod platform;

use std::collections::BTreeSet;
use std::path::PathBuf;

use ::contract::role::{ROLES, Role};
use anyhow::Context as _;
use blueprint::Environment;
use blueprint::spelling::nearest;
use clap::Args;
use serde_json::json;

use self::explain::{Changing, Explainer, Permission, Resource, RoleTold, Watch, given_names};
use self::platform::{Place, Platform};
use crate::cli::Which;
use crate::target;

#[derive(Debug, Args)]
pub struct Why {
    /// A logical id, STACK/ID, a physical name or ARN, a slug of the contract, or the Sid of a statement
    pub resource: String,
    /// The environment: local, dev, staging or prod, or one of --environments
    #[arg(value_name = "ENV", default_value = "prod")]
    pub environment: String,
    /// Another value for a setting, such as network.zones=2; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A folder with base.toml and a file for each environment, instead of the ones that haven was built with
    #[arg(long, value_name = "DIR", env = "HAVEN_ENVIRONMENTS")]
    pub environments: Option<PathBuf>,
    /// One JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// What was asked for: one thing, or several of one name.
#[derive(Default)]
struct Found<'a> {
    resources: BTreeSet<Place<'a>>,
    role: Option<&'static Role>,
    sid: Option<String>,
}

/// Prints it. Gives whether there is such a thing.
///
/// # Errors
/// When the environment is not known or its settings are wrong.
pub fn print(options: &Why) -> anyhow::Result<bool> {
    let Why { environment, set, environments, json, .. } = options;
    let which =
        Which { environment: environment.clone(), set: set.clone(), environments: environments.clone(), json: *json };
    let environment = target::environment(&which)?;
    let stacks = blueprint::stacks(&environment);
    let explainer = Explainer::new(Platform::new(&stacks), &environment);
    let asked = options.resource.as_str();
    let Some(found) = find(&explainer, asked) else {
        eprintln!("haven: {}", no_such(&explainer, asked));
        return Ok(false);
    };
    let resources: Vec<Resource> = found.resources.iter().map(|place| explainer.resource(*place)).collect();
    let role = found.role.map(|role| explainer.role(role));
    let statements = found.sid.map(|sid| explainer.statements(&sid)).unwrap_or_default();
    if options.json {
        let document = json!({ "asked": asked, "environment": environment.name, "resources": resources,
            "role": role, "statements": statements });
        println!("{}", serde_json::to_string_pretty(&document).context("write JSON")?);
    } else {
        let resources = resources.iter().map(resource_text);
        let parts: Vec<String> =
            resources.chain(role.iter().map(role_text)).chain(statements_text(&statements)).collect();
        print!("{}", parts.join("\n"));
    }
    Ok(true)
}

/// The most exact meaning first.
fn find<'a>(explainer: &Explainer<'a>, asked: &str) -> Option<Found<'a>> {
    let platform = &explainer.platform;
    let all: Vec<Place<'a>> = platform.all().map(|(place, _)| place).collect();
    let of = |is: &dyn Fn(Place<'a>) -> bool| {
        let resources: BTreeSet<Place<'a>> = all.iter().copied().filter(|place| is(*place)).collect();
        (!resources.is_empty()).then(|| Found { resources, ..Found::default() })
    };
    let in_stack = |place: Place<'a>| {
        let stack = platform.stack(place);
        asked.split_once('/').is_some_and(|(of, id)| id == place.1 && (of == stack.slug || of == stack.name))
    };
    of(&in_stack)
        .or_else(|| of(&|place| place.1 == asked))
        .or_else(|| {
            let items = explainer.items.iter().filter(|item| item.slug == asked);
            let resources: BTreeSet<Place<'a>> = items.map(|item| item.place).collect();
            (!resources.is_empty()).then(|| Found { resources, ..Found::default() })
        })
        .or_else(|| Some(Found { role: Some(Role::by_slug(asked)?), ..Found::default() }))
        .or_else(|| {
            let sid = explainer.sids().into_iter().find(|sid| *sid == asked)?;
            Some(Found { sid: Some(sid.to_owned()), ..Found::default() })
        })
        .or_else(|| of(&|place| is_physical(explainer, place, asked)))
}

/// Whether a name, URL or ARN is that of a resource: one that its template gives it, or one that CloudFormation makes of
/// its stack, its logical id and something at random.
fn is_physical(explainer: &Explainer<'_>, place: Place<'_>, asked: &str) -> bool {
    let platform = &explainer.platform;
    let last = asked.rsplit([':', '/']).next().unwrap_or(asked).to_lowercase();
    let given = given_names(platform.resource(place));
    let made = format!("{}-{}", platform.stack(place).name, place.1).to_lowercase();
    let is_made = last.strip_prefix(&made).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    is_made || given.iter().any(|given| *given == asked || asked.ends_with(&format!(":{given}")))
}

fn no_such(explainer: &Explainer<'_>, asked: &str) -> String {
    let platform = &explainer.platform;
    let environment: &Environment = explainer.environment;
    let mut known: BTreeSet<String> = platform.all().map(|(place, _)| place.1.to_owned()).collect();
    if asked.contains('/') {
        known = platform.all().map(|(place, _)| platform.name(place)).collect();
    }
    known.extend(explainer.items.iter().map(|item| item.slug.clone()));
    known.extend(ROLES.iter().map(|role| role.slug.to_owned()));
    known.extend(explainer.sids().into_iter().map(str::to_owned));
    let hint = nearest(asked, known.iter().map(String::as_str)).map(|near| format!("; did you mean {near}?"));
    format!("{} has nothing that is called {asked:?}{}", environment.name, hint.unwrap_or_default())
}

/// More of one kind are counted, not listed: JSON has them all.
const LISTED_MAX: usize = 8;

fn resource_text(resource: &Resource) -> String {
    let Resource { name, kind, stack, stack_about, because, .. } = resource;
    let mut lines = vec![format!("{name} ({kind})"), format!("  in {stack}: {stack_about}")];
    lines.extend(because.iter().map(|because| format!("  {because}")));
    let kept = match resource.stateful {
        true => "holds data: its removal or replacement is refused unless it is named",
        false => "holds no data",
    };
    lines.push(format!(
        "  {kept}; when it leaves the stack: {}, when it is replaced: {}",
        resource.deletion_policy, resource.update_replace_policy
    ));
    let used = resource.used_by.iter().map(|user| match &user.export {
        Some(export) => format!("{} ({}), by the export {export}", user.name, user.kind),
        None => format!("{} ({})", user.name, user.kind),
    });
    section(&mut lines, "Used by", used.collect());
    section(&mut lines, "Uses", resource.uses.clone());
    lines.extend(permissions_lines(&resource.permissions, false));
    lines.extend(alarm_lines(&resource.alarms));
    lines.extend(change_lines(&resource.changes));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn role_text(role: &RoleTold) -> String {
    let mut lines = vec![format!("role {}: {}", role.role, role.about)];
    section(&mut lines, "Made of", role.resources.clone());
    lines.extend(permissions_lines(&role.permissions, true));
    lines.extend(alarm_lines(&role.alarms));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn statements_text(statements: &[Permission]) -> Option<String> {
    let lines = permissions_lines(statements, true);
    (!lines.is_empty()).then(|| lines.iter().map(|line| format!("{line}\n")).collect())
}

fn section(lines: &mut Vec<String>, title: &str, list: Vec<String>) {
    if list.is_empty() {
        return;
    }
    let more = list.len().saturating_sub(LISTED_MAX);
    lines.push(format!("  {title}:"));
    lines.extend(list.into_iter().take(LISTED_MAX).map(|line| format!("    {line}")));
    if more > 0 {
        lines.push(format!("    and {more} more (--json has all)"));
    }
}

fn permissions_lines(permissions: &[Permission], with_resources: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !permissions.is_empty() {
        lines.push("  Who may do what:".to_owned());
    }
    for Permission { roles, policy, sid, effect, because, of_the_contract, actions, on } in permissions {
        let edge = if *of_the_contract { ", an edge of the contract" } else { "" };
        let may = if effect == "Deny" { "MAY NOT" } else { "may" };
        lines.push(format!("    {} {may}, since it {because}{edge}", roles.join(", ")));
        lines.push(format!("      {} ({policy}, Sid {sid})", actions.join(", ")));
        if with_resources {
            lines.push(format!("      on {}", on.join(", ")));
        }
    }
    lines
}

fn alarm_lines(alarms: &[Watch]) -> Vec<String> {
    let title = (!alarms.is_empty()).then(|| "  Alarms:".to_owned());
    let each = alarms
        .iter()
        .map(|watch| format!("    {}: {} (haven runbook show {})", watch.alarm, watch.impact, watch.runbook));
    title.into_iter().chain(each).collect()
}

/// By what a change does, in the order of the properties.
fn change_lines(changes: &[Changing]) -> Vec<String> {
    let mut effects: Vec<(&str, Vec<&str>)> = Vec::new();
    for Changing { property, effect } in changes {
        match effects.iter_mut().find(|(known, _)| known == effect) {
            Some((_, properties)) => properties.push(property),
            None => effects.push((effect, vec![property])),
        }
    }
    let title = (!effects.is_empty()).then(|| "  A change of:".to_owned());
    let each = effects.into_iter().map(|(effect, properties)| format!("    {}: {effect}", properties.join(", ")));
    title.into_iter().chain(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(act: impl FnOnce(&Explainer<'_>) -> T) -> T {
        let prod = Environment::named("prod").expect("it is one of ours");
        let stacks = blueprint::stacks(&prod);
        act(&Explainer::new(Platform::new(&stacks), &prod))
    }

    /// Names of what is found, and whether it is a role or a statement.
    fn found(asked: &str) -> Vec<String> {
        with(|explainer| match find(explainer, asked) {
            None => Vec::new(),
            Some(found) => {
                let resources = found.resources.iter().map(|place| explainer.platform.name(*place));
                let role = found.role.map(|role| format!("role {}", role.slug));
                resources.chain(role).chain(found.sid.map(|sid| format!("Sid {sid}"))).collect()
            }
        })
    }

    #[test]
    fn a_thing_is_found_by_each_of_its_names() {
        let names = [
            "messaging/OrdersQueue",
            "brew-haven-prod-messaging/OrdersQueue",
            "OrdersQueue",
            "orders",
            "brew-haven-prod-messaging-OrdersQueue-1A2B3C4D.fifo",
            "https://sqs.eu-west-1.amazonaws.com/111111111111/brew-haven-prod-messaging-OrdersQueue-1A2B3C4D.fifo",
        ];
        for name in names {
            assert_eq!(found(name), ["messaging/OrdersQueue"], "{name}");
        }
        assert_eq!(found("order-worker"), ["role order-worker"]);
        assert_eq!(found("ConsumesOrders"), ["Sid ConsumesOrders"]);
        assert_eq!(found("/brewhaven/prod/order/max_queue_size").len(), 1);
        assert!(found("kitchen").is_empty());
    }

    #[test]
    fn a_miss_says_what_was_probably_meant() {
        with(|explainer| {
            assert!(no_such(explainer, "OrderQueue").ends_with("did you mean OrdersQueue?"));
            assert!(no_such(explainer, "data/Databse").ends_with("did you mean data/Database?"));
            assert!(!no_such(explainer, "something-else-entirely").contains("did you mean"));
        });
    }

    fn told(asked: &str) -> Resource {
        with(|explainer| {
            let found = find(explainer, asked).expect("it is there");
            explainer.resource(*found.resources.first().expect("a resource"))
        })
    }

    #[test]
    fn a_queue_is_told_with_its_users_its_rights_and_its_alarms() {
        let queue = told("OrdersQueue");
        assert!(queue.stateful && queue.because[0].starts_with("queue orders: Saga commands"), "{queue:?}");
        assert!(queue.used_by.iter().any(|user| user.export.as_deref() == Some("brew-haven-prod-queue-orders-url")));
        let edges: BTreeSet<(String, String)> = queue
            .permissions
            .iter()
            .filter(|permission| permission.of_the_contract)
            .map(|permission| (permission.roles.join(","), permission.because.clone()))
            .collect();
        let expected = [("order-worker", "consumes orders"), ("outbox-relay", "sends to orders")];
        assert_eq!(edges, expected.map(|(role, edge)| (role.to_owned(), edge.to_owned())).into());
        assert!(queue.alarms.iter().any(|watch| watch.alarm == "orders-age" && watch.runbook == "queue-age"));
        let effect =
            |name: &str| queue.changes.iter().find(|change| change.property == name).map(|change| change.effect);
        assert_eq!(effect("FifoQueue"), Some("replaces it"));
        assert_eq!(effect("VisibilityTimeout"), Some("in place"));
    }

    #[test]
    fn a_secret_is_told_with_who_is_given_it_though_only_its_name_stands_in_the_policy() {
        let secret = told("signing-key");
        let holders: Vec<&Permission> = secret.permissions.iter().filter(|held| held.of_the_contract).collect();
        assert!(holders.len() == 1 && holders[0].roles == ["storefront"], "{holders:?}");
        assert_eq!(secret.deletion_policy, "RetainExceptOnCreate");
    }

    #[test]
    fn every_resource_and_every_role_can_be_told() {
        with(|explainer| {
            for (place, _) in explainer.platform.all() {
                assert!(!resource_text(&explainer.resource(place)).is_empty());
            }
            for role in ROLES {
                let told = explainer.role(role);
                let edges = told.permissions.iter().filter(|permission| permission.of_the_contract);
                let edges: BTreeSet<&str> = edges.map(|permission| permission.because.as_str()).collect();
                // What the contract says, no less; a start policy that roles share says no more of each.
                for statement in blueprint::statements(role, explainer.environment) {
                    assert!(edges.contains(statement.because.as_str()), "{}: {}", role.slug, statement.because);
                }
            }
        });
    }

    #[test]
    fn every_statement_of_a_running_role_answers_with_its_reason() {
        with(|explainer| {
            for sid in explainer.sids() {
                let statements = explainer.statements(sid);
                assert!(statements.iter().all(|statement| !statement.because.is_empty()), "{sid}");
                assert!(statements.iter().all(|statement| !statement.actions.is_empty()), "{sid}");
            }
        });
    }
}
