//! `haven check`: checks the templates before a deployment. Needs no account.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use provision::templates::{Checked, Finding, check_environment, check_folder};
use serde_json::json;

use crate::arguments::{self, Settings};
use crate::target;

#[derive(Debug, Args)]
pub struct Check {
    /// Environments [default: dev, staging, prod and local]
    #[arg(value_name = "ENV")]
    pub names: Vec<String>,
    /// One environment, from the global flag.
    #[arg(long)]
    pub env: Option<String>,
    /// Check the templates in this directory instead; rules between stacks are skipped
    #[arg(long, value_name = "DIR", conflicts_with_all = ["names", "env", "set", "environments"])]
    pub templates: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
    /// One JSON document instead of text
    #[arg(long)]
    pub json: bool,
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
    const ALL: [&str; 4] = ["dev", "staging", "prod", "local"];
    let names = arguments::environments(&options.names, options.env.as_deref(), &ALL)?;
    // Read all settings first, so that errors in them are reported before a long check.
    let environments = names
        .iter()
        .map(|name| target::environment(&options.settings.of(name, options.json)));
    let environments = environments.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(environments.iter().map(check_environment).collect())
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
