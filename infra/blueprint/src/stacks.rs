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
        stack(
            "data",
            "Tables, database, cache and buckets",
            data::data(environment),
        ),
        stack(
            "parameters",
            "Settings, secrets and addresses",
            parameters::parameters(environment),
        ),
        stack("alarms", "Alarms", alarms::alarms(environment)),
        stack(
            "network",
            "VPC and security groups",
            network::network(environment),
        ),
        stack(
            "security",
            "KMS keys and permissions boundary",
            security::security(environment),
        ),
        stack(
            "edge",
            "Load balancer, API and firewall",
            edge::edge(environment),
        ),
        stack("roles", "IAM roles of the tasks", roles::roles(environment)),
        stack(
            "compute",
            "ECS cluster, services and tasks",
            compute::compute(environment),
        ),
        stack(
            "observability",
            "Logs, dashboards, traces and budget",
            observability::observability(environment),
        ),
        stack("backup", "Backups", backup::backup(environment)),
    ];
    if environment.local {
        stacks.push(stack(
            "servers",
            "Database, cache and buckets",
            data::servers(environment),
        ));
    }
    // CloudFormation refuses a stack without resources.
    stacks.retain(|stack| resources(&stack.template).next().is_some());
    in_order(stacks)
}
