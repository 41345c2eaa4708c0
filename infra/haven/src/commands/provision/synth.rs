//! `haven synth`: prints the templates or writes them to files.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use blueprint::spelling::nearest;
use blueprint::{Stack, limits};
use clap::Args;
use haven_console::BadUsage;
use haven_console::exit::Exit;
use haven_console::output;
use haven_console::table::{Column, Table};
use haven_console::time::{counted, thousands};
use haven_console::verdict::Verdict;
use haven_console::width;
use provision::templates::{self, Finding};
use serde_json::{Value, json};

use crate::arguments::{OUT, Which};
use crate::target;

#[derive(Debug, Args)]
pub struct Synth {
    #[command(flatten)]
    pub which: Which,
    /// The directory. Without it, the names and sizes are printed.
    #[arg(long, value_name = "PATH", help = OUT)]
    pub out: Option<PathBuf>,
    /// Print only the template of this stack, such as data
    #[arg(long, value_name = "SLUG", conflicts_with = "out")]
    pub stack: Option<String>,
}

/// Writes or prints the templates. The exit code says whether they satisfy CloudFormation's schemas
/// and limits. If they do not, nothing is written.
///
/// # Errors
/// When the environment or the stack does not exist, or a file cannot be written.
pub fn print(options: &Synth) -> anyhow::Result<Exit> {
    let environment = target::environment(&options.which)?;
    // The program ends after this, and dropping the values would take a tenth of its time.
    let mut stacks = ManuallyDrop::new(blueprint::stacks(&environment));
    if let Some(slug) = &options.stack {
        let slugs: Vec<&str> = stacks.iter().map(|stack| stack.slug).collect();
        if !slugs.contains(&slug.as_str()) {
            return Err(BadUsage(no_stack(slug, &slugs)).into());
        }
        stacks.retain(|stack| stack.slug == slug);
    }
    let texts: Vec<String> = stacks
        .iter()
        .map(|stack| limits::text(&stack.template))
        .collect();
    let findings = refused(&stacks, &texts);
    let out = options.out.as_deref();
    if findings.is_empty() {
        if let (Some(_), [stack]) = (&options.stack, &stacks[..]) {
            output::always(pretty(&stack.template)?);
            return Ok(Exit::Done);
        }
        if let Some(folder) = out {
            write(&stacks, folder)?;
        }
    }
    let verdict = verdict(&texts, out, findings.len());
    let fields = document(&environment.name, &stacks, &texts, out, &findings);
    Ok(verdict.end("haven.synth/1", fields, || {
        match findings[..] {
            [] => print!("{}", sizes(&stacks, &texts, width::stdout())),
            _ => findings.iter().for_each(|finding| println!("{finding}")),
        }
        println!();
    }))
}

/// Returns the stacks with the sizes of their templates.
fn sizes(stacks: &[Stack], texts: &[String], columns: usize) -> String {
    let mut table = Table::new([Column::text("Stack").shortened(), Column::number("Bytes")]);
    for (stack, text) in stacks.iter().zip(texts) {
        table.row([stack.name.clone(), thousands(text.len() as u64)]);
    }
    table.render(columns).text
}

fn verdict(texts: &[String], out: Option<&Path>, findings: usize) -> Verdict {
    if findings > 0 {
        let findings = counted(findings, "finding");
        return Verdict::no(format!("Refused: {findings}; nothing was written."));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    let size = format!(
        "{}, {}",
        counted(texts.len(), "template"),
        counted(bytes, "byte")
    );
    match out {
        None => Verdict::neutral(size + "."),
        Some(folder) => Verdict::good(format!("Written to {}: {size}.", folder.display())),
    }
}

/// Returns the violations in all templates. `texts` are their serialized forms.
fn refused(stacks: &[Stack], texts: &[String]) -> Vec<Finding> {
    stacks
        .iter()
        .zip(texts)
        .flat_map(|(stack, text)| templates::refused(&stack.name, &stack.template, text))
        .collect()
}

fn no_stack(slug: &str, slugs: &[&str]) -> String {
    let hint = nearest(slug, slugs.iter().copied())
        .map(|near| format!(" (did you mean {near}?)"))
        .unwrap_or_default();
    format!(
        "--stack {slug}: unknown stack{hint}; known: {}",
        slugs.join(", ")
    )
}

/// Returns the fields of the JSON document. With findings, no template counts as written.
fn document(
    environment: &str,
    stacks: &[Stack],
    texts: &[String],
    out: Option<&Path>,
    findings: &[Finding],
) -> Value {
    let stacks = if findings.is_empty() { stacks } else { &[] };
    let stacks = stacks.iter().zip(texts).map(|(stack, text)| {
        let resources = stack.template["Resources"].as_object().map_or(0, serde_json::Map::len);
        let file = out.map(|folder| file(stack, folder));
        json!({ "slug": stack.slug, "name": stack.name, "about": stack.about, "stateful": stack.stateful,
            "depends_on": stack.depends_on, "resources": resources, "bytes": text.len(), "file": file })
    });
    json!({ "environment": environment, "stacks": stacks.collect::<Vec<_>>(), "findings": findings })
}

fn file(stack: &Stack, folder: &Path) -> PathBuf {
    folder.join(format!("{}.json", stack.name))
}

fn write(stacks: &[Stack], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for stack in stacks {
        let path = file(stack, folder);
        std::fs::write(&path, pretty(&stack.template)? + "\n")
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    serde_json::to_string_pretty(value).context("write JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_cloudformation_would_refuse_has_a_finding() {
        let prod = blueprint::Environment::named("prod").expect("an embedded environment");
        let mut stacks = blueprint::stacks(&prod);
        let refused = |stacks: &[Stack]| {
            let texts: Vec<String> = stacks
                .iter()
                .map(|stack| limits::text(&stack.template))
                .collect();
            super::refused(stacks, &texts)
        };
        assert_eq!(refused(&stacks), []);
        let messaging = stacks
            .iter_mut()
            .find(|stack| stack.slug == "messaging")
            .expect("an embedded environment");
        messaging.template["Resources"]["OrdersQueue"]["Properties"]["VisibilityTimeuot"] =
            json!(30);
        let findings = refused(&stacks);
        assert!(
            findings.len() == 1
                && findings[0]
                    .to_string()
                    .contains("did you mean VisibilityTimeout?"),
            "{findings:?}"
        );
    }

    #[test]
    fn the_last_line_counts_the_templates_or_the_findings() {
        let texts = ["{}".to_owned(), "{ }".to_owned()];
        assert_eq!(
            verdict(&texts, None, 0),
            Verdict::neutral("2 templates, 5 bytes.")
        );
        assert_eq!(
            verdict(&texts, Some(Path::new("out")), 0),
            Verdict::good("Written to out: 2 templates, 5 bytes.")
        );
        let refused = verdict(&texts, None, 1);
        assert_eq!(
            refused,
            Verdict::no("Refused: 1 finding; nothing was written.")
        );
        assert_eq!(refused.exit(), Exit::No);
    }

    #[test]
    fn the_error_about_an_unknown_stack_names_the_known_ones() {
        let message = no_stack("dta", &["data", "messaging"]);
        assert_eq!(
            message,
            "--stack dta: unknown stack (did you mean data?); known: data, messaging"
        );
    }
}
