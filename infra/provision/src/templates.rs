//! Checks templates against CloudFormation's schemas and limits, and against our own policy.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};
use blueprint::{Stack, limits, policy, schema};
use serde::Serialize;
use serde_json::Value;

/// The severity of a finding, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// CloudFormation would refuse the template or fail to deploy it.
    Refused,
    /// The deployment would succeed, but be less secure or less reliable than required.
    Weak,
    /// A waiver that is not valid or not needed.
    Untidy,
}

impl Severity {
    /// Returns the severity of a rule of our policy.
    fn of(rule: &str) -> Severity {
        match rule.split('-').next() {
            // An import without an export.
            Some("IMPORT") => Severity::Refused,
            Some("WAIVE") => Severity::Untidy,
            _ => Severity::Weak,
        }
    }
}

/// A violation of a rule, a schema or a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// The rule of our policy, such as `SQS-2`, or `SCHEMA` or `LIMIT`.
    pub rule: String,
    pub stack: String,
    /// The logical id. Empty for a finding about the whole stack.
    pub resource: String,
    /// A JSON pointer into the template.
    pub path: String,
    /// The problem, and the accepted values.
    pub message: String,
    /// The reason of the waiver, if there is one.
    pub waived: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:8} {}", self.rule, self.stack)?;
        if !self.resource.is_empty() {
            write!(f, "/{}", self.resource)?;
        }
        let (path, message) = (&self.path, &self.message);
        write!(f, "\n           {path}\n           {message}")
    }
}

/// The result for the templates of one environment or directory.
#[derive(Debug, Serialize)]
pub struct Checked {
    pub name: String,
    pub stacks: usize,
    pub resources: usize,
    /// Whether our policy was checked too, beside the schemas and limits.
    pub policy: bool,
    pub findings: Vec<Finding>,
    pub waived: Vec<Finding>,
}

/// Checks the templates of an environment.
pub fn check_environment(environment: &blueprint::Environment) -> Checked {
    let stacks = blueprint::stacks(environment);
    let refused =
        |stack: &Stack| refused(&stack.name, &stack.template, &limits::text(&stack.template));
    let mut findings: Vec<Finding> = stacks.iter().flat_map(refused).collect();
    // The templates for the local AWS lack what it does not support, such as encryption and network
    // rules. Our policy applies only to deployments that others can reach.
    if !environment.local {
        findings.extend(
            policy::check_all(environment, &stacks)
                .into_iter()
                .map(of_policy),
        );
    }
    let templates = stacks.iter().map(|stack| &stack.template);
    Checked {
        policy: !environment.local,
        ..checked(environment.name.clone(), templates, findings)
    }
}

/// Checks the templates in a directory.
///
/// # Errors
/// When a file cannot be read or is not a template, or there is none.
pub fn check_folder(folder: &Path) -> anyhow::Result<Checked> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("--templates: read {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("--templates: read {}", folder.display()))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        bail!(
            "--templates: {} has no .json file; `haven synth ENV --out DIR` writes some",
            folder.display()
        );
    }
    let mut templates = Vec::new();
    let mut findings = Vec::new();
    for path in paths {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let template: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        if !template["Resources"].is_object() {
            bail!("{} is not a template: it has no Resources", path.display());
        }
        let stack = path.file_stem().unwrap_or_default().to_string_lossy();
        findings.extend(refused(&stack, &template, &limits::text(&template)));
        findings.extend(policy::check(&stack, &template).into_iter().map(of_policy));
        templates.push(template);
    }
    let name = folder.display().to_string();
    Ok(checked(name, templates.iter(), findings))
}

/// Returns the violations of CloudFormation's schemas and limits in one template. `text` is the
/// form in which the template is sent, whose size counts.
pub fn refused(stack: &str, template: &Value, text: &str) -> Vec<Finding> {
    let of = |rule: &'static str| {
        move |wrong: schema::Violation| Finding {
            severity: Severity::Refused,
            rule: rule.to_owned(),
            stack: stack.to_owned(),
            path: pointer(&wrong),
            resource: wrong.resource,
            message: wrong.message,
            waived: None,
        }
    };
    let schema = schema::check(template).into_iter().map(of("SCHEMA"));
    schema
        .chain(limits::check(template, text).into_iter().map(of("LIMIT")))
        .collect()
}

/// Converts a path such as `Properties.Tags[0].Key` of a resource into a JSON pointer.
fn pointer(wrong: &schema::Violation) -> String {
    let path = wrong.path.replace(['.', '['], "/").replace(']', "");
    let parts = match wrong.resource.as_str() {
        "" => vec![path.as_str()],
        resource => vec!["Resources", resource, &path],
    };
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{part}"))
        .collect()
}

fn of_policy(finding: policy::Finding) -> Finding {
    Finding {
        severity: Severity::of(&finding.rule),
        rule: finding.rule,
        stack: finding.stack,
        resource: finding.resource,
        path: finding.path,
        message: finding.message,
        waived: finding.waived,
    }
}

fn checked<'a>(
    name: String,
    templates: impl Iterator<Item = &'a Value>,
    findings: Vec<Finding>,
) -> Checked {
    let counts = templates.map(|template| {
        template["Resources"]
            .as_object()
            .map_or(0, serde_json::Map::len)
    });
    let counts: Vec<usize> = counts.collect();
    let (waived, mut findings): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| finding.waived.is_some());
    // The sort is stable, so stacks stay in deployment order.
    findings.sort_by_key(|finding| finding.severity);
    Checked {
        name,
        stacks: counts.len(),
        resources: counts.iter().sum(),
        policy: true,
        findings,
        waived,
    }
}
