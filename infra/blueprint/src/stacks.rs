//! The stacks. Resources that are created and deleted together are in one stack.

mod alarms;
mod backup;
mod bootstrap;
mod compute;
mod data;
mod edge;
mod messaging;
mod network;
mod observability;
mod parameters;
mod roles;
mod security;
mod shared;
mod tags;

use std::collections::{BTreeSet, HashMap};

use contract::address::Address;
use contract::parameter_root;
use serde_json::Value;

use crate::environment::{Environment, Part};
use crate::local::{LeftOut, localize};
use crate::template::Template;

pub use bootstrap::{BOOTSTRAP, bootstrap, execution_role_export};
pub use shared::{Shared, secret_export, task_role_export};

/// The domain of the sender of mails.
pub const MAIL_DOMAIN: &str = "brewhaven.example";

/// A CloudFormation stack with its template and its dependencies.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Short name, such as `data`.
    pub slug: &'static str,
    /// Name in CloudFormation.
    pub name: String,
    /// Purpose of the stack, for people.
    pub about: &'static str,
    /// The template.
    pub template: Value,
    /// True if the stack holds data: the stack is protected from deletion, and its resources from
    /// replacement.
    pub stateful: bool,
    /// Names of stacks that must exist first.
    pub depends_on: Vec<String>,
}

impl Stack {
    /// Returns the exports of other stacks that the stack imports.
    pub fn imports(&self) -> BTreeSet<String> {
        imports(&self.template)
    }

    /// Returns the names that the stack exports.
    pub fn exports(&self) -> BTreeSet<String> {
        exports(&self.template).into_iter().collect()
    }
}

/// Returns all stacks of an environment, or of the part of it that is meant.
pub fn stacks(environment: &Environment) -> Vec<Stack> {
    localized(environment).0
}

/// Returns the resources and properties that the stacks omit on a local AWS, with the reasons.
/// Empty on AWS.
pub fn left_out(environment: &Environment) -> Vec<LeftOut> {
    localized(environment).1
}

/// The stacks that roles need wherever they run. They import from each other only.
const SHOP: [&str; 4] = ["messaging", "data", "parameters", "alarms"];

/// Returns the stacks of an environment, and what they omit.
fn localized(environment: &Environment) -> (Vec<Stack>, Vec<LeftOut>) {
    let mut stacks = on_aws(environment);
    let mut left_out = Vec::new();
    if environment.local {
        (stacks, left_out) = localize(stacks);
        stacks = in_order(stacks);
    }
    if environment.part == Part::Shop {
        stacks.retain(|stack| SHOP.contains(&stack.slug));
        left_out.retain(|left_out| SHOP.contains(&left_out.stack));
    }
    (stacks, left_out)
}

/// Returns the stacks for AWS, without the changes for a local AWS.
pub(crate) fn on_aws(environment: &Environment) -> Vec<Stack> {
    let stack = |slug, about, mut template: Template| {
        tags::tag(&mut template, environment);
        let (name, template) = (environment.stack_name(slug), template.into_json());
        let stateful = matches!(
            slug,
            "data" | "servers" | "messaging" | "security" | "parameters"
        );
        Stack {
            slug,
            name,
            about,
            template,
            stateful,
            depends_on: Vec::new(),
        }
    };
    let mut stacks = vec![
        stack(
            "messaging",
            "Queues, topics and the event bus",
            messaging::messaging(environment),
        ),
        stack("data", "What holds data", data::data(environment)),
        stack(
            "parameters",
            "Settings, secrets and addresses",
            parameters::parameters(environment),
        ),
        stack(
            "alarms",
            "What calls for a human",
            alarms::alarms(environment),
        ),
        stack(
            "network",
            "The VPC and who may talk to whom",
            network::network(environment),
        ),
        stack(
            "security",
            "Keys and boundaries",
            security::security(environment),
        ),
        stack("edge", "What the world reaches", edge::edge(environment)),
        stack("roles", "What each role may do", roles::roles(environment)),
        stack(
            "compute",
            "Where the roles run",
            compute::compute(environment),
        ),
        stack(
            "observability",
            "Logs, dashboards, traces, the budget",
            observability::observability(environment),
        ),
        stack(
            "backup",
            "Copies of what must not be lost",
            backup::backup(environment),
        ),
    ];
    if environment.local {
        stacks.push(stack(
            "servers",
            "Database, cache and buckets",
            data::servers(environment),
        ));
    }
    // CloudFormation refuses a stack without resources.
    stacks.retain(|stack| {
        stack.template["Resources"]
            .as_object()
            .is_some_and(|resources| !resources.is_empty())
    });
    in_order(stacks)
}

/// Sorts the stacks so that each follows the stacks whose exports it imports.
///
/// # Panics
/// Panics when stacks import from each other in a cycle, or when no stack exports a name. Any test
/// that builds the stacks finds this defect.
fn in_order(mut stacks: Vec<Stack>) -> Vec<Stack> {
    let makers: HashMap<String, String> = stacks
        .iter()
        .flat_map(|stack| {
            exports(&stack.template)
                .into_iter()
                .map(|export| (export, stack.name.clone()))
        })
        .collect();
    for stack in &mut stacks {
        let needed = imports(&stack.template)
            .into_iter()
            .map(|import| match makers.get(&import) {
                Some(maker) => maker.clone(),
                None => panic!("{} imports {import}, which nobody exports", stack.name),
            });
        stack.depends_on = needed.collect::<BTreeSet<_>>().into_iter().collect();
    }
    let mut ordered: Vec<Stack> = Vec::with_capacity(stacks.len());
    while !stacks.is_empty() {
        let ready = |stack: &Stack| {
            stack
                .depends_on
                .iter()
                .all(|name| ordered.iter().any(|done| done.name == *name))
        };
        let Some(next) = stacks.iter().position(ready) else {
            panic!(
                "these stacks need each other: {:?}",
                stacks.iter().map(|stack| &stack.name).collect::<Vec<_>>()
            )
        };
        ordered.push(stacks.remove(next));
    }
    ordered
}

pub(crate) fn exports(template: &Value) -> Vec<String> {
    let outputs = template["Outputs"]
        .as_object()
        .into_iter()
        .flat_map(|outputs| outputs.values());
    outputs
        .filter_map(|output| output["Export"]["Name"].as_str().map(str::to_owned))
        .collect()
}

pub(crate) fn imports(value: &Value) -> BTreeSet<String> {
    fn gather<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(name, value)| match value {
                Value::String(import) if name == "Fn::ImportValue" => {
                    found.insert(import);
                }
                value => gather(value, found),
            }),
            Value::Array(values) => values.iter().for_each(|value| gather(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    gather(value, &mut found);
    found.into_iter().map(str::to_owned).collect()
}

/// Returns the export name of the value that a process finds by `address`.
pub fn export_of(environment: &Environment, address: Address) -> String {
    format!(
        "brew-haven-{}-{}",
        environment.name,
        address.parameter().replace('/', "-")
    )
}

/// Returns the export name of the ARN of the same resource, for policies.
pub fn export_of_arn(environment: &Environment, address: Address) -> String {
    let named = export_of(environment, address);
    match address {
        // The address of these resources is the ARN.
        Address::Topic(_) | Address::Stream(_) => named,
        Address::Queue(_) | Address::ParkingQueue(_) | Address::Bus(_) | Address::Table(_) => {
            format!("{named}-arn")
        }
    }
}

/// Returns the export name of a queue's name, which alarms need.
fn export_of_name(environment: &Environment, address: Address) -> String {
    format!("{}-name", export_of(environment, address))
}

/// Returns the ARN of a parameter as text for `Fn::Sub`.
pub fn parameter_arn(environment: &Environment, key: &str) -> String {
    let root = parameter_root(&environment.name);
    format!(
        "arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter{root}/{key}"
    )
}

/// Returns the ARN of a secret as text for `Fn::Sub`.
pub fn secret_arn(environment: &Environment, slug: &str) -> String {
    let root = parameter_root(&environment.name);
    // Secrets Manager appends six random characters to the name.
    format!(
        "arn:${{AWS::Partition}}:secretsmanager:${{AWS::Region}}:${{AWS::AccountId}}:secret:{root}/{slug}-??????"
    )
}
