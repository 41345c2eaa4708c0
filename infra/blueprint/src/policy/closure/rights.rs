//! Rules about IAM: roles stay within their boundary, and allow exactly the rights of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use contract::role::{ROLES, Role};
use serde_json::Value;

use super::Rules;
use crate::environment::Environment;
use crate::graph::Place;
use crate::kind::{self, Kind};
use crate::policy::Finding;
use crate::references::{list, text};
use crate::roles::{self, Actor, PULL_IMAGES};

impl<'a> Rules<'a> {
    /// Checks that the boundary of a role allows all actions of its policies. An action outside the
    /// boundary would be denied only when it is used.
    pub(super) fn beyond_the_boundary(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for role in self.graph.of_type(kind::IAM_ROLE) {
            for boundary in self.places(role, &role.properties["PermissionsBoundary"]) {
                let document = &self.graph.body(boundary)["Properties"]["PolicyDocument"];
                let inside: BTreeSet<&str> = list(&document["Statement"])
                    .iter()
                    .filter(|statement| statement["Effect"] == "Allow")
                    .flat_map(|statement| {
                        list(&statement["Action"]).iter().filter_map(Value::as_str)
                    })
                    .collect();
                let allowed = self.rights(role.place, "Allow");
                let actions: BTreeSet<&str> =
                    allowed.keys().map(|right| right.action.as_str()).collect();
                // IAM-1 reports wildcards.
                let outside = actions
                    .into_iter()
                    .filter(|action| !action.contains('*') && !inside.contains(action));
                let outside: Vec<&str> = outside.collect();
                if !outside.is_empty() {
                    let message = format!(
                        "The policies of the role allow {}, but its permissions boundary does not, so the calls are denied. Add the \
                         actions to the boundary, or remove them from the policies.",
                        outside.join(", ")
                    );
                    findings.push(self.find("BOUND-1", role.place, message));
                }
            }
        }
        findings
    }

    /// Checks that the two IAM roles of each role allow exactly the rights of the contract.
    pub(super) fn edges(&self, environment: &Environment) -> Vec<Finding> {
        let mut findings = Vec::new();
        for role in ROLES {
            let runs = |task: &Value| {
                list(&task["ContainerDefinitions"])
                    .iter()
                    .any(|it| it["Name"] == role.slug)
            };
            let task = self
                .graph
                .of_type(kind::ECS_TASK_DEFINITION)
                .find(|task| runs(task.properties));
            // A role without a task has no IAM roles, as on the local AWS.
            let Some(task) = task else { continue };
            for (actor, property) in [
                (Actor::Process, "TaskRoleArn"),
                (Actor::Starter, "ExecutionRoleArn"),
            ] {
                let own = self
                    .places(task, &task.properties[property])
                    .into_iter()
                    .next();
                findings.extend(
                    own.into_iter()
                        .flat_map(|own| self.edges_of(environment, role, actor, task.place, own)),
                );
            }
        }
        // Roles can share an execution role and then have the same finding.
        findings.dedup_by(|later, first| {
            later.resource == first.resource && later.message == first.message
        });
        findings
    }

    fn edges_of(
        &self,
        environment: &Environment,
        role: &Role,
        actor: Actor,
        task: Place<'a>,
        own: Place<'a>,
    ) -> Vec<Finding> {
        let allowed = self.rights(own, "Allow");
        let statements = roles::statements_of(role, environment, actor, &[]);
        let wanted = |effect: &str| -> BTreeSet<Right> {
            let wanted = statements.iter().filter(|it| it["Effect"] == effect);
            wanted.flat_map(rights).collect()
        };
        let (denied, wanted_denied, wanted) =
            (self.rights(own, "Deny"), wanted("Deny"), wanted("Allow"));
        let mut findings = Vec::new();
        for right in wanted_denied
            .iter()
            .filter(|right| !denied.contains_key(right))
        {
            let message = format!(
                "The contract forbids {} to {right}, and {} does not deny it. Add a Deny.",
                role.slug, own.1
            );
            findings.push(self.find("EDGE-1", task, message));
        }
        for right in wanted.iter().filter(|right| !allowed.contains_key(right)) {
            let message = format!(
                "The contract grants {} {right}, and {} does not allow it. Allow it.",
                role.slug, own.1
            );
            findings.push(self.find("EDGE-1", task, message));
        }
        for (right, place) in allowed.iter().filter(|(right, _)| !wanted.contains(right)) {
            // Starting a task needs actions that are not in the contract.
            let action = &right.action.as_str();
            if actor == Actor::Starter
                && (PULL_IMAGES.contains(action) || STARTING.contains(action))
            {
                continue;
            }
            let message = format!(
                "{} allows {right}, which the contract does not grant. Remove it, or add the right to the contract.",
                own.1
            );
            findings.push(self.find("EDGE-2", *place, message));
        }
        findings
    }

    /// Returns the rights of a role's policies with this effect, each with its policy.
    fn rights(&self, role: Place<'a>, effect: &str) -> BTreeMap<Right, Place<'a>> {
        let properties = &self.graph.body(role)["Properties"];
        let mut documents: Vec<(Place<'a>, &'a Value)> = Vec::new();
        documents.extend(
            list(&properties["Policies"])
                .iter()
                .map(|policy| (role, &policy["PolicyDocument"])),
        );
        let attached: BTreeSet<Place<'a>> = list(&properties["ManagedPolicyArns"])
            .iter()
            .flat_map(|arn| self.graph.places(role.0, arn))
            .collect();
        for it in self.graph.resources() {
            if matches!(
                Kind::of(it.body),
                Some(kind::IAM_MANAGED_POLICY | kind::IAM_POLICY)
            ) {
                let mut roles = list(&it.properties["Roles"])
                    .iter()
                    .flat_map(|named| self.places(it, named));
                if attached.contains(&it.place) || roles.any(|named| named == role) {
                    documents.push((it.place, &it.properties["PolicyDocument"]));
                }
            }
        }
        let mut found = BTreeMap::new();
        for (place, document) in documents {
            for statement in list(&document["Statement"])
                .iter()
                .filter(|statement| statement["Effect"] == effect)
            {
                found.extend(rights(statement).into_iter().map(|right| (right, place)));
            }
        }
        found
    }
}

/// One action on one resource under one condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    action: String,
    resource: String,
    condition: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.resource)?;
        if self.condition.is_empty() {
            Ok(())
        } else {
            write!(f, " where {}", self.condition)
        }
    }
}

/// Returns each combination of action and resource in a statement.
fn rights(statement: &Value) -> Vec<Right> {
    let condition = match &statement["Condition"] {
        Value::Null => String::new(),
        condition => condition.to_string(),
    };
    let of = |action: &Value| {
        let (action, condition) = (text(action), condition.clone());
        let right = move |resource: &Value| Right {
            action: action.clone(),
            resource: text(resource),
            condition: condition.clone(),
        };
        list(&statement["Resource"]).iter().map(right)
    };
    list(&statement["Action"]).iter().flat_map(of).collect()
}

/// The other actions with which ECS starts a task: the login to the registry and writing the log.
const STARTING: &[&str] = &[
    "ecr:GetAuthorizationToken",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
];
