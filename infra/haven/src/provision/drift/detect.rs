//! One stack compared: by CloudFormation, and by reading what it does not compare.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_sdk_cloudformation::types::{
    Stack as Deployed, StackDriftDetectionStatus, StackResourceDrift, StackResourceDriftStatus,
};
use serde_json::{Map, Value};

use super::super::change_set::{deployed_template, status_of};
use super::super::report::Line;
use super::super::{Target, why};
use super::read::{self, Reading};
use super::{By, Difference, Drifted, StackDrift, State};

/// Between two looks at a comparison that is under way.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// A stack of ours takes CloudFormation a minute or two.
const COMPARED_WITHIN: Duration = Duration::from_secs(900);

/// A resource that is in the stack.
struct Resource {
    id: String,
    kind: String,
    physical: String,
}

pub async fn compare(
    target: &Target,
    stack: &blueprint::Stack,
    deployed: &Deployed,
    line: &Line,
) -> anyhow::Result<StackDrift> {
    let mut compared = StackDrift {
        slug: stack.slug,
        stack: stack.name.clone(),
        by_cloudformation: 0,
        by_reading: 0,
        not_compared: Vec::new(),
        drifted: Vec::new(),
        note: None,
    };
    let status = status_of(deployed);
    if !is_comparable(status) {
        compared.note = Some(format!("{status}: not compared; `haven doctor` says what to do first"));
        return Ok(compared);
    }
    let mut done = BTreeSet::new();
    match detect(target, &stack.name).await? {
        Some(note) => {
            compared.note = note;
            for drift in drifts(target, &stack.name).await? {
                let id = drift.logical_resource_id().unwrap_or_default().to_owned();
                // Not checked, unsupported, unknown: read it, if we can.
                if is_compared(drift.stack_resource_drift_status()) {
                    compared.by_cloudformation += 1;
                    compared.drifted.extend(drifted(&drift));
                    done.insert(id);
                }
            }
        }
        None => compared.note = Some("CloudFormation cannot compare here: haven reads what it knows how to".to_owned()),
    }
    line.doing("reading what CloudFormation does not compare");
    let template = deployed_template(&target.cloudformation, &stack.name).await?;
    for resource in resources(target, &stack.name).await?.into_iter().filter(|resource| !done.contains(&resource.id)) {
        let reading = read::read(target, &resource.kind, &resource.physical).await;
        match reading.with_context(|| format!("read {}/{}", stack.slug, resource.id))? {
            Reading::NobodyCan => compared.not_compared.push(resource.kind),
            Reading::Gone => {
                compared.by_reading += 1;
                compared.drifted.push(found(resource, State::Deleted, Vec::new()));
            }
            Reading::Properties(actual) => {
                compared.by_reading += 1;
                let differences = differences(&template["Resources"][&resource.id]["Properties"], &actual);
                if !differences.is_empty() {
                    compared.drifted.push(found(resource, State::Modified, differences));
                }
            }
        }
    }
    Ok(compared)
}

/// As the user guide lists them ("Detecting unmanaged configuration changes").
fn is_comparable(status: &str) -> bool {
    matches!(status, "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE" | "UPDATE_ROLLBACK_FAILED")
}

fn is_compared(status: Option<&StackResourceDriftStatus>) -> bool {
    use StackResourceDriftStatus::{Deleted, InSync, Modified};
    matches!(status, Some(InSync | Modified | Deleted))
}

fn found(resource: Resource, state: State, differences: Vec<Difference>) -> Drifted {
    let Resource { id, kind, physical } = resource;
    Drifted { resource: id, kind, physical, state, by: By::Reading, differences }
}

/// Has CloudFormation compare, and waits. `None` where it cannot; else what it did not manage, if anything.
async fn detect(target: &Target, stack: &str) -> anyhow::Result<Option<Option<String>>> {
    let client = &target.cloudformation;
    let detection = match client.detect_stack_drift().stack_name(stack).send().await {
        Ok(begun) => begun.stack_drift_detection_id().unwrap_or_default().to_owned(),
        Err(error) => {
            // What a server says of an operation that it does not have.
            let unknown = ["InvalidAction", "UnknownOperationException", "NotImplemented"];
            if error.code().is_some_and(|code| unknown.contains(&code)) {
                return Ok(None);
            }
            bail!("have CloudFormation compare {stack}: {}", why(&error));
        }
    };
    let begun = std::time::Instant::now();
    let mut pause = LOOK.0;
    loop {
        let call = client.describe_stack_drift_detection_status().stack_drift_detection_id(&detection);
        let seen = call.send().await.map_err(|error| anyhow::anyhow!("compare {stack}: {}", why(&error)))?;
        match seen.detection_status() {
            Some(StackDriftDetectionStatus::DetectionComplete) => return Ok(Some(None)),
            // Of some resources it may know all the same.
            Some(StackDriftDetectionStatus::DetectionFailed) => {
                let reason = seen.detection_status_reason().unwrap_or("CloudFormation did not say why");
                return Ok(Some(Some(format!("not compared in full: {reason}"))));
            }
            _ if begun.elapsed() > COMPARED_WITHIN => {
                bail!("CloudFormation did not compare {stack} within {} s", COMPARED_WITHIN.as_secs())
            }
            _ => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

async fn drifts(target: &Target, stack: &str) -> anyhow::Result<Vec<StackResourceDrift>> {
    let mut all = Vec::new();
    let mut pages = target.cloudformation.describe_stack_resource_drifts().stack_name(stack).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| anyhow::anyhow!("read what differs in {stack}: {}", why(&error)))?;
        all.extend(page.stack_resource_drifts.unwrap_or_default());
    }
    Ok(all)
}

async fn resources(target: &Target, stack: &str) -> anyhow::Result<Vec<Resource>> {
    let mut all = Vec::new();
    let mut pages = target.cloudformation.list_stack_resources().stack_name(stack).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| anyhow::anyhow!("list the resources of {stack}: {}", why(&error)))?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        all.extend(page.stack_resource_summaries().iter().map(|resource| Resource {
            id: text(resource.logical_resource_id()),
            kind: text(resource.resource_type()),
            physical: text(resource.physical_resource_id()),
        }));
    }
    Ok(all)
}

/// `None` where nothing differs.
fn drifted(drift: &StackResourceDrift) -> Option<Drifted> {
    let state = match drift.stack_resource_drift_status() {
        Some(StackResourceDriftStatus::Modified) => State::Modified,
        Some(StackResourceDriftStatus::Deleted) => State::Deleted,
        _ => return None,
    };
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let value = |text: Option<&str>| match text {
        None | Some("null") => Value::Null,
        Some(text) => Value::String(text.to_owned()),
    };
    let differences = drift.property_differences().iter().map(|difference| Difference {
        path: text(difference.property_path()),
        expected: value(difference.expected_value()),
        actual: value(difference.actual_value()),
    });
    Some(Drifted {
        resource: text(drift.logical_resource_id()),
        kind: text(drift.resource_type()),
        physical: text(drift.physical_resource_id()),
        state,
        by: By::CloudFormation,
        differences: differences.collect(),
    })
}

/// Of what the template says outright and the service told us: what refers to something is not known here.
fn differences(expected: &Value, actual: &Map<String, Value>) -> Vec<Difference> {
    let mut all = Vec::new();
    for (name, expected) in expected.as_object().into_iter().flatten() {
        if let Some(actual) = actual.get(name) {
            differ(&format!("/{name}"), expected, actual, &mut all);
        }
    }
    all
}

fn differ(path: &str, expected: &Value, actual: &Value, all: &mut Vec<Difference>) {
    match (expected, actual) {
        (Value::Object(wanted), _) if wanted.keys().any(|key| key == "Ref" || key.starts_with("Fn::")) => {}
        (Value::Object(wanted), Value::Object(there)) => {
            for (name, expected) in wanted {
                differ(&format!("{path}/{name}"), expected, there.get(name).unwrap_or(&Value::Null), all);
            }
        }
        _ if same(expected, actual) => {}
        _ => all.push(Difference { path: path.to_owned(), expected: expected.clone(), actual: actual.clone() }),
    }
}

/// Services answer with text where a template has a number or a truth value, and with 3.0 where it has 3.
fn same(one: &Value, other: &Value) -> bool {
    let bare = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let number = |value: &Value| bare(value).parse::<f64>().ok();
    bare(one) == bare(other) || number(one).is_some_and(|one| number(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_said_outright_and_was_read_is_compared() {
        let expected = json!({
            "VisibilityTimeout": 300,
            "FifoQueue": true,
            "DelaySeconds": 5,
            "KmsMasterKeyId": { "Fn::ImportValue": "key" },
            "RedrivePolicy": { "deadLetterTargetArn": { "Fn::GetAtt": ["Parking", "Arn"] }, "maxReceiveCount": 100 },
        });
        let actual = json!({
            "VisibilityTimeout": "30",
            "FifoQueue": "true",
            "KmsMasterKeyId": "arn",
            "RedrivePolicy": { "deadLetterTargetArn": "arn", "maxReceiveCount": "7" },
        });
        let found = differences(&expected, actual.as_object().expect("an object"));
        let found: Vec<(&str, &Value)> = found.iter().map(|found| (found.path.as_str(), &found.actual)).collect();
        assert_eq!(found, [("/RedrivePolicy/maxReceiveCount", &json!("7")), ("/VisibilityTimeout", &json!("30"))]);
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        assert!(same(&json!(3), &json!(3.0)) && same(&json!(300), &json!("300")) && same(&json!(true), &json!("true")));
        assert!(!same(&json!(3), &json!(4)) && !same(&json!("a"), &json!("b")));
    }
}
