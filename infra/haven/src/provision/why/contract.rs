//! From the contract's items to the resources that they become, and back.

use blueprint::{Environment, export_of};
use contract::address::Address;
use contract::alarm::{ALARMS, Alarm, Platform as Measured, Signal};
use contract::parameter::{PARAMETERS, SECRETS};
use contract::parameter_root;
use contract::role::{ROLES, Role};
use contract::topic::RULES;

use super::platform::{Place, Platform};

/// Something that stands in the contract, and the resource that it became.
pub struct Item<'a> {
    /// Such as `queue`.
    pub what: &'static str,
    pub slug: String,
    pub about: String,
    pub place: Place<'a>,
}

/// Every item that the stacks make.
pub fn items<'a>(platform: &Platform<'a>, environment: &Environment) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for address in Address::all() {
        let (what, slug, about) = told(address);
        let made = platform.exported(&export_of(environment, address)).into_iter();
        items.extend(made.map(|place| Item { what, slug: slug.clone(), about: about.clone(), place }));
    }
    let root = parameter_root(&environment.name);
    for (place, resource) in platform.all() {
        let properties = &resource["Properties"];
        let mut push = |what, slug: &str, about: &str| {
            items.push(Item { what, slug: slug.to_owned(), about: about.to_owned(), place });
        };
        let named = |key: &str| properties["Name"].as_str().is_some_and(|name| name == format!("{root}/{key}"));
        match platform.kind(place) {
            "AWS::SSM::Parameter" => {
                if let Some(parameter) = PARAMETERS.iter().find(|parameter| named(parameter.key)) {
                    push("setting", parameter.key, parameter.about);
                } else if let Some(address) = Address::all().find(|address| named(&address.parameter())) {
                    let (what, slug, _) = told(address);
                    let about = format!("Where the {what} {slug} is; processes get it as {}", address.variable());
                    push("address", &address.parameter(), &about);
                }
            }
            "AWS::SecretsManager::Secret" => {
                if let Some(secret) = SECRETS.iter().find(|secret| named(secret.slug)) {
                    push("secret", secret.slug, secret.about);
                }
            }
            "AWS::CloudWatch::Alarm" => {
                if let Some(alarm) = alarm(environment, properties["AlarmName"].as_str().unwrap_or_default()) {
                    push("alarm", alarm.slug, alarm.impact);
                }
            }
            "AWS::Events::Rule" => {
                let rule = RULES.iter().find(|rule| place.1 == format!("{}Rule", camel(rule.slug)));
                if let Some(rule) = rule {
                    push("rule", rule.slug, rule.about);
                }
            }
            _ => {}
        }
    }
    items
}

/// What an address is the address of: kind, slug, and what it is for.
fn told(address: Address) -> (&'static str, String, String) {
    match address {
        Address::Queue(queue) => ("queue", queue.slug.to_owned(), queue.about.to_owned()),
        Address::ParkingQueue(queue) => {
            ("parking queue", queue.parking_slug(), format!("What the queue {} could not handle", queue.slug))
        }
        Address::Topic(topic) => ("topic", topic.slug.to_owned(), topic.about.to_owned()),
        Address::Bus(bus) => ("bus", bus.slug.to_owned(), "The event bus: every event goes to it".to_owned()),
        Address::Table(table) => ("table", table.slug.to_owned(), table.about.to_owned()),
        Address::Stream(table) => ("stream", table.slug.to_owned(), format!("Changes of the table {}", table.slug)),
    }
}

/// The alarm that has a name in an environment.
pub fn alarm(environment: &Environment, name: &str) -> Option<&'static Alarm> {
    ALARMS.iter().find(|alarm| environment.stack_name(alarm.slug) == name)
}

/// The alarms that watch a role itself, by its own numbers or its tasks.
pub fn alarms_of(role: &Role) -> impl Iterator<Item = &'static Alarm> {
    ALARMS.iter().filter(move |alarm| match alarm.signal {
        Signal::Ours { service, .. } => service == role.slug,
        Signal::Platform(Measured::TasksMissing(roles)) => roles.iter().any(|watched| watched.slug == role.slug),
        Signal::Platform(Measured::TasksCpu | Measured::TasksMemory) => true,
        Signal::QueueAge(_) | Signal::Parked(_) | Signal::Platform(_) => false,
    })
}

/// The role whose resource this is, by its logical id.
pub fn role_of(id: &str) -> Option<&'static Role> {
    ROLES.iter().find(|role| id.starts_with(&camel(role.slug))).copied()
}

/// `order-worker` in a logical id.
pub fn camel(words: &str) -> String {
    let parts = words.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(|part| part[..1].to_ascii_uppercase() + &part[1..]).collect()
}
