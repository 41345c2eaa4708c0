//! The items of the contract as `haven why` explains them, and the resources behind each.

use std::collections::BTreeSet;

use contract::address::Address;
use contract::alarm::{ALARMS, Alarm, Platform, Severity, Signal};
use contract::parameter::{PARAMETERS, SECRETS};
use contract::role::{Access, ROLES, Role};
use contract::topic::{RULES, SUBSCRIPTIONS, Target};
use contract::{parameter_root, queue, table, topic};
use serde::Serialize;
use serde_json::Value;

use crate::environment::Environment;
use crate::graph::{Graph, Place};
use crate::names::{export_of, secret_export};
use crate::template::logical;

/// An item of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The kind of item, such as `queue`.
    pub what: &'static str,
    /// Slug of the item.
    pub slug: String,
    /// Its purpose.
    pub about: String,
    /// Its users and other facts, as sentences.
    pub facts: Vec<String>,
    /// Alarms that watch it.
    pub alarms: Vec<Watch>,
    /// Further names by which it can be found.
    #[serde(skip)]
    pub names: Vec<String>,
}

/// An alarm, and its runbook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Watch {
    /// Slug of the alarm.
    pub slug: &'static str,
    /// Its severity.
    pub severity: &'static str,
    /// Its impact.
    pub impact: &'static str,
    /// Name of the runbook for `haven runbook show`.
    pub runbook: &'static str,
}

impl Watch {
    /// Creates the entry of an alarm.
    pub fn of(alarm: &Alarm) -> Watch {
        let severity = match alarm.severity {
            Severity::Page => "page",
            Severity::Ticket => "ticket",
            Severity::Notice => "notice",
        };
        Watch {
            slug: alarm.slug,
            severity,
            impact: alarm.impact,
            runbook: alarm.runbook,
        }
    }
}

/// Returns the contract's alarm with this logical id.
pub fn alarm_of(id: &str) -> Option<&'static Alarm> {
    ALARMS
        .iter()
        .find(|alarm| logical(&format!("{} alarm", alarm.slug)) == id)
}

/// Returns every item with its resources; the first resource is the item itself.
pub fn items<'a>(environment: &Environment, graph: &Graph<'a>) -> Vec<(Item, Vec<Place<'a>>)> {
    let root = parameter_root(&environment.name);
    let at_key = |key: &str| having_name(graph, &format!("{root}/{key}"));
    // CloudFormation assigns the names of these items, and processes look them up.
    let addressed = |item: Item, addresses: &[Address]| {
        let mut places: Vec<Place<'a>> = Vec::new();
        for address in addresses {
            places.extend(graph.behind_export(&export_of(environment, *address)));
            places.extend(at_key(&address.parameter()));
        }
        let names = addresses
            .iter()
            .flat_map(|address| [address.variable(), address.parameter()]);
        (item.names(names), places)
    };
    let mut items = Vec::new();
    for &queue in queue::QUEUES {
        let own = Item::new("queue", queue.slug, queue.about)
            .facts(of_queue(queue))
            .watched(|signal| matches!(signal, Signal::QueueAge(watched) if *watched == queue));
        items.push(addressed(own, &[Address::Queue(queue)]));
        let about = format!("The dead-letter queue of {}", queue.slug);
        let consumes = |role: &Role| role.consumes.contains(&queue);
        let dead_letters = Item::new("queue", queue.parking_slug(), about)
            .facts(users("receives dead letters from", consumes))
            .watched(|signal| matches!(signal, Signal::Parked(watched) if *watched == queue));
        items.push(addressed(dead_letters, &[Address::ParkingQueue(queue)]));
    }
    for &topic in topic::TOPICS {
        let mut facts = users("published to by", |role| role.publishes.contains(&topic));
        let subscriptions = SUBSCRIPTIONS.iter().filter(|it| it.topic == topic);
        facts.extend(subscriptions.map(|it| format!("delivers to the queue {}", it.queue.slug)));
        facts.extend(rules_to(Target::Topic(topic)));
        let item = Item::new("topic", topic.slug, topic.about).facts(facts);
        items.push(addressed(item, &[Address::Topic(topic)]));
    }
    let bus = &topic::BUS;
    let facts = users("receives events from", |role| !role.puts_events.is_empty());
    let item = Item::new("bus", bus.slug, "The event bus").facts(facts);
    items.push(addressed(item, &[Address::Bus(bus)]));
    for &table in table::TABLES {
        let uses = |role: &Role, meant: Access| {
            role.tables
                .iter()
                .any(|(used, access)| *used == table && *access == meant)
        };
        let mut facts = users("written by", |role| uses(role, Access::Write));
        facts.extend(users("read by", |role| uses(role, Access::Read)));
        let streams = |role: &Role| role.streams.contains(&table);
        facts.extend(users("its stream is read by", streams));
        let mut addresses = vec![Address::Table(table)];
        addresses.extend(table.stream.then_some(Address::Stream(table)));
        let item = Item::new("table", table.slug, table.about)
            .facts(facts)
            .watched(|signal| {
                matches!(
                    signal,
                    Signal::Platform(Platform::TableThrottles | Platform::TableErrors)
                )
            });
        items.push(addressed(item, &addresses));
    }
    for &secret in SECRETS {
        let item = Item::new("secret", secret.slug, secret.about)
            .facts(users("read by", |role| role.secrets.contains(&secret)))
            .names([secret.variable.to_owned()]);
        let export = secret_export(environment, secret);
        let mut places = graph.behind_export(&export).to_vec();
        places.extend(at_key(secret.slug));
        items.push((item, places));
    }
    for &parameter in PARAMETERS {
        let mut facts = users("read by", |role| role.parameters.contains(&parameter));
        facts.push(format!("the default is {}", parameter.default));
        let item = Item::new("parameter", parameter.key, parameter.about).facts(facts);
        items.push((item, at_key(parameter.key)));
    }
    for &role in ROLES {
        let item = Item::new("role", role.slug, role.about).watched(|signal| match signal {
            Signal::Ours { service, .. } => *service == role.slug,
            Signal::Platform(Platform::TasksMissing(roles)) => {
                roles.iter().any(|missed| missed.slug == role.slug)
            }
            Signal::Platform(Platform::TasksCpu | Platform::TasksMemory) => true,
            Signal::QueueAge(queue) => role.consumes.contains(queue),
            Signal::Parked(_) | Signal::Platform(_) => false,
        });
        items.push((item, beginning_with(graph, &logical(role.slug))));
    }
    let stream = &topic::ORDER_EVENTS;
    let mut places = called(graph, stream.slug, "stream");
    places.extend(beginning_with(graph, &logical(stream.slug)));
    // This stream exists on AWS only.
    if !places.is_empty() {
        let days = stream.retention.as_secs() / 86_400;
        let item = Item::new("stream", stream.slug, stream.about).facts(vec![
            "receives every event of an order from the bus".to_owned(),
            format!("keeps events for {days} days"),
        ]);
        items.push((item, places));
    }
    for rule in RULES {
        let fact = match rule.target {
            Target::Topic(topic) => format!("sends events to the topic {}", topic.slug),
            Target::Queue(queue) => format!("sends events to the queue {}", queue.slug),
        };
        let item = Item::new("rule", rule.slug, rule.about).facts(vec![fact]);
        items.push((item, called(graph, rule.slug, "rule")));
    }
    for alarm in ALARMS {
        let mut item = Item::new("alarm", alarm.slug, alarm.impact);
        item.alarms = vec![Watch::of(alarm)];
        items.push((item, called(graph, alarm.slug, "alarm")));
    }
    for (_, places) in &mut items {
        let mut seen = BTreeSet::new();
        places.retain(|place| seen.insert(*place));
    }
    items
}

impl Item {
    fn new(what: &'static str, slug: impl Into<String>, about: impl Into<String>) -> Item {
        Item {
            what,
            slug: slug.into(),
            about: about.into(),
            facts: Vec::new(),
            alarms: Vec::new(),
            names: Vec::new(),
        }
    }

    fn facts(self, facts: Vec<String>) -> Item {
        Item { facts, ..self }
    }

    fn names(self, names: impl IntoIterator<Item = String>) -> Item {
        let names = names.into_iter().collect();
        Item { names, ..self }
    }

    /// Adds the alarms with these signals.
    fn watched(self, by: impl Fn(&Signal) -> bool) -> Item {
        let alarms = ALARMS.iter().filter(|alarm| by(&alarm.signal));
        let alarms = alarms.map(Watch::of).collect();
        Item { alarms, ..self }
    }
}

fn of_queue(queue: &'static queue::Queue) -> Vec<String> {
    let mut facts = users("consumed by", |role| role.consumes.contains(&queue));
    let sends = |role: &Role| role.sends.contains(&queue);
    facts.extend(users("receives messages from", sends));
    let subscriptions = SUBSCRIPTIONS.iter().filter(|it| it.queue == queue);
    facts.extend(subscriptions.map(|it| format!("subscribed to the topic {}", it.topic.slug)));
    facts.extend(rules_to(Target::Queue(queue)));
    facts.push(format!(
        "the handler times out after {} s; after {} deliveries a message becomes a dead letter",
        queue.handler_timeout.as_secs(),
        queue.deliveries_max
    ));
    facts
}

fn rules_to(target: Target) -> impl Iterator<Item = String> {
    RULES
        .iter()
        .filter(move |rule| rule.target == target)
        .map(|rule| format!("receives events from the rule {}", rule.slug))
}

fn users(how: &str, uses: impl Fn(&Role) -> bool) -> Vec<String> {
    let roles: Vec<&str> = ROLES
        .iter()
        .copied()
        .filter(|role| uses(role))
        .map(|role| role.slug)
        .collect();
    if roles.is_empty() {
        Vec::new()
    } else {
        vec![format!("{how} {}", roles.join(", "))]
    }
}

fn called<'a>(graph: &Graph<'a>, slug: &str, what: &str) -> Vec<Place<'a>> {
    let id = logical(&format!("{slug} {what}"));
    graph.find(|it| it.id == id)
}

fn beginning_with<'a>(graph: &Graph<'a>, words: &str) -> Vec<Place<'a>> {
    graph.find(|it| it.id.starts_with(words))
}

fn having_name<'a>(graph: &Graph<'a>, name: &str) -> Vec<Place<'a>> {
    graph.find(|it| it.properties["Name"] == name)
}

/// Returns true if an IAM resource names this resource's parameter or secret.
pub fn is_named_in(arn: &Value, resource: &Value) -> bool {
    let (Some(arn), Some(name)) = (
        arn["Fn::Sub"].as_str(),
        resource["Properties"]["Name"].as_str(),
    ) else {
        return false;
    };
    arn.ends_with(&format!(":parameter{name}")) || arn.ends_with(&format!(":secret:{name}-??????"))
}
