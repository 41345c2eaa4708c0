//! The way back, by change sets of the template that is deployed: no code that waits to be deployed comes with it.

use anyhow::{Context as _, bail};
use aws_sdk_cloudformation::types::{Capability, DeploymentMode};
use blueprint::consequence;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::super::change_set::{ChangeSet, computed, deployed_template, discard, execute};
use super::super::guard::Named;
use super::super::report::Line;
use super::super::{Reporter, Target, why};
use super::{Drifted, StackDrift, State};

/// How it was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// By a change set that CloudFormation makes from what is there.
    DriftAware,
    /// By two change sets, where CloudFormation compares templates alone: one that takes in what is there, one back.
    ThereAndBack,
}

impl Way {
    pub const fn title(self) -> &'static str {
        match self {
            Way::DriftAware => "a change set that knows what is there (REVERT_DRIFT)",
            Way::ThereAndBack => "two change sets, since a drift-aware one has no changes here",
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Reverted {
    pub stack: String,
    pub way: Way,
}

/// What a change set is made of.
enum Source<'a> {
    /// What is there, against the template of the stack.
    Drift,
    /// Another template.
    Template(&'a Value),
}

/// # Errors
/// When something that holds data would be replaced and was not named, before anything is done; else when it fails.
pub async fn revert(
    target: &Target,
    drift: &StackDrift,
    named: &Named,
    reporter: &Reporter,
) -> anyhow::Result<Reverted> {
    let line = reporter.begin(&drift.stack, "putting back what differs");
    let stacks = blueprint::stacks(&target.environment);
    let ours = stacks.into_iter().find(|stack| stack.name == drift.stack).context("the stack is one of ours")?;
    let deployed = deployed_template(&target.cloudformation, &drift.stack).await?;
    let stack = blueprint::Stack { template: deployed, ..ours };
    match put_back(target, &stack, &drift.drifted, named, &line).await {
        Ok(way) => {
            line.end("put back");
            Ok(Reverted { stack: drift.stack.clone(), way })
        }
        Err(error) => {
            line.end("FAILED");
            Err(error)
        }
    }
}

async fn put_back(
    target: &Target,
    stack: &blueprint::Stack,
    drifted: &[Drifted],
    named: &Named,
    line: &Line,
) -> anyhow::Result<Way> {
    if let Some(change_set) = make(target, stack, Source::Drift).await? {
        execute(target, stack, &change_set, named, line).await?;
        return Ok(Way::DriftAware);
    }
    let taken_in = take_in(&stack.template, drifted)?;
    // What the way back would do is known before the first step.
    named.check(stack.slug, &consequence::diff(&taken_in, &stack.template))?;
    for template in [&taken_in, &stack.template] {
        let Some(change_set) = make(target, stack, Source::Template(template)).await? else {
            bail!("{}: CloudFormation sees no change; deploy the stack anew to put it back", stack.name);
        };
        execute(target, stack, &change_set, named, line).await?;
    }
    Ok(Way::ThereAndBack)
}

/// `None` when there is nothing to change.
async fn make(target: &Target, stack: &blueprint::Stack, from: Source<'_>) -> anyhow::Result<Option<ChangeSet>> {
    let client = &target.cloudformation;
    // Without tags it leaves them as they are.
    let call = client
        .create_change_set()
        .stack_name(&stack.name)
        .change_set_name(format!("haven-{}", Uuid::now_v7()))
        .capabilities(Capability::CapabilityNamedIam)
        .description("Puts back what was changed by hand");
    let (call, foreseen) = match from {
        Source::Drift => (call.use_previous_template(true).deployment_mode(DeploymentMode::RevertDrift), Vec::new()),
        Source::Template(template) => {
            let before = deployed_template(client, &stack.name).await?;
            (call.template_body(template.to_string()), consequence::diff(&before, template))
        }
    };
    let made = call.send().await;
    let made = made.map_err(|error| anyhow::anyhow!("make a change set for {}: {}", stack.name, why(&error)))?;
    let arn = made.id.context("CloudFormation gave the change set no name")?;
    match computed(client, &stack.name, &arn).await {
        Ok(Some(said)) if !said.is_empty() => {
            Ok(Some(ChangeSet { arn, creates: false, changes: consequence::merged(foreseen, &said) }))
        }
        Ok(_) => {
            discard(client, &stack.name, &arn).await;
            Ok(None)
        }
        Err(error) => {
            discard(client, &stack.name, &arn).await;
            Err(error)
        }
    }
}

/// The template with what is really there, so that the way back is a change.
fn take_in(template: &Value, drifted: &[Drifted]) -> anyhow::Result<Value> {
    let mut template = template.clone();
    for Drifted { resource, state, differences, .. } in drifted {
        if *state == State::Deleted {
            bail!(
                "{resource} was deleted, and CloudFormation makes no drift-aware change set here: destroy its stack and \
                 deploy it again"
            );
        }
        for difference in differences {
            let properties = &mut template["Resources"][resource]["Properties"];
            put(properties, &difference.path, &difference.actual).with_context(|| {
                format!(
                    "{resource}{}: haven cannot put this back; deploy a change of it, and change it back",
                    difference.path
                )
            })?;
        }
    }
    Ok(template)
}

/// Puts a value at a place, or takes away what is there. `None` when there is no such place.
fn put(properties: &mut Value, path: &str, actual: &Value) -> Option<()> {
    let (parent, name) = path.rsplit_once('/')?;
    let parent = properties.pointer_mut(parent)?;
    match parent {
        Value::Object(object) if actual.is_null() => {
            object.remove(name);
        }
        Value::Object(object) => {
            let value = written_as(object.get(name), actual);
            object.insert(name.to_owned(), value);
        }
        Value::Array(values) => {
            let at: usize = name.parse().ok()?;
            let place = values.get_mut(at)?;
            *place = written_as(Some(place), actual);
        }
        _ => return None,
    }
    Some(())
}

/// CloudFormation tells every value as text: a number stays one where the template has one.
fn written_as(before: Option<&Value>, actual: &Value) -> Value {
    match (before, actual) {
        (Some(Value::String(_)), _) => actual.clone(),
        (_, Value::String(text)) => {
            let read: Option<Value> = serde_json::from_str(text).ok();
            let fits = |value: &Value| match before {
                Some(Value::Number(_)) => value.is_number(),
                Some(Value::Bool(_)) => value.is_boolean(),
                Some(_) => value.is_object() || value.is_array(),
                None => !value.is_string(),
            };
            read.filter(fits).unwrap_or_else(|| actual.clone())
        }
        _ => actual.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{By, Difference};
    use super::*;

    fn drifted(state: State, differences: &[(&str, Value)]) -> Drifted {
        let differences = differences.iter().map(|(path, actual)| Difference {
            path: (*path).to_owned(),
            expected: Value::Null,
            actual: actual.clone(),
        });
        let (resource, kind) = ("Orders".to_owned(), "AWS::SQS::Queue".to_owned());
        let physical = String::new();
        Drifted { resource, kind, physical, state, by: By::CloudFormation, differences: differences.collect() }
    }

    #[test]
    fn what_is_there_is_taken_in_as_the_template_would_write_it() {
        let template = json!({ "Resources": { "Orders": { "Properties": {
            "VisibilityTimeout": 300, "Description": "1", "Fifo": true, "Redrive": { "count": 5 }, "Kms": "key",
        } } } });
        let differences = [
            ("/VisibilityTimeout", json!("30")),
            ("/Description", json!("2")),
            ("/Fifo", json!("false")),
            ("/Redrive/count", json!("7")),
            ("/Kms", Value::Null),
            ("/DelaySeconds", json!("3")),
        ];
        let taken_in = take_in(&template, &[drifted(State::Modified, &differences)]).expect("it can be taken in");
        let expected = json!({
            "VisibilityTimeout": 30, "Description": "2", "Fifo": false, "Redrive": { "count": 7 }, "DelaySeconds": 3,
        });
        assert_eq!(taken_in["Resources"]["Orders"]["Properties"], expected);
    }

    #[test]
    fn what_cannot_be_put_back_is_named() {
        let template = json!({ "Resources": { "Orders": { "Properties": { "Tags": [] } } } });
        for (state, path) in [(State::Deleted, "/A"), (State::Modified, "/Tags/0"), (State::Modified, "/No/Such")] {
            let refused = take_in(&template, &[drifted(state, &[(path, json!("x"))])]).expect_err("no way");
            assert!(refused.to_string().starts_with("Orders"), "{refused}");
        }
    }
}
