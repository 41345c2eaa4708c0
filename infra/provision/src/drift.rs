//! `haven drift`: finds changes that were made by hand since the last deployment, and reverts them.

pub mod drifted;
mod service_drift;

use anyhow::{Context as _, bail};
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_sdk_cloudformation::types::{
    DeploymentMode, StackDriftDetectionStatus, StackResourceDrift,
    StackResourceDriftStatus as DriftStatus,
};
use blueprint::{Stack, consequence};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::aws_failure::failure_to;
use crate::change_set::{apply, execute, prepare};
use crate::deployed_stack::DeployedStack;
use crate::drift::drifted::{By, Difference, Drifted, How, StackDrift};
use crate::guard::Named;
use crate::report::{Line, Reporter};
use crate::stack::poll_until;
use crate::target::Target;

/// The time for a drift detection. CloudFormation reads every resource in turn, so a stack with
/// hundreds takes minutes.
const DETECTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1800);

/// Returns the differences between a stack's resources and its last deployed template. Returns none
/// for a stack that does not exist.
///
/// # Errors
/// When the detection is not possible: the stack's status or the credentials do not allow it.
async fn detect(
    target: &Target,
    stack: &str,
    standing: &DeployedStack,
) -> anyhow::Result<Vec<Drifted>> {
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
            return service_drift::drift(target, stack, &standing.template).await;
        }
        begun => begun.map_err(failure_to(format!("detect drift of {stack}")))?,
    };
    let id = begun
        .stack_drift_detection_id
        .context("CloudFormation returned no id for the drift detection")?;
    let why_not = detected(target, stack, &id).await?;
    let statuses = [
        DriftStatus::Modified,
        DriftStatus::Deleted,
        DriftStatus::UnknownValue,
    ];
    let mut drift = Vec::new();
    let call = client
        .describe_stack_resource_drifts()
        .stack_name(stack)
        .set_stack_resource_drift_status_filters(Some(statuses.to_vec()));
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failure_to(format!("read the drift of {stack}")))?;
        drift.extend(page.stack_resource_drifts().iter().filter_map(drifted));
    }
    // The detection fails as a whole if one resource cannot be read. That resource is in the list
    // then.
    match why_not {
        Some(reason) if drift.is_empty() => bail!("detect drift of {stack}: {reason}"),
        _ => {}
    }
    drift.extend(service_drift::drift(target, stack, &standing.template).await?);
    drift.sort();
    Ok(drift)
}

/// Waits until a drift detection ends. Returns the reason if it failed.
async fn detected(target: &Target, stack: &str, id: &str) -> anyhow::Result<Option<String>> {
    let begun = std::time::Instant::now();
    poll_until(async || {
        let call = target
            .cloudformation
            .describe_stack_drift_detection_status()
            .stack_drift_detection_id(id);
        let seen = call.send().await;
        let seen = seen.map_err(failure_to(format!(
            "wait for the drift detection of {stack}"
        )))?;
        match seen.detection_status() {
            Some(StackDriftDetectionStatus::DetectionComplete) => Ok(Some(None)),
            Some(StackDriftDetectionStatus::DetectionFailed) => {
                let reason = seen.detection_status_reason();
                let reason = reason.unwrap_or("CloudFormation returned no reason");
                Ok(Some(Some(reason.to_owned())))
            }
            _ if begun.elapsed() > DETECTED_WITHIN => {
                bail!(
                    "the drift detection of {stack} did not end within {} s",
                    DETECTED_WITHIN.as_secs()
                )
            }
            _ => Ok(None),
        }
    })
    .await
}

fn drifted(said: &StackResourceDrift) -> Option<Drifted> {
    let how = match said.stack_resource_drift_status()? {
        DriftStatus::Modified => How::Modified,
        DriftStatus::Deleted => How::Deleted,
        DriftStatus::InSync | DriftStatus::NotChecked | DriftStatus::Unsupported => return None,
        _ => How::Unknown(
            said.drift_status_reason()
                .unwrap_or("CloudFormation returned no reason")
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
    stacks: &[(&Stack, &DeployedStack)],
    reporter: &Reporter,
) -> Vec<StackDrift> {
    join_all(stacks.iter().map(|(stack, standing)| async {
        let line = reporter.begin(&stack.name, "comparing the resources with the template");
        let (drift, unknown) = match detect(target, &stack.name, standing).await {
            Ok(drift) => (drift, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        line.end(&match (&unknown, drift.len()) {
            (Some(_), _) => "not known".to_owned(),
            (None, 0) => "as in its template".to_owned(),
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

/// Detects the drift of the given stacks.
///
/// # Errors
/// When a stack cannot be read.
pub async fn look_at_all(
    target: &Target,
    stacks: &[&Stack],
    reporter: &Reporter,
) -> anyhow::Result<Vec<StackDrift>> {
    let standings = DeployedStack::of_all(&target.cloudformation, stacks).await?;
    let stacks: Vec<(&Stack, &DeployedStack)> = stacks.iter().copied().zip(&standings).collect();
    Ok(look(target, &stacks, reporter).await)
}

const BY_CHANGE_SET: &str = "reverted";
const BY_TWO_UPDATES: &str =
    "reverted by two updates, because this endpoint has no drift-aware change sets";

/// Reverts the resources of a stack to its last deployed template, not to the current one. Returns
/// how this was done.
///
/// # Errors
/// When no template can describe the actual resources, or an update fails.
pub async fn revert(
    target: &Target,
    stack: &Stack,
    drift: &[Drifted],
    named: &Named,
    line: &Line,
) -> anyhow::Result<&'static str> {
    let standing = DeployedStack::of(&target.cloudformation, &stack.name).await?;
    let deployed = stack.with_template(standing.template.clone());
    let mode = Some(DeploymentMode::RevertDrift);
    if let Some(change_set) = prepare(target, &deployed, &standing, mode, line).await? {
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
    apply(target, &stack.with_template(template), named, line).await?;
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
                        "{id} was deleted, and other resources of its stack need it: destroy that stack and deploy it again"
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
    fn a_template_can_describe_drifted_values_in_their_original_form() {
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
    fn drift_that_no_template_can_describe_is_refused() {
        let deleted = |id: &str| Drifted {
            resource: id.to_owned(),
            how: How::Deleted,
            ..modified("", None, None)
        };
        let error = as_it_is(&template(), &[deleted("Parking")])
            .expect_err("Orders needs it")
            .to_string();
        assert!(
            error.contains("other resources of its stack need it"),
            "{error}"
        );
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
}
