//! Our own policy: what a template must be, beside correct.
//!
//! Rules about one resource are written in AWS's Guard language, a file per service in
//! `infra/blueprint/policy/`. What Guard cannot say is Rust: [`companions`] for resources of one
//! template that need each other, [`closure`] for what holds between stacks. All have ids of one
//! form, such as `SQS-2`, and can be waived in one way: the resource's `Metadata.haven.waive`, a
//! list of `{rule, reason}`. A waiver is reported with its reason, never silent.

mod closure;
mod companions;
mod guard;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Environment, Stack};

pub use closure::closure;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Such as `SQS-2`.
    pub rule: String,
    pub stack: String,
    /// The logical id of the resource; empty where it is about the stack as a whole.
    pub resource: String,
    /// Where in the template, such as `/Resources/OrdersQueue/Properties/KmsMasterKeyId`.
    pub path: String,
    /// What is wrong, why it matters and what would be right.
    pub message: String,
    /// Why it is allowed here.
    pub waived: Option<String>,
}

/// Every rule about one template.
///
/// # Panics
/// When a rule file cannot be read or evaluated: a defect of ours, found by any test that calls
/// this.
pub fn check(stack: &str, template: &Value) -> Vec<Finding> {
    let mut findings = guard::findings(stack, template);
    findings.extend(companions::findings(stack, template));
    findings.sort_by(|one, other| (&one.resource, &one.rule).cmp(&(&other.resource, &other.rule)));
    // One rule may ask for several properties; one line a resource is enough.
    findings.dedup_by(|later, first| later.resource == first.resource && later.rule == first.rule);
    let mut findings = waive(findings, template);
    findings.extend(bad_waivers(stack, template, &findings));
    findings
}

/// Every rule about an environment: each template by itself, and all of them together.
pub fn check_all(environment: &Environment, stacks: &[Stack]) -> Vec<Finding> {
    let own = stacks
        .iter()
        .flat_map(|stack| check(&stack.name, &stack.template));
    own.chain(closure(environment, stacks)).collect()
}

/// The ids of all rules, in the order of their files.
pub fn rules() -> Vec<String> {
    let mut rules = guard::rules();
    rules.extend(companions::RULES.iter().map(|rule| (*rule).to_owned()));
    rules.extend(["WAIVE-1", "WAIVE-2"].map(str::to_owned));
    rules.extend(closure::RULES.iter().map(|rule| (*rule).to_owned()));
    rules
}

/// Marks what the resource's own metadata allows.
fn waive(mut findings: Vec<Finding>, template: &Value) -> Vec<Finding> {
    for finding in &mut findings {
        let waiver = waivers(template, &finding.resource).find(|(rule, _)| *rule == finding.rule);
        finding.waived = waiver
            .map(|(_, reason)| reason.to_owned())
            .filter(|reason| !reason.trim().is_empty());
    }
    findings
}

/// Rule and reason of each.
fn waivers<'a>(template: &'a Value, resource: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let waived = template["Resources"][resource]["Metadata"]["haven"]["waive"].as_array();
    waived.into_iter().flatten().map(|waiver| {
        let text = |key: &str| waiver[key].as_str().unwrap_or_default();
        (text("rule"), text("reason"))
    })
}

/// Waivers without a reason, and those that nothing needs any more. `closure` looks after its own.
fn bad_waivers(stack: &str, template: &Value, findings: &[Finding]) -> Vec<Finding> {
    let mut bad = Vec::new();
    for (resource, _) in resources(template) {
        for (rule, reason) in waivers(template, resource) {
            let mut say = |id: &str, message: String| {
                bad.push(Finding {
                    rule: id.to_owned(),
                    stack: stack.to_owned(),
                    resource: resource.to_owned(),
                    path: format!("/Resources/{resource}/Metadata/haven/waive"),
                    message,
                    waived: None,
                });
            };
            if reason.trim().is_empty() {
                say(
                    "WAIVE-1",
                    format!("{rule} is waived without a reason. Say why it does not apply here."),
                );
            } else if !closure::RULES.contains(&rule)
                && !findings
                    .iter()
                    .any(|finding| finding.resource == resource && finding.rule == rule)
            {
                say(
                    "WAIVE-2",
                    format!("{rule} finds nothing here. Take the waiver away."),
                );
            }
        }
    }
    bad
}

/// Logical id and resource.
fn resources(template: &Value) -> impl Iterator<Item = (&str, &Value)> {
    template["Resources"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, resource)| (id.as_str(), resource))
}

/// Those of one type.
fn of_type<'a>(template: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    resources(template).filter(move |(_, resource)| resource["Type"] == kind)
}

/// The logical ids that a value refers to, by `Ref`, `Fn::GetAtt` or `Fn::Sub`.
fn referred(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Object(object) => {
            let mut ids: BTreeSet<&str> = object.values().flat_map(referred).collect();
            ids.extend(object.get("Ref").and_then(Value::as_str));
            let attribute = object.get("Fn::GetAtt");
            ids.extend(
                attribute
                    .and_then(|att| att[0].as_str().or_else(|| att.as_str()?.split('.').next())),
            );
            let text = object
                .get("Fn::Sub")
                .and_then(|sub| sub.as_str().or_else(|| sub[0].as_str()));
            ids.extend(text.into_iter().flat_map(|text| {
                text.split("${")
                    .skip(1)
                    .filter_map(|rest| rest.split(['}', '.']).next())
            }));
            ids
        }
        Value::Array(values) => values.iter().flat_map(referred).collect(),
        _ => BTreeSet::new(),
    }
}

/// A list, or the one thing that stands for a list of one.
fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}
