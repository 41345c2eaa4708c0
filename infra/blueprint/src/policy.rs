//! Our own policy: requirements for templates beyond being valid.
//!
//! Rules about one resource are written in AWS's Guard language, in one file per service in
//! `infra/blueprint/policy/`. Rules that Guard cannot express are Rust: [`companions`] for
//! resources of one template that need each other, [`closure`] for rules between stacks. All rules
//! have ids such as `SQS-2`. All are waived the same way: the resource's `Metadata.haven.waive` is
//! a list of `{rule, reason}`. Every report includes the waivers with their reasons.

mod closure;
mod companions;
mod guard;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::Environment;
use crate::references::resources;
use crate::stack::Stack;

pub use closure::closure;

/// A violation of a policy rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Id of the rule, such as `SQS-2`.
    pub rule: String,
    /// Name of the stack.
    pub stack: String,
    /// The logical id of the resource; empty for a finding about the whole stack.
    pub resource: String,
    /// Path in the template, such as `/Resources/OrdersQueue/Properties/KmsMasterKeyId`.
    pub path: String,
    /// The problem, why it matters, and how to fix it.
    pub message: String,
    /// The reason of the waiver, if there is one.
    pub waived: Option<String>,
}

/// Checks one template against every rule about a single template.
///
/// # Panics
/// Panics when a rule file cannot be parsed or evaluated. Any test that calls this function finds
/// this defect.
pub fn check(stack: &str, template: &Value) -> Vec<Finding> {
    let mut findings = guard::findings(stack, template);
    findings.extend(companions::findings(stack, template));
    findings.sort_by(|one, other| (&one.resource, &one.rule).cmp(&(&other.resource, &other.rule)));
    // A rule may check several properties; one finding per resource is enough.
    findings.dedup_by(|later, first| later.resource == first.resource && later.rule == first.rule);
    let mut findings = waive(findings, template);
    findings.extend(bad_waivers(stack, template, &findings));
    findings
}

/// Checks each template of an environment by itself, and all of them together.
pub fn check_all(environment: &Environment, stacks: &[Stack]) -> Vec<Finding> {
    let own = stacks
        .iter()
        .flat_map(|stack| check(&stack.name, &stack.template));
    own.chain(closure(environment, stacks)).collect()
}

/// Returns the ids of all rules, in the order of their files.
pub fn rules() -> Vec<String> {
    let mut rules = guard::rules();
    rules.extend(companions::RULES.iter().map(|rule| (*rule).to_owned()));
    rules.extend(["WAIVE-1", "WAIVE-2"].map(str::to_owned));
    rules.extend(closure::RULES.iter().map(|rule| (*rule).to_owned()));
    rules
}

/// Marks the findings that the resource's metadata waives.
fn waive(mut findings: Vec<Finding>, template: &Value) -> Vec<Finding> {
    for finding in &mut findings {
        let waiver = waivers(template, &finding.resource).find(|(rule, _)| *rule == finding.rule);
        finding.waived = waiver
            .map(|(_, reason)| reason.to_owned())
            .filter(|reason| !reason.trim().is_empty());
    }
    findings
}

/// Returns rule and reason of each waiver.
pub(crate) fn waivers<'a>(
    template: &'a Value,
    resource: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let waived = template["Resources"][resource]["Metadata"]["haven"]["waive"].as_array();
    waived.into_iter().flatten().map(|waiver| {
        let text = |key: &str| waiver[key].as_str().unwrap_or_default();
        (text("rule"), text("reason"))
    })
}

/// Returns findings for waivers without a reason, and for waivers of rules that find nothing.
/// Waivers of `closure` rules are not checked for that.
fn bad_waivers(stack: &str, template: &Value, findings: &[Finding]) -> Vec<Finding> {
    let mut bad = Vec::new();
    for (resource, _) in resources(template) {
        for (rule, reason) in waivers(template, resource) {
            let mut report = |id: &str, message: String| {
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
                report(
                    "WAIVE-1",
                    format!(
                        "The waiver of {rule} has no reason. Explain why the rule does not apply here."
                    ),
                );
            } else if !closure::RULES.contains(&rule)
                && !findings
                    .iter()
                    .any(|finding| finding.resource == resource && finding.rule == rule)
            {
                report(
                    "WAIVE-2",
                    format!("The waiver of {rule} is unused. Remove it."),
                );
            }
        }
    }
    bad
}
