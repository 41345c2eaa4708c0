//! `haven outputs`: shows the outputs of the deployed stacks and the parameters of the environment.

use std::collections::BTreeMap;

use aws_sdk_ssm::types::ParameterType;
use clap::Args;
use haven_console::error::{Failure, nearest};
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::time::{counted, counted_are};
use haven_console::verdict::Verdict;
use haven_console::width::of_text;
use haven_console::{output, settings, width};
use provision::stack::{find, status_of};
use provision::{Target, account};
use serde::Serialize;
use serde_json::json;

use crate::{arguments, target};

#[derive(Debug, Args)]
pub struct Outputs {
    #[command(flatten)]
    pub target: arguments::Target,
    /// Output, export, or parameter such as queue/orders/url
    #[arg(value_name = "OUTPUT")]
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

/// Prints all values, or one. The exit code says whether there are any, or whether the requested one
/// exists.
///
/// # Errors
/// A failure that exits with 2 when nothing has the requested name. Another error when the
/// environment cannot be resolved, or AWS does not answer.
pub async fn print(options: &Outputs) -> anyhow::Result<Exit> {
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let steps = Steps::new("outputs");
    let reading = steps.begin("Reading the stacks and the parameters");
    let (stacks, parameters) = (outputs(&target).await?, parameters(&target).await?);
    drop(reading);
    let environment = &target.environment.name;
    if let Some(name) = &options.name {
        let found = value(name, &stacks, &parameters);
        if settings::get().json {
            let verdict = match &found {
                Some(_) => Verdict::neutral(format!("{name} has a value.")),
                None => Verdict::no(not_there(name, &stacks, &parameters).message + "."),
            };
            let document = json!({ "name": name, "value": found });
            return Ok(verdict.print_json("haven.output/1", document));
        }
        let found = found.ok_or_else(|| not_there(name, &stacks, &parameters))?;
        output::always(found);
        return Ok(Exit::Done);
    }
    let fields = json!({ "environment": environment, "stacks": stacks, "parameters": parameters });
    let verdict = verdict(&target, &stacks, &parameters);
    Ok(verdict.end("haven.outputs/1", fields, || {
        let region = &target.environment.settings.account.region;
        println!("{environment}, {region}\n");
        let verbose = settings::get().verbose;
        print!("{}", text(&stacks, &parameters, verbose, width::stdout()));
    }))
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

fn not_there(name: &str, stacks: &[StackOutputs], parameters: &Parameters) -> Failure {
    if parameters.get(name).is_some_and(|stored| stored.secret) {
        return Failure::not_found(format!("{name} is a secret, which is not printed"))
            .tip("with permission, read it by `aws ssm get-parameter --with-decryption`");
    }
    let outputs = stacks.iter().flat_map(|stack| &stack.outputs);
    let names = outputs
        .flat_map(|output| [Some(output.name.as_str()), output.export.as_deref()])
        .flatten();
    let names = names.chain(parameters.keys().map(String::as_str));
    Failure::not_found(format!("no output, export or parameter is named `{name}`")).tip(
        match nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "list all names with `haven outputs ENV`".to_owned(),
        },
    )
}

fn verdict(target: &Target, stacks: &[StackOutputs], parameters: &Parameters) -> Verdict {
    let environment = &target.environment;
    if stacks.is_empty() {
        let verdict = Verdict::no(format!("Nothing is deployed in {}.", environment.name));
        return verdict.next(format!("haven deploy {}", environment.name));
    }
    let outputs: usize = stacks.iter().map(|stack| stack.outputs.len()).sum();
    let secrets = parameters.values().filter(|stored| stored.secret).count();
    let secrets = match secrets {
        0 => String::new(),
        secrets => format!("; {} not printed", counted_are(secrets, "secret")),
    };
    Verdict::neutral(format!(
        "{} of {}, {}{secrets}.",
        counted(outputs, "output"),
        counted(stacks.len(), "stack"),
        counted(parameters.len(), "parameter")
    ))
}

/// Returns all values by stack. A value that does not fit beside its name has a line of its own,
/// because a URL or an ARN is never broken.
fn text(stacks: &[StackOutputs], parameters: &Parameters, verbose: bool, columns: usize) -> String {
    let mut text = String::new();
    for stack in stacks.iter().filter(|stack| !stack.outputs.is_empty()) {
        let heading = Meaning::Heading.paint(&stack.name);
        text += &format!("{heading}  {}\n", stack.status);
        let values: Vec<(&str, &str)> = stack
            .outputs
            .iter()
            .map(|output| (output.name.as_str(), output.value.as_str()))
            .collect();
        text += &aligned(&values, columns);
        for output in stack.outputs.iter().filter(|_| verbose) {
            let export = output.export.as_deref().unwrap_or("not exported");
            let about = output.about.as_deref().unwrap_or_default();
            text += format!("  {}: {export}  {about}", output.name).trim_end();
            text.push('\n');
        }
        text.push('\n');
    }
    if !parameters.is_empty() {
        text += &(Meaning::Heading.paint("Parameter Store") + "\n");
        let values: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(key, stored)| {
                let value = stored.value.as_deref();
                (key.as_str(), value.unwrap_or("(a secret, not printed)"))
            })
            .collect();
        text += &(aligned(&values, columns) + "\n");
    }
    text
}

fn aligned(values: &[(&str, &str)], columns: usize) -> String {
    let longest = values.iter().map(|(name, _)| of_text(name)).max();
    let longest = longest.unwrap_or_default();
    let line = |(name, value): &(&str, &str)| {
        let beside = format!("  {name:longest$}  {value}");
        if of_text(&beside) <= columns {
            beside.trim_end().to_owned() + "\n"
        } else {
            format!("  {name}\n    {value}\n")
        }
    };
    values.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemas::testing::valid;

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
    fn a_value_is_found_by_each_of_its_names_and_secrets_are_not_printed() {
        let (stacks, parameters) = deployed();
        let fields = json!({ "environment": "dev", "stacks": stacks, "parameters": parameters });
        valid(Verdict::neutral("1 output.").document("haven.outputs/1", fields));
        for name in ["OrdersUrl", "brew-haven-orders", "queue/orders/url"] {
            assert_eq!(
                value(name, &stacks, &parameters).as_deref(),
                Some("http://here"),
                "{name}"
            );
        }
        assert_eq!(value("key", &stacks, &parameters), None);
        let secret = not_there("key", &stacks, &parameters);
        assert!(secret.message.contains("is a secret"), "{secret}");
        let misspelt = not_there("OrderUrl", &stacks, &parameters);
        assert_eq!(
            (misspelt.exit, misspelt.tip.as_deref()),
            (Exit::No, Some("did you mean `OrdersUrl`?"))
        );
    }

    #[test]
    fn a_value_that_does_not_fit_has_a_line_of_its_own() {
        let (mut stacks, parameters) = deployed();
        let short = "brew-haven-messaging  CREATE_COMPLETE\n  OrdersUrl  http://here\n\n\
            Parameter Store\n  key               (a secret, not printed)\n  \
            queue/orders/url  http://here\n\n";
        for columns in [60, 80, 120] {
            let text = text(&stacks, &parameters, false, columns);
            assert_eq!(super::super::fitting(&text, columns), short);
        }
        let arn = "arn:aws:sqs:us-east-1:123456789012:brew-haven-prod-messaging-OrdersQueue";
        arn.clone_into(&mut stacks[0].outputs[0].value);
        let long = text(&stacks, &parameters, true, 60);
        assert!(
            long.contains(&format!("\n  OrdersUrl\n    {arn}\n"))
                && long.contains("  OrdersUrl: brew-haven-orders\n"),
            "{long}"
        );
    }
}
