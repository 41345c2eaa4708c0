//! The stacks. Resources that are created and deleted together are in one stack.

mod alarms;
mod backup;
mod compute;
mod data;
mod edge;
mod logs;
mod messaging;
mod network;
mod observability;
mod parameters;
mod roles;
pub(crate) mod security;
mod tags;

use alarms::alarms;
use backup::backup;
use compute::compute;
use data::{data, servers};
use edge::edge;
use messaging::messaging;
use network::network;
use observability::observability;
use parameters::parameters;
use roles::roles;
use security::security;

use crate::environment::{Environment, Part};
use crate::local::{LeftOut, localize};
use crate::references::resources;
use crate::stack::{Stack, in_order};
use crate::template::Template;

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

/// Slug and purpose of a stack, and the function that writes its template.
type Row = (&'static str, &'static str, fn(&Environment) -> Template<'_>);

/// All stacks. The last one is for the local AWS only: see [`servers`].
const STACKS: [Row; 12] = [
    ("messaging", "Queues, topics and the event bus", messaging),
    ("data", "Tables, database, cache and buckets", data),
    ("parameters", "Settings, secrets and addresses", parameters),
    ("alarms", "Alarms", alarms),
    ("network", "VPC and security groups", network),
    ("security", "KMS keys and permissions boundary", security),
    ("edge", "Load balancer, API and firewall", edge),
    ("roles", "IAM roles of the tasks", roles),
    ("compute", "ECS cluster, services and tasks", compute),
    (
        "observability",
        "Logs, dashboards, traces and budget",
        observability,
    ),
    ("backup", "Backups", backup),
    ("servers", "Database, cache and buckets", servers),
];

/// The stacks that hold data.
const STATEFUL: [&str; 5] = ["data", "servers", "messaging", "security", "parameters"];

/// Returns the stacks for AWS, without the changes for a local AWS.
pub(crate) fn on_aws(environment: &Environment) -> Vec<Stack> {
    let stack = |&(slug, about, write): &Row| {
        let mut template = write(environment);
        tags::tag(&mut template);
        Stack {
            slug,
            name: environment.stack_name(slug),
            about,
            template: template.into_json(),
            stateful: STATEFUL.contains(&slug),
            depends_on: Vec::new(),
        }
    };
    let rows = STACKS
        .iter()
        .filter(|(slug, ..)| environment.local || *slug != "servers");
    // CloudFormation refuses a stack without resources.
    let stacks = rows
        .map(stack)
        .filter(|stack| resources(&stack.template).next().is_some());
    in_order(stacks.collect())
}
