//! `haven drift`: finds changes that were made by hand since the last deployment, and reverts them.

use anyhow::{Context as _, bail};
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_sdk_cloudformation::types::{
    StackDriftDetectionStatus, StackResourceDrift, StackResourceDriftStatus as DriftStatus,
};
use blueprint::{Stack, consequence};
use clap::Args;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change_set::{LOOK, apply, execute, prepare_revert};
use super::commands::is_agreed;
use super::report::Line;
use super::standing::Standing;
use super::{Named, Reporter, Target, failed, live, reading};
use crate::{cli, target};

#[derive(Debug, Args)]
pub struct Drift {
    #[command(flatten)]
    pub target: cli::Target,
    /// Bring back what the templates say that were last deployed
    #[arg(long)]
    pub revert: bool,
    /// Do not ask before that
    #[arg(long, requires = "revert")]
    pub yes: bool,
    /// Let this one be removed or replaced though it holds data, such as data/Database; may be
    /// given again
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = cli::stack_and_resource, requires = "revert")]
    pub allow: Vec<String>,
}

/// A resource that differs from its template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drifted {
    /// The logical id.
    pub resource: String,
    pub kind: String,
    pub how: How,
    #[serde(default)]
    pub by: By,
    pub differences: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
/// The kind of a drift.
pub enum How {
    Modified,
    Deleted,
    /// CloudFormation could not read the resource, for this reason.
    Unknown(String),
}

/// The source of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    #[default]
    CloudFormation,
    /// Haven compared with the service's own answer, because CloudFormation does not compare this
    /// resource.
    Reading,
}

/// A property that differs from the template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// The path inside the resource's properties, such as `/RedrivePolicy/maxReceiveCount`.
    pub path: String,
    /// The value in the template; `None` if the template has none.
    pub expected: Option<String>,
    /// The actual value; `None` if it was removed.
    pub actual: Option<String>,
}

/// The drift of one stack.
#[derive(Debug, Clone, Serialize)]
pub struct StackDrift {
    pub slug: &'static str,
    pub name: String,
    pub drift: Vec<Drifted>,
    /// The reason if the drift could not be detected.
    pub unknown: Option<String>,
}

/// The time for a drift detection. CloudFormation reads every resource in turn, so a stack with
/// hundreds takes minutes.
const DETECTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1800);

/// Returns the differences between a stack's resources and its last deployed template. Returns none
/// for a stack that does not exist.
///
/// # Errors
/// When the detection is not possible: the stack's status or the credentials do not allow it.
async fn detect(target: &Target, stack: &str, standing: &Standing) -> anyhow::Result<Vec<Drifted>> {
    let client = &target.cloudformation;
    if standing.there().is_none() {
        return Ok(Vec::new());
    }
    let begun = client.detect_stack_drift().stack_name(stack).send().await;
    let begun = match begun {
        // The error codes of servers without this operation.
        Err(error)
            if matches!(
                error.code(),
                Some("InvalidAction" | "UnknownOperationException" | "NotImplemented")
            ) =>
        {
            return reading::drift(target, stack, &standing.template).await;
        }
        begun => begun.map_err(|error| failed(format!("look for drift of {stack}"), &error))?,
    };
    let id = begun
        .stack_drift_detection_id
        .context("CloudFormation gave the look for drift no id")?;
    let why_not = detected(target, stack, &id).await?;
    let statuses = [
        DriftStatus::Modified,
        DriftStatus::Deleted,
        DriftStatus::UnknownValue,
    ];
    let mut drift = Vec::new();
    let mut token = None;
    loop {
        let call = client
            .describe_stack_resource_drifts()
            .stack_name(stack)
            .set_next_token(token);
        let page = call
            .set_stack_resource_drift_status_filters(Some(statuses.to_vec()))
            .send()
            .await;
        let page = page.map_err(|error| failed(format!("read the drift of {stack}"), &error))?;
        drift.extend(page.stack_resource_drifts().iter().filter_map(drifted));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    // The detection fails as a whole if one resource cannot be read. That resource is in the list
    // then.
    match why_not {
        Some(reason) if drift.is_empty() => bail!("look for drift of {stack}: {reason}"),
        _ => {}
    }
    drift.extend(reading::drift(target, stack, &standing.template).await?);
    drift.sort();
    Ok(drift)
}

/// Waits until a drift detection ends. Returns the reason if it failed.
async fn detected(target: &Target, stack: &str, id: &str) -> anyhow::Result<Option<String>> {
    let begun = std::time::Instant::now();
    let mut pause = LOOK.0;
    loop {
        let call = target
            .cloudformation
            .describe_stack_drift_detection_status()
            .stack_drift_detection_id(id);
        let seen = call.send().await;
        let seen =
            seen.map_err(|error| failed(format!("follow the look for drift of {stack}"), &error))?;
        match seen.detection_status() {
            Some(StackDriftDetectionStatus::DetectionComplete) => return Ok(None),
            Some(StackDriftDetectionStatus::DetectionFailed) => {
                return Ok(Some(
                    seen.detection_status_reason()
                        .unwrap_or("CloudFormation gave no reason")
                        .to_owned(),
                ));
            }
            _ if begun.elapsed() > DETECTED_WITHIN => {
                bail!(
                    "the look for drift of {stack} did not end within {} s",
                    DETECTED_WITHIN.as_secs()
                )
            }
            _ => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

fn drifted(said: &StackResourceDrift) -> Option<Drifted> {
    let how = match said.stack_resource_drift_status()? {
        DriftStatus::Modified => How::Modified,
        DriftStatus::Deleted => How::Deleted,
        DriftStatus::InSync | DriftStatus::NotChecked | DriftStatus::Unsupported => return None,
        _ => How::Unknown(
            said.drift_status_reason()
                .unwrap_or("CloudFormation gave no reason")
                .to_owned(),
        ),
    };
    let differences = said.property_differences().iter().map(|difference| {
        let kind = difference
            .difference_type()
            .map(|kind| kind.as_str())
            .unwrap_or_default();
        let text = |text: Option<&str>, absent: bool| text.filter(|_| !absent).map(str::to_owned);
        Difference {
            path: difference.property_path().unwrap_or_default().to_owned(),
            expected: text(difference.expected_value(), kind == "ADD"),
            actual: text(difference.actual_value(), kind == "REMOVE"),
        }
    });
    let mut differences: Vec<Difference> = differences.collect();
    differences.sort();
    Some(Drifted {
        resource: said.logical_resource_id()?.to_owned(),
        kind: said.resource_type().unwrap_or_default().to_owned(),
        how,
        by: By::CloudFormation,
        differences,
    })
}

/// Detects the drift of all stacks at the same time.
pub async fn look(
    target: &Target,
    stacks: &[(&Stack, &Standing)],
    reporter: &Reporter,
) -> Vec<StackDrift> {
    join_all(stacks.iter().map(|(stack, standing)| async {
        let line = reporter.begin(&stack.name, "comparing what is there with its template");
        let (drift, unknown) = match detect(target, &stack.name, standing).await {
            Ok(drift) => (drift, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        line.end(&match (&unknown, drift.len()) {
            (Some(_), _) => "not known".to_owned(),
            (None, 0) => "as its template says".to_owned(),
            (None, count) => format!("{count} resources differ"),
        });
        StackDrift {
            slug: stack.slug,
            name: stack.name.clone(),
            drift,
            unknown,
        }
    }))
    .await
}

/// Returns a line for a resource and one for each difference.
pub fn lines(slug: &str, drifted: &Drifted) -> Vec<String> {
    let what = match &drifted.how {
        How::Modified => String::new(),
        How::Deleted => ": it is gone".to_owned(),
        How::Unknown(reason) => format!(": could not be read: {reason}"),
    };
    let by = if drifted.by == By::Reading {
        " (as haven reads it: CloudFormation does not compare it)"
    } else {
        ""
    };
    let mut lines = vec![format!(
        "{slug}/{} ({}){what}{by}",
        drifted.resource, drifted.kind
    )];
    lines.extend(drifted.differences.iter().map(|difference| {
        let path = difference.path.trim_start_matches('/').replace('/', ".");
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        format!(
            "    {path}: template {}, actual {}",
            text(&difference.expected),
            text(&difference.actual)
        )
    }));
    lines
}

/// Shows the drift and reverts it with `--revert`. Returns whether everything matches its template
/// at the end.
///
/// # Errors
/// When the account differs from the settings, a stack cannot be read, or a revert fails.
pub async fn command(options: &Drift) -> anyhow::Result<bool> {
    let which = &options.target.which;
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    live::expected_account(&target).await?;
    let stacks = blueprint::stacks(&target.environment);
    let all: Vec<&Stack> = stacks.iter().collect();
    let reporter = Reporter::aside(which.json);
    let found = look_at_all(&target, &all, &reporter).await?;
    if !which.json {
        print(&found);
    }
    let drifts: Vec<&StackDrift> = found
        .iter()
        .filter(|stack| !stack.drift.is_empty())
        .collect();
    if !options.revert || drifts.is_empty() {
        if which.json {
            tell(&target, &found, &[])?;
        } else if !drifts.is_empty() {
            eprintln!(
                "\nBring back what the templates say with: haven drift {} --revert",
                which.environment
            );
        }
        return Ok(found.iter().all(is_clean));
    }
    if !options.yes && !is_agreed(&target.environment.name)? {
        eprintln!("Nothing was done.");
        return Ok(false);
    }
    let named = Named::new(&options.allow);
    let mut reverted = Vec::new();
    for stack in drifts {
        let ours = all
            .iter()
            .find(|ours| ours.name == stack.name)
            .context("it is one of ours")?;
        let line = reporter.begin(&stack.name, "bringing back what its template says");
        match revert(&target, ours, &stack.drift, &named, &line).await {
            Ok(how) => {
                line.end(how);
                reverted.push(json!({ "stack": stack.name, "how": how }));
            }
            Err(error) => {
                line.end("FAILED");
                return Err(error);
            }
        }
    }
    let left = look_at_all(&target, &all, &Reporter::quiet()).await?;
    if which.json {
        tell(&target, &left, &reverted)?;
    } else if left.iter().all(is_clean) {
        println!("\nEverything is as the templates say.");
    } else {
        println!("\nThis is left:");
        print(&left);
    }
    Ok(left.iter().all(is_clean))
}

async fn look_at_all(
    target: &Target,
    stacks: &[&Stack],
    reporter: &Reporter,
) -> anyhow::Result<Vec<StackDrift>> {
    let standings = Standing::of_all(&target.cloudformation, stacks).await?;
    let stacks: Vec<(&Stack, &Standing)> = stacks.iter().copied().zip(&standings).collect();
    Ok(look(target, &stacks, reporter).await)
}

/// A stack whose drift is unknown counts as clean: it shows no drift, and the output names it.
fn is_clean(stack: &StackDrift) -> bool {
    stack.drift.is_empty()
}

fn tell(target: &Target, stacks: &[StackDrift], reverted: &[Value]) -> anyhow::Result<()> {
    let document =
        json!({ "environment": target.environment.name, "stacks": stacks, "reverted": reverted });
    println!(
        "{}",
        serde_json::to_string_pretty(&document).context("write JSON")?
    );
    Ok(())
}

fn print(stacks: &[StackDrift]) {
    for stack in stacks {
        for line in stack
            .drift
            .iter()
            .flat_map(|drifted| lines(stack.slug, drifted))
        {
            println!("{line}");
        }
        if let Some(unknown) = &stack.unknown {
            println!("{}: not known: {unknown}", stack.slug);
        }
    }
    let count: usize = stacks.iter().map(|stack| stack.drift.len()).sum();
    println!("{count} resources differ from their templates");
}

const BY_CHANGE_SET: &str = "reverted";
const BY_TWO_UPDATES: &str =
    "reverted by two updates, since this endpoint makes no drift-aware change sets";

/// Reverts the resources of a stack to its last deployed template, not to the current one. Returns
/// how this was done.
async fn revert(
    target: &Target,
    stack: &Stack,
    drift: &[Drifted],
    named: &Named,
    line: &Line,
) -> anyhow::Result<&'static str> {
    let standing = Standing::of(&target.cloudformation, &stack.name).await?;
    let deployed = Stack {
        template: standing.template.clone(),
        ..stack.clone()
    };
    if let Some(change_set) = prepare_revert(target, &deployed, &standing, line).await? {
        execute(target, &deployed, &change_set, named, line).await?;
        return Ok(BY_CHANGE_SET);
    }
    // CloudFormation compares templates here, so a first update must bring the template in line
    // with the actual resources.
    let template = as_it_is(&deployed.template, drift)
        .with_context(|| format!("bring back {}", stack.name))?;
    // Check the second update before the first one, so that the first is never done alone.
    named.check(
        stack.slug,
        &consequence::diff(&template, &deployed.template),
    )?;
    apply(
        target,
        &Stack {
            template,
            ..stack.clone()
        },
        named,
        line,
    )
    .await?;
    apply(target, &deployed, named, line).await?;
    Ok(BY_TWO_UPDATES)
}

/// Returns a template that describes the actual resources.
///
/// # Errors
/// When no template can describe them: other resources need a deleted one, or the template has no
/// place for a difference.
fn as_it_is(template: &Value, drift: &[Drifted]) -> anyhow::Result<Value> {
    let mut template = template.clone();
    for drifted in drift {
        let id = &drifted.resource;
        match &drifted.how {
            How::Modified => {
                let properties = &mut template["Resources"][id]["Properties"];
                // Go backwards, so that the removal of a list element does not move elements that
                // are changed later.
                for Difference {
                    path,
                    expected,
                    actual,
                } in drifted.differences.iter().rev()
                {
                    let done = match actual {
                        Some(actual) => put(properties, path, actual, expected.is_none()),
                        None => take(properties, path),
                    };
                    done.with_context(|| {
                        format!("{id} has no {path} in its template: deploy its stack again")
                    })?;
                }
            }
            How::Deleted => {
                let resources = template["Resources"]
                    .as_object_mut()
                    .context("a template has resources")?;
                resources.remove(id);
                let text = template.to_string();
                if [
                    format!("\"{id}\""),
                    format!("${{{id}}}"),
                    format!("${{{id}."),
                ]
                .iter()
                .any(|use_| text.contains(use_))
                {
                    bail!(
                        "{id} is gone, and others of its stack need it: destroy that stack and deploy it again"
                    );
                }
            }
            How::Unknown(reason) => bail!("{id} could not be read: {reason}"),
        }
    }
    Ok(template)
}

/// Writes a value, which CloudFormation reports as text, with the JSON type of the value that it
/// replaces.
fn put(properties: &mut Value, path: &str, text: &str, is_new: bool) -> Option<()> {
    let (parent, name) = path.rsplit_once('/')?;
    let parent = properties.pointer_mut(parent)?;
    let parsed = || serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    match parent {
        Value::Object(object) if is_new || object.contains_key(name) => {
            let value = if object.get(name).is_some_and(Value::is_string) {
                json!(text)
            } else {
                parsed()
            };
            object.insert(name.to_owned(), value);
        }
        Value::Array(values) if is_new => values.push(parsed()),
        Value::Array(values) => {
            let value = values.get_mut(name.parse::<usize>().ok()?)?;
            *value = if value.is_string() {
                json!(text)
            } else {
                parsed()
            };
        }
        _ => return None,
    }
    Some(())
}

fn take(properties: &mut Value, path: &str) -> Option<()> {
    let (parent, name) = path.rsplit_once('/')?;
    match properties.pointer_mut(parent)? {
        Value::Object(object) => object.remove(name).map(drop),
        Value::Array(values) => {
            let at: usize = name.parse().ok()?;
            (at < values.len()).then(|| drop(values.remove(at)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modified(path: &str, expected: Option<&str>, actual: Option<&str>) -> Drifted {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let difference = Difference {
            path: path.to_owned(),
            expected: text(expected),
            actual: text(actual),
        };
        Drifted {
            resource: "Orders".to_owned(),
            kind: "AWS::SQS::Queue".to_owned(),
            how: How::Modified,
            by: By::CloudFormation,
            differences: vec![difference],
        }
    }

    fn template() -> Value {
        json!({ "Resources": {
            "Orders": { "Type": "AWS::SQS::Queue", "Properties": {
                "VisibilityTimeout": 60, "DelaySeconds": "5", "Tags": [{ "Key": "a", "Value": "1" }],
                "RedrivePolicy": { "deadLetterTargetArn": { "Fn::GetAtt": ["Parking", "Arn"] }, "maxReceiveCount": 5 } } },
            "Parking": { "Type": "AWS::SQS::Queue", "Properties": {} } } })
    }

    fn properties(drift: Drifted) -> Value {
        as_it_is(&template(), &[drift]).expect("it can be said")["Resources"]["Orders"]["Properties"].clone()
    }

    #[test]
    fn a_template_can_say_what_is_there_in_the_form_of_what_was() {
        assert_eq!(
            properties(modified("/VisibilityTimeout", Some("60"), Some("77")))["VisibilityTimeout"],
            77
        );
        assert_eq!(
            properties(modified("/DelaySeconds", Some("5"), Some("7")))["DelaySeconds"],
            "7"
        );
        let redrive = properties(modified(
            "/RedrivePolicy/maxReceiveCount",
            Some("5"),
            Some("9"),
        ));
        assert_eq!(redrive["RedrivePolicy"]["maxReceiveCount"], 9);
        let gone = properties(modified("/RedrivePolicy", Some("{}"), None));
        assert!(gone.get("RedrivePolicy").is_none());
        let tag = properties(modified(
            "/Tags/1",
            None,
            Some(r#"{"Key":"b","Value":"2"}"#),
        ));
        assert_eq!(tag["Tags"][1]["Key"], "b");
        assert_eq!(
            properties(modified("/Tags/0/Value", Some("1"), Some("2")))["Tags"][0]["Value"],
            "2"
        );
        assert_eq!(
            properties(modified("/Tags/0", Some("{}"), None))["Tags"],
            json!([])
        );
    }

    #[test]
    fn what_no_template_can_say_is_refused() {
        let deleted = |id: &str| Drifted {
            resource: id.to_owned(),
            how: How::Deleted,
            ..modified("", None, None)
        };
        let error = as_it_is(&template(), &[deleted("Parking")])
            .expect_err("Orders needs it")
            .to_string();
        assert!(error.contains("others of its stack need it"), "{error}");
        let without = as_it_is(&template(), &[deleted("Orders")]).expect("nobody needs it");
        assert!(without["Resources"].get("Orders").is_none());
        assert!(
            as_it_is(
                &template(),
                &[modified("/Nowhere/at", Some("1"), Some("2"))]
            )
            .is_err()
        );
    }

    #[test]
    fn each_difference_is_a_line_with_both_values() {
        let told = lines(
            "messaging",
            &modified("/RedrivePolicy/maxReceiveCount", Some("5"), None),
        );
        assert_eq!(told[0], "messaging/Orders (AWS::SQS::Queue)");
        assert_eq!(
            told[1],
            "    RedrivePolicy.maxReceiveCount: template 5, actual (none)"
        );
    }
}
