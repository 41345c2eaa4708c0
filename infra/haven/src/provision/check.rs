//! `haven check`: checks the templates before a deployment. Needs no account.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use blueprint::{Stack, limits, policy, schema};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Settings;
use crate::target;

#[derive(Debug, Args)]
pub struct Check {
    /// Environments; without any: dev, staging, prod and local
    #[arg(value_name = "ENV")]
    pub names: Vec<String>,
    /// A folder of JSON templates to check instead. What holds between stacks is not asked of them
    #[arg(long, value_name = "DIR", conflicts_with_all = ["names", "set", "environments"])]
    pub templates: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
    /// One JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

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
    const fn title(self) -> &'static str {
        match self {
            Severity::Refused => "CLOUDFORMATION WOULD REFUSE IT",
            Severity::Weak => "NOT SAFE OR NOT RELIABLE",
            Severity::Untidy => "UNTIDY",
        }
    }

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
        let Finding {
            rule,
            stack,
            resource,
            path,
            message,
            ..
        } = self;
        let place = if resource.is_empty() {
            stack.clone()
        } else {
            format!("{stack}/{resource}")
        };
        write!(
            f,
            "  {rule:8} {place}\n           {path}\n           {message}"
        )
    }
}

/// The result for the templates of one environment or directory.
#[derive(Debug, Serialize)]
struct Checked {
    name: String,
    stacks: usize,
    resources: usize,
    /// Whether our policy was checked too, beside the schemas and limits.
    policy: bool,
    findings: Vec<Finding>,
    waived: Vec<Finding>,
}

/// Prints the findings. Returns whether there are none.
///
/// # Errors
/// When an environment does not exist or its settings are wrong, or a template cannot be read.
pub fn print(options: &Check) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let checked = match &options.templates {
        Some(folder) => vec![check_folder(folder)?],
        None => check_environments(options)?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let is_fine = checked.iter().all(|checked| checked.findings.is_empty());
    if options.json {
        let document = json!({ "fine": is_fine, "checked": checked, "seconds": seconds });
        println!(
            "{}",
            serde_json::to_string_pretty(&document).context("write JSON")?
        );
    } else {
        print!("{}", text(&checked));
        println!("{seconds:.2} s");
    }
    Ok(is_fine)
}

fn check_environments(options: &Check) -> anyhow::Result<Vec<Checked>> {
    let all = ["dev", "staging", "prod", "local"].map(str::to_owned);
    let names = if options.names.is_empty() {
        &all[..]
    } else {
        &options.names
    };
    // Read all settings first, so that errors in them are reported before a long check.
    let environments = names
        .iter()
        .map(|name| target::environment(&options.settings.of(name, options.json)));
    let environments = environments.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(environments.iter().map(check_environment).collect())
}

fn check_environment(environment: &blueprint::Environment) -> Checked {
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

fn check_folder(folder: &Path) -> anyhow::Result<Checked> {
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
    Ok(checked(
        folder.display().to_string(),
        templates.iter(),
        findings,
    ))
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
    let policy::Finding {
        rule,
        stack,
        resource,
        path,
        message,
        waived,
    } = finding;
    Finding {
        severity: Severity::of(&rule),
        rule,
        stack,
        resource,
        path,
        message,
        waived,
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

fn text(checked: &[Checked]) -> String {
    let mut lines = Vec::new();
    for Checked {
        name,
        stacks,
        resources,
        policy,
        findings,
        waived,
    } in checked
    {
        let count = |severity| {
            findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        lines.push(format!(
            "{name}: {stacks} stacks, {resources} resources, {} findings, {} waived{}",
            findings.len(),
            waived.len(),
            if *policy {
                ""
            } else {
                " (held against schemas and limits alone)"
            }
        ));
        let mut under = None;
        for finding in findings {
            if under != Some(finding.severity) {
                under = Some(finding.severity);
                lines.push(format!(
                    "\n{} ({})",
                    finding.severity.title(),
                    count(finding.severity)
                ));
            }
            lines.push(finding.to_string());
        }
        if !waived.is_empty() {
            lines.push("\n  Waived, with the reason:".to_owned());
        }
        for Finding {
            rule,
            stack,
            resource,
            waived,
            ..
        } in waived
        {
            lines.push(format!(
                "  {rule:8} {stack}/{resource}: {}",
                waived.as_deref().unwrap_or_default()
            ));
        }
        lines.push(String::new());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
