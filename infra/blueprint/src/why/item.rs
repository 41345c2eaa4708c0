//! The items of the contract as `haven why` explains them, and the resources behind each.

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
    let mut items = Vec::new();
    for &queue in queue::QUEUES {
        for (address, slug) in [
            (Address::Queue(queue), queue.slug.to_owned()),
            (Address::ParkingQueue(queue), queue.parking_slug()),
        ] {
            let parking = matches!(address, Address::ParkingQueue(_));
            let about = match parking {
                true => format!("The dead-letter queue of {}", queue.slug),
                false => queue.about.to_owned(),
            };
            let watched = |signal: &Signal| match signal {
                Signal::QueueAge(watched) => !parking && *watched == queue,
                Signal::Parked(watched) => parking && *watched == queue,
                Signal::Ours { .. } | Signal::Platform(_) => false,
            };
            let facts = if parking {
                users("receives dead letters from", |role| {
                    role.consumes.contains(&queue)
                })
            } else {
                of_queue(queue)
            };
            items.push(addressed(
                environment,
                graph,
                "queue",
                &slug,
                &about,
                facts,
                watched,
                &[address],
            ));
        }
    }
    for &topic in topic::TOPICS {
        let mut facts = users("published to by", |role| role.publishes.contains(&topic));
        facts.extend(
            SUBSCRIPTIONS
                .iter()
                .filter(|heard| heard.topic == topic)
                .map(|heard| format!("delivers to the queue {}", heard.queue.slug)),
        );
        facts.extend(
            RULES
                .iter()
                .filter(|rule| rule.target == Target::Topic(topic))
                .map(|rule| format!("receives events from the rule {}", rule.slug)),
        );
        let address = [Address::Topic(topic)];
        items.push(addressed(
            environment,
            graph,
            "topic",
            topic.slug,
            topic.about,
            facts,
            |_| false,
            &address,
        ));
    }
    let bus = &topic::BUS;
    let facts = users("receives events from", |role| !role.puts_events.is_empty());
    items.push(addressed(
        environment,
        graph,
        "bus",
        bus.slug,
        "The event bus",
        facts,
        |_| false,
        &[Address::Bus(bus)],
    ));
    for &table in table::TABLES {
        let uses = |role: &&Role, meant: Access| {
            role.tables
                .iter()
                .any(|(used, access)| *used == table && *access == meant)
        };
        let mut facts = users("written by", |role| uses(&role, Access::Write));
        facts.extend(users("read by", |role| uses(&role, Access::Read)));
        facts.extend(users("its stream is read by", |role| {
            role.streams.contains(&table)
        }));
        let mut addresses = vec![Address::Table(table)];
        addresses.extend(table.stream.then_some(Address::Stream(table)));
        let watched = |signal: &Signal| {
            matches!(
                signal,
                Signal::Platform(Platform::TableThrottles | Platform::TableErrors)
            )
        };
        items.push(addressed(
            environment,
            graph,
            "table",
            table.slug,
            table.about,
            facts,
            watched,
            &addresses,
        ));
    }
    for &secret in SECRETS {
        let facts = users("read by", |role| role.secrets.contains(&secret));
        let mut places = graph
            .behind_export(&secret_export(environment, secret))
            .to_vec();
        places.extend(at_key(secret.slug));
        items.push(item(
            "secret",
            secret.slug,
            secret.about,
            facts,
            |_| false,
            vec![secret.variable.to_owned()],
            places,
        ));
    }
    for &parameter in PARAMETERS {
        let mut facts = users("read by", |role| role.parameters.contains(&parameter));
        facts.push(format!("the default is {}", parameter.default));
        items.push(item(
            "parameter",
            parameter.key,
            parameter.about,
            facts,
            |_| false,
            Vec::new(),
            at_key(parameter.key),
        ));
    }
    for &role in ROLES {
        let places = beginning_with(graph, &logical(role.slug));
        let watched = |signal: &Signal| match signal {
            Signal::Ours { service, .. } => *service == role.slug,
            Signal::Platform(Platform::TasksMissing(roles)) => {
                roles.iter().any(|missed| missed.slug == role.slug)
            }
            Signal::Platform(Platform::TasksCpu | Platform::TasksMemory) => true,
            Signal::QueueAge(queue) => role.consumes.contains(queue),
            Signal::Parked(_) | Signal::Platform(_) => false,
        };
        items.push(item(
            "role",
            role.slug,
            role.about,
            Vec::new(),
            watched,
            Vec::new(),
            places,
        ));
    }
    let stream = &topic::ORDER_EVENTS;
    let facts = vec![
        "receives every event of an order from the bus".to_owned(),
        format!(
            "keeps events for {} days",
            stream.retention.as_secs() / 86_400
        ),
    ];
    // This stream exists on AWS only.
    let mut places = called(graph, &logical(&format!("{} stream", stream.slug)));
    places.extend(beginning_with(graph, &logical(stream.slug)));
    if !places.is_empty() {
        items.push(item(
            "stream",
            stream.slug,
            stream.about,
            facts,
            |_| false,
            Vec::new(),
            places,
        ));
    }
    for rule in RULES {
        let facts = vec![match rule.target {
            Target::Topic(topic) => format!("sends events to the topic {}", topic.slug),
            Target::Queue(queue) => format!("sends events to the queue {}", queue.slug),
        }];
        let places = called(graph, &logical(&format!("{} rule", rule.slug)));
        items.push(item(
            "rule",
            rule.slug,
            rule.about,
            facts,
            |_| false,
            Vec::new(),
            places,
        ));
    }
    for alarm in ALARMS {
        let places = called(graph, &logical(&format!("{} alarm", alarm.slug)));
        let mut item = item(
            "alarm",
            alarm.slug,
            alarm.impact,
            Vec::new(),
            |_| false,
            Vec::new(),
            places,
        );
        item.0.alarms = vec![Watch::of(alarm)];
        items.push(item);
    }
    items
}

fn of_queue(queue: &'static queue::Queue) -> Vec<String> {
    let mut facts = users("consumed by", |role| role.consumes.contains(&queue));
    facts.extend(users("receives messages from", |role| {
        role.sends.contains(&queue)
    }));
    facts.extend(
        SUBSCRIPTIONS
            .iter()
            .filter(|heard| heard.queue == queue)
            .map(|heard| format!("subscribed to the topic {}", heard.topic.slug)),
    );
    let rules = RULES
        .iter()
        .filter(|rule| rule.target == Target::Queue(queue));
    facts.extend(rules.map(|rule| format!("receives events from the rule {}", rule.slug)));
    facts.push(format!(
        "the handler times out after {} s; after {} deliveries a message becomes a dead letter",
        queue.handler_timeout.as_secs(),
        queue.deliveries_max
    ));
    facts
}

fn users(how: &str, uses: impl Fn(&'static Role) -> bool) -> Vec<String> {
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

/// Creates an item with addresses: CloudFormation assigns the names and processes look them up.
#[expect(clippy::too_many_arguments, reason = "a row of a table")]
fn addressed<'a>(
    environment: &Environment,
    graph: &Graph<'a>,
    what: &'static str,
    slug: &str,
    about: &str,
    facts: Vec<String>,
    watched: impl Fn(&Signal) -> bool,
    addresses: &[Address],
) -> (Item, Vec<Place<'a>>) {
    let root = parameter_root(&environment.name);
    let names = addresses
        .iter()
        .flat_map(|address| [address.variable(), address.parameter()])
        .collect();
    let mut places = Vec::new();
    for address in addresses {
        places.extend(graph.behind_export(&export_of(environment, *address)));
        places.extend(having_name(
            graph,
            &format!("{root}/{}", address.parameter()),
        ));
    }
    item(what, slug, about, facts, watched, names, places)
}

fn item<'a>(
    what: &'static str,
    slug: &str,
    about: &str,
    facts: Vec<String>,
    watched: impl Fn(&Signal) -> bool,
    names: Vec<String>,
    mut places: Vec<Place<'a>>,
) -> (Item, Vec<Place<'a>>) {
    let mut seen = Vec::new();
    places.retain(|place| {
        !seen.contains(place) && {
            seen.push(*place);
            true
        }
    });
    let alarms = ALARMS
        .iter()
        .filter(|alarm| watched(&alarm.signal))
        .map(Watch::of)
        .collect();
    (
        Item {
            what,
            slug: slug.to_owned(),
            about: about.to_owned(),
            facts,
            alarms,
            names,
        },
        places,
    )
}

fn called<'a>(graph: &Graph<'a>, id: &str) -> Vec<Place<'a>> {
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
