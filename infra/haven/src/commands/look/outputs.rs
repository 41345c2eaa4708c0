//! `haven outputs`: shows the outputs of the deployed stacks and the parameters of the environment.

use std::collections::BTreeMap;

use aws_sdk_ssm::types::ParameterType;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::{arguments, target};
use provision::stack::{find, status_of};
use provision::{Target, account};

#[derive(Debug, Args)]
pub struct Outputs {
    #[command(flatten)]
    pub target: arguments::Target,
    /// Output, export, or parameter such as queue/orders/url
    pub name: Option<String>,
}

#[derive(Debug, Serialize)]
struct StackOutputs {
    name: String,
    status: String,
    outputs: Vec<StackOutput>,
}

#[derive(Debug, Serialize)]
struct StackOutput {
    name: String,
    value: String,
    export: Option<String>,
    about: Option<String>,
}

/// A value in Parameter Store.
#[derive(Debug, Serialize)]
struct Stored {
    /// The value; `None` for a secret.
    value: Option<String>,
    secret: bool,
}

/// The parameters by their names relative to the environment's root.
type Parameters = BTreeMap<String, Stored>;

/// Prints all values, or one. Returns whether there are any, or whether the requested one exists.
///
/// # Errors
/// When the environment cannot be resolved, or AWS does not answer.
pub async fn print(options: &Outputs) -> anyhow::Result<bool> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let (stacks, parameters) = (outputs(&target).await?, parameters(&target).await?);
    let json = options.target.which.json;
    if let Some(name) = &options.name {
        let found = value(name, &stacks, &parameters);
        match (&found, json) {
            (_, true) => println!("{:#}", json!({ "name": name, "value": found })),
            (Some(value), false) => println!("{value}"),
            (None, false) => eprintln!("haven: {}", not_there(name, &stacks, &parameters)),
        }
        return Ok(found.is_some());
    }
    if json {
        let environment = &target.environment.name;
        println!(
            "{:#}",
            json!({ "environment": environment, "stacks": stacks, "parameters": parameters })
        );
    } else if stacks.is_empty() {
        println!("Nothing is deployed in {}", target.environment.name);
    } else {
        print!("{}", text(&stacks, &parameters));
    }
    Ok(!stacks.is_empty())
}

/// Returns the outputs of the stacks that exist.
async fn outputs(target: &Target) -> anyhow::Result<Vec<StackOutputs>> {
    let mut all = Vec::new();
    for stack in blueprint::stacks(&target.environment) {
        let Some(found) = find(&target.cloudformation, &stack.name).await? else {
            continue;
        };
        let text = |text: Option<&str>| text.map(str::to_owned);
        let outputs = found.outputs().iter().map(|output| StackOutput {
            name: output.output_key().unwrap_or_default().to_owned(),
            value: output.output_value().unwrap_or_default().to_owned(),
            export: text(output.export_name()),
            about: text(output.description()),
        });
        let mut outputs: Vec<StackOutput> = outputs.collect();
        outputs.sort_by(|one, other| one.name.cmp(&other.name));
        all.push(StackOutputs {
            name: stack.name,
            status: status_of(&found).to_owned(),
            outputs,
        });
    }
    Ok(all)
}

async fn parameters(target: &Target) -> anyhow::Result<Parameters> {
    let root = contract::parameter_root(&target.environment.name);
    let stored = account::parameters(target)
        .await?
        .into_iter()
        .map(|parameter| {
            let name = parameter.name().unwrap_or_default();
            let key = name
                .strip_prefix(&format!("{root}/"))
                .unwrap_or(name)
                .to_owned();
            let secret = parameter.r#type() == Some(&ParameterType::SecureString);
            (
                key,
                Stored {
                    value: parameter.value.filter(|_| !secret),
                    secret,
                },
            )
        });
    Ok(stored.collect())
}

/// Returns the value of an output, an export or a parameter with this name.
fn value(name: &str, stacks: &[StackOutputs], parameters: &Parameters) -> Option<String> {
    let mut outputs = stacks.iter().flat_map(|stack| &stack.outputs);
    let output =
        outputs.find(|output| output.name == name || output.export.as_deref() == Some(name));
    output
        .map(|output| output.value.clone())
        .or_else(|| parameters.get(name)?.value.clone())
}

fn not_there(name: &str, stacks: &[StackOutputs], parameters: &Parameters) -> String {
    if parameters.get(name).is_some_and(|stored| stored.secret) {
        return format!("{name} is a secret, which is not printed");
    }
    let outputs = stacks.iter().flat_map(|stack| &stack.outputs);
    let names = outputs
        .flat_map(|output| [Some(output.name.as_str()), output.export.as_deref()])
        .flatten();
    let names = names.chain(parameters.keys().map(String::as_str));
    let hint =
        blueprint::spelling::nearest(name, names).map(|near| format!("; did you mean {near}?"));
    format!(
        "there is no output, export or parameter {name:?}{}",
        hint.unwrap_or_default()
    )
}

fn text(stacks: &[StackOutputs], parameters: &Parameters) -> String {
    let mut lines = Vec::new();
    for stack in stacks.iter().filter(|stack| !stack.outputs.is_empty()) {
        lines.push(format!("{} ({})", stack.name, stack.status));
        let longest = stack
            .outputs
            .iter()
            .map(|output| output.name.len())
            .max()
            .unwrap_or_default();
        lines.extend(
            stack
                .outputs
                .iter()
                .map(|output| format!("  {:longest$}  {}", output.name, output.value)),
        );
        lines.push(String::new());
    }
    if !parameters.is_empty() {
        lines.push("Parameter Store".to_owned());
        let longest = parameters.keys().map(String::len).max().unwrap_or_default();
        lines.extend(parameters.iter().map(|(key, stored)| {
            format!(
                "  {key:longest$}  {}",
                stored.value.as_deref().unwrap_or("(a secret, not printed)")
            )
        }));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed() -> (Vec<StackOutputs>, Parameters) {
        let output = StackOutput {
            name: "OrdersUrl".to_owned(),
            value: "http://here".to_owned(),
            export: Some("brew-haven-orders".to_owned()),
            about: None,
        };
        let (name, status) = (
            "brew-haven-messaging".to_owned(),
            "CREATE_COMPLETE".to_owned(),
        );
        let stacks = vec![StackOutputs {
            name,
            status,
            outputs: vec![output],
        }];
        let stored = |value: Option<&str>| Stored {
            value: value.map(str::to_owned),
            secret: value.is_none(),
        };
        let parameters = [
            ("queue/orders/url", stored(Some("http://here"))),
            ("key", stored(None)),
        ];
        (
            stacks,
            parameters
                .into_iter()
                .map(|(key, stored)| (key.to_owned(), stored))
                .collect(),
        )
    }

    #[test]
    fn a_value_is_found_by_any_of_its_names_and_a_secret_by_none() {
        let (stacks, parameters) = deployed();
        for name in ["OrdersUrl", "brew-haven-orders", "queue/orders/url"] {
            assert_eq!(
                value(name, &stacks, &parameters).as_deref(),
                Some("http://here"),
                "{name}"
            );
        }
        assert_eq!(value("key", &stacks, &parameters), None);
        assert!(not_there("key", &stacks, &parameters).contains("is a secret"));
        assert!(not_there("OrderUrl", &stacks, &parameters).ends_with("did you mean OrdersUrl?"));
        assert!(text(&stacks, &parameters).contains("key               (a secret, not printed)"));
    }
}
