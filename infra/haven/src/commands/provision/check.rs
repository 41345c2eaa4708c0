//! `haven check`: checks the templates before a deployment. Needs no account.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::table::{Column, Table};
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{settings, time, width};
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
}

/// Prints the findings. The exit code says whether there are none.
///
/// # Errors
/// When an environment does not exist or its settings are wrong, or a template cannot be read.
pub fn print(options: &Check) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let steps = Steps::new("check");
    let checking = steps.begin("Checking the templates");
    let checked = match &options.templates {
        Some(folder) => vec![check_folder(folder)?],
        None => check_environments(options)?,
    };
    drop(checking);
    let took = begun.elapsed();
    let verdict = verdict(&checked, took);
    let is_fine = verdict.exit() == Exit::Done;
    let fields = json!({ "fine": is_fine, "checked": checked, "seconds": took.as_secs_f64() });
    Ok(verdict.end("haven.check/1", fields, || {
        let text = text(&checked, width::stdout(), settings::get().verbose);
        if !text.is_empty() {
            println!("{}\n", text.trim_end());
        }
    }))
}

fn check_environments(options: &Check) -> anyhow::Result<Vec<Checked>> {
    const ALL: [&str; 4] = ["dev", "staging", "prod", "local"];
    let names = arguments::environments(&options.names, options.env.as_deref(), &ALL)?;
    // Read all settings first, so that errors in them are reported before a long check.
    let environments = names
        .iter()
        .map(|name| target::environment(&options.settings.of(name)));
    let environments = environments.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(environments.iter().map(check_environment).collect())
}

/// Returns the findings, worst first, the counts of several environments, and the waivers.
fn text(checked: &[Checked], columns: usize, verbose: bool) -> String {
    let mut text = String::new();
    for one in checked.iter().filter(|one| !one.findings.is_empty()) {
        if checked.len() > 1 {
            text += &format!("{}\n", Meaning::Heading.paint(&one.name));
        }
        let findings = one.findings.iter();
        text.extend(findings.map(|finding| of_finding(finding, columns) + "\n"));
        text.push('\n');
    }
    if checked.len() > 1 {
        text += &counts(checked, columns);
    }
    if checked.iter().any(|one| !one.policy) {
        text += "`local` is checked against schemas and limits only.\n";
    }
    let waived: Vec<&Finding> = checked.iter().flat_map(|one| &one.waived).collect();
    if verbose {
        for finding in &waived {
            let reason = finding.waived.as_deref().unwrap_or_default();
            let first = format!("{}  {}: ", Meaning::Skip.paint("waived"), place(finding));
            text += &(wrap(reason, columns, &first, "        ") + "\n");
        }
    } else if !waived.is_empty() {
        let first = Meaning::Skip.paint("waived") + "  ";
        text += &(wrap(&waivers(&waived), columns, &first, "        ") + "\n");
    }
    text
}

/// Returns a finding: the rule, the place and the property, and below them the problem.
fn of_finding(finding: &Finding, columns: usize) -> String {
    let path = finding
        .path
        .strip_prefix("/Resources/")
        .unwrap_or(&finding.path);
    let path = path.strip_prefix(finding.resource.as_str()).unwrap_or(path);
    let path = path.strip_prefix("/Properties").unwrap_or(path);
    let property = path.trim_start_matches('/').replace('/', ".");
    let title = format!("{}  {property}", place(finding));
    let first = Meaning::Fail.mark(6);
    let message = wrap(&finding.message, columns, "      ", "      ");
    wrap(&title, columns, &first, "      ") + "\n" + &message
}

/// Returns the rule, the stack and the resource of a finding.
fn place(finding: &Finding) -> String {
    let (rule, stack) = (&finding.rule, &finding.stack);
    match finding.resource.as_str() {
        "" => format!("{rule}  {stack}"),
        resource => format!("{rule}  {stack}/{resource}"),
    }
}

/// Returns the rules with the most waivers, and how many waivers there are.
fn waivers(waived: &[&Finding]) -> String {
    const NAMED: usize = 3;
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in waived {
        *rules.entry(&finding.rule).or_default() += 1;
    }
    let mut rules: Vec<(&str, usize)> = rules.into_iter().collect();
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let named = rules.iter().take(NAMED);
    let mut parts: Vec<String> = named
        .map(|(rule, count)| format!("{rule} x{count}"))
        .collect();
    match rules.len().saturating_sub(NAMED) {
        0 => {}
        more => parts.push(counted(more, "other rule")),
    }
    format!("{}: {}  (reasons: -v)", waived.len(), parts.join(", "))
}

fn counts(checked: &[Checked], columns: usize) -> String {
    let mut table = Table::new([
        Column::text("Environment").shortened(),
        Column::number("Stacks"),
        Column::number("Resources"),
        Column::number("Findings"),
        Column::number("Waived"),
    ]);
    for one in checked {
        table.row([
            one.name.clone(),
            one.stacks.to_string(),
            one.resources.to_string(),
            one.findings.len().to_string(),
            one.waived.len().to_string(),
        ]);
    }
    table.render(columns).text
}

fn verdict(checked: &[Checked], took: Duration) -> Verdict {
    let sum = |of: fn(&Checked) -> usize| checked.iter().map(of).sum::<usize>();
    let (findings, waived) = (sum(|one| one.findings.len()), sum(|one| one.waived.len()));
    let place = match checked {
        [_] => counted(sum(|one| one.stacks), "stack"),
        several => format!(
            "{} environments, {}",
            several.len(),
            counted(sum(|one| one.stacks), "stack")
        ),
    };
    let resources = counted(sum(|one| one.resources), "resource");
    let took = time::duration(took);
    let place = format!("{place} and {resources}, {waived} waived ({took}).");
    match findings {
        0 => Verdict::good(format!("Passed: {place}")),
        _ => Verdict::no(format!(
            "Failed: {} in {place}",
            counted(findings, "finding")
        )),
    }
}

#[cfg(test)]
mod tests {
    use provision::templates::Severity;

    use super::*;
    use crate::commands::provision::testing::plain;

    fn finding(rule: &str, resource: &str, property: &str, waived: Option<&str>) -> Finding {
        Finding {
            severity: Severity::Weak,
            rule: rule.to_owned(),
            stack: "messaging".to_owned(),
            resource: resource.to_owned(),
            path: format!("/Resources/{resource}/Properties/{property}"),
            message: "Failed messages are retried until they expire. Add a RedrivePolicy."
                .to_owned(),
            waived: waived.map(str::to_owned),
        }
    }

    fn checked(name: &str, findings: Vec<Finding>) -> Checked {
        let waived = ["S3-9", "S3-9", "IAM-2", "SECRET-2", "KMS-1"];
        Checked {
            name: name.to_owned(),
            stacks: 11,
            resources: 377,
            policy: true,
            findings,
            waived: waived
                .map(|rule| finding(rule, "Logs", "Encryption", Some("Read by the auditor only")))
                .to_vec(),
        }
    }

    #[test]
    fn a_finding_shows_its_place_and_the_remedy() {
        let weak = checked(
            "prod",
            vec![finding("SQS-4", "OrdersQueue", "RedrivePolicy", None)],
        );
        let found = [weak];
        let expected = "FAIL  SQS-4  messaging/OrdersQueue  RedrivePolicy\n\
            \x20     Failed messages are retried until they expire. Add a RedrivePolicy.\n\n\
            waived  5: S3-9 x2, IAM-2 x1, KMS-1 x1, 1 other rule  (reasons: -v)\n";
        for columns in [80, 120] {
            assert_eq!(plain(&text(&found, columns, false), columns), expected);
        }
        let narrow = plain(&text(&found, 60, false), 60);
        assert!(
            narrow.contains("expire. Add a\n      RedrivePolicy."),
            "{narrow}"
        );
        let verbose = plain(&text(&found, 80, true), 80);
        assert!(
            verbose.contains("waived  S3-9  messaging/Logs: Read by the auditor only\n"),
            "{verbose}"
        );
        let verdict = verdict(&found, Duration::from_millis(1_840));
        let expected = "Failed: 1 finding in 11 stacks and 377 resources, 5 waived (1.8 s).";
        assert_eq!(verdict, Verdict::no(expected));
        assert_eq!(verdict.exit(), Exit::No);
    }

    #[test]
    fn several_environments_are_shown_in_a_table() {
        let both = [checked("dev", Vec::new()), checked("prod", Vec::new())];
        for columns in [60, 80, 120] {
            let text = plain(&text(&both, columns, false), columns);
            let table = "Environment  Stacks  Resources  Findings  Waived\n\
                dev              11        377         0       5\n\
                prod             11        377         0       5\n";
            assert!(text.starts_with(table), "{text}");
        }
        let verdict = verdict(&both, Duration::from_secs(2));
        let expected = "Passed: 2 environments, 22 stacks and 754 resources, 10 waived (2.0 s).";
        assert_eq!(verdict, Verdict::good(expected));
        assert_eq!(verdict.exit(), Exit::Done);
    }
}
