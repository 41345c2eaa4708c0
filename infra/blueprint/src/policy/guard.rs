//! The rules in Guard language, parsed once per thread and evaluated in-process.
//!
//! A rule's name is its id with `_` instead of `-`, which Guard does not allow in names. The first
//! message of a rule describes it, and replaces the missing message of a failed clause.

use std::collections::HashMap;
use std::rc::Rc;

use cloudformation_guard_lang::errors::Error;
use cloudformation_guard_lang::eval::eval_rules_file;
use cloudformation_guard_lang::eval_context::{
    ClauseReport, ValueComparisons, root_scope, simplified_json_from_root,
};
use cloudformation_guard_lang::exprs::RulesFile;
use cloudformation_guard_lang::parser::{from_str2, rules_file};
use cloudformation_guard_lang::path_value::PathAwareValue;
use serde_json::{Value, json};

use super::Finding;
use crate::references::resources;

/// Name and text of each rule file.
const FILES: &[(&str, &str)] = &[
    ("network", include_str!("../../policy/network.guard")),
    ("rds", include_str!("../../policy/rds.guard")),
    (
        "elasticache",
        include_str!("../../policy/elasticache.guard"),
    ),
    ("dynamodb", include_str!("../../policy/dynamodb.guard")),
    ("s3", include_str!("../../policy/s3.guard")),
    ("sqs", include_str!("../../policy/sqs.guard")),
    ("sns", include_str!("../../policy/sns.guard")),
    (
        "eventbridge",
        include_str!("../../policy/eventbridge.guard"),
    ),
    ("kinesis", include_str!("../../policy/kinesis.guard")),
    ("ecs", include_str!("../../policy/ecs.guard")),
    ("edge", include_str!("../../policy/edge.guard")),
    ("iam", include_str!("../../policy/iam.guard")),
    ("secrets", include_str!("../../policy/secrets.guard")),
    ("logs", include_str!("../../policy/logs.guard")),
    ("alarms", include_str!("../../policy/alarms.guard")),
    ("keep", include_str!("../../policy/keep.guard")),
];

struct File {
    name: &'static str,
    parsed: RulesFile<'static>,
    /// The resource types in the file. Other resources need not be evaluated.
    types: Vec<&'static str>,
    asks_for_parameters: bool,
    /// The first message of each rule, by name.
    messages: HashMap<&'static str, &'static str>,
}

thread_local! {
    /// Parsed rules contain `Rc`, so each thread has its own.
    static RULES: Vec<File> = FILES.iter().map(|(name, text)| parse(name, text)).collect();
}

/// Returns the ids of all rules.
pub fn rules() -> Vec<String> {
    let names = |file: &File| {
        file.parsed
            .guard_rules
            .iter()
            .map(|rule| id(&rule.rule_name))
            .collect::<Vec<_>>()
    };
    RULES.with(|files| files.iter().flat_map(names).collect())
}

/// Checks a template against all rules.
pub fn findings(stack: &str, template: &Value) -> Vec<Finding> {
    RULES.with(|files| {
        files
            .iter()
            .flat_map(|file| evaluate(file, stack, template))
            .collect()
    })
}

fn parse(name: &'static str, text: &'static str) -> File {
    let parsed = match rules_file(from_str2(text)) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => panic!("{name}.guard has no rules"),
        Err(error) => panic!("{name}.guard: {error}"),
    };
    let mut types: Vec<&str> = text
        .match_indices("AWS::")
        .map(|(at, _)| first_word(&text[at..]))
        .collect();
    types.sort_unstable();
    types.dedup();
    let messages = text.split("\nrule ").skip(1).filter_map(|rule| {
        let said = rule.split_once("<<")?.1.split_once(">>")?.0;
        Some((first_word(rule), said))
    });
    let asks_for_parameters = text.contains("= Parameters");
    File {
        name,
        parsed,
        types,
        asks_for_parameters,
        messages: messages.collect(),
    }
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != ':' && c != '_');
    &text[..end.unwrap_or(text.len())]
}

fn id(rule: &str) -> String {
    rule.replace('_', "-")
}

/// Evaluates one resource at a time, so that each finding belongs to a known resource even if Guard
/// does not name one.
fn evaluate(file: &File, stack: &str, template: &Value) -> Vec<Finding> {
    let about = |resource: &Value| {
        resource["Type"]
            .as_str()
            .is_some_and(|kind| file.types.contains(&kind))
    };
    let mine = resources(template).filter(|(_, resource)| about(resource));
    let mut findings: Vec<Finding> = mine
        .flat_map(|(id, resource)| {
            let seen = json!({ "Resources": { id: resource }, "Parameters": {} });
            found(file, stack, id, &format!("/Resources/{id}"), seen)
        })
        .collect();
    let parameters = template["Parameters"].as_object().into_iter().flatten();
    for (name, parameter) in parameters.filter(|_| file.asks_for_parameters) {
        // Guard stops at a template without resources.
        let seen = json!({ "Resources": { "None": { "Type": "None" } }, "Parameters": { name: parameter } });
        findings.extend(found(file, stack, "", &format!("/Parameters/{name}"), seen));
    }
    findings
}

/// Returns the findings of a file in a partial template. `place` is the path of findings without
/// one.
fn found(file: &File, stack: &str, resource: &str, place: &str, seen: Value) -> Vec<Finding> {
    let failed = failed(file, seen)
        .unwrap_or_else(|error| panic!("{}.guard on {stack}: {error}", file.name));
    let finding = |failed: Failed| {
        let of_rule = file.messages.get(failed.rule.as_str()).copied();
        let of_rule = of_rule.unwrap_or_default();
        Finding {
            rule: id(&failed.rule),
            stack: stack.to_owned(),
            resource: resource.to_owned(),
            path: failed.path.unwrap_or_else(|| place.to_owned()),
            message: failed.message.unwrap_or_else(|| of_rule.to_owned()),
            waived: None,
        }
    };
    failed.into_iter().map(finding).collect()
}

fn failed(file: &File, seen: Value) -> Result<Vec<Failed>, Error> {
    let root = Rc::new(PathAwareValue::try_from(seen)?);
    let mut scope = root_scope(&file.parsed, root);
    eval_rules_file(&file.parsed, &mut scope, None)?;
    let record = scope.reset_recorder().extract();
    let mut failed = Vec::new();
    for rule in simplified_json_from_root(&record)?.not_compliant {
        if let ClauseReport::Rule(rule) = rule {
            rule.checks
                .iter()
                .for_each(|check| gather(rule.name, check, &mut failed));
        }
    }
    Ok(failed)
}

struct Failed {
    rule: String,
    path: Option<String>,
    message: Option<String>,
}

/// Collects the failed clauses; of clauses joined by `or` only the last one.
fn gather(rule: &str, check: &ClauseReport<'_>, failed: &mut Vec<Failed>) {
    match check {
        ClauseReport::Rule(inner) => inner
            .checks
            .iter()
            .for_each(|check| gather(rule, check, failed)),
        ClauseReport::Disjunctions(either) => {
            if let Some(last) = either.checks.last() {
                gather(rule, last, failed);
            }
        }
        ClauseReport::Block(_) | ClauseReport::Clause(_) => {
            let path = check.value_from().map(|value| value.self_path().0.clone());
            let mut said = check
                .get_message()
                .into_iter()
                .filter_map(|messages| messages.custom_message);
            let message = said.rfind(|message| !message.is_empty());
            failed.push(Failed {
                rule: rule.to_owned(),
                path: path.filter(|path| !path.is_empty()),
                message,
            });
        }
    }
}
