//! Detects drift by reading resources from their services and comparing them with the template.
//! The module covers some types of resources that CloudFormation does not compare.

use std::collections::HashMap;

use adapter_aws::call::{Call, GET_TOPIC_ATTRIBUTES};
use anyhow::Context as _;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_cloudformation::types::StackResourceDriftStatus as DriftStatus;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Map, Value, json};

use crate::aws_failure::{AwsFailure, ServiceError};
use crate::drift::drifted::{By, Difference, Drifted, How};
use crate::stack::resources;
use crate::target::Target;

enum Reading {
    /// This module does not read resources of the type.
    UnknownType,
    Gone,
    /// Some properties of the resource.
    Properties(Map<String, Value>),
}

/// Returns the drift of the stack's resources that CloudFormation did not compare.
///
/// # Errors
/// When the resources cannot be listed, or a service does not answer.
pub async fn drift(target: &Target, stack: &str, template: &Value) -> anyhow::Result<Vec<Drifted>> {
    let mut drift = Vec::new();
    for resource in resources(&target.cloudformation, stack).await? {
        let status = resource
            .drift_information()
            .and_then(|information| information.stack_resource_drift_status());
        if matches!(
            status,
            Some(DriftStatus::InSync | DriftStatus::Modified | DriftStatus::Deleted)
        ) {
            continue;
        }
        let (Some(id), Some(kind), Some(physical)) = (
            resource.logical_resource_id(),
            resource.resource_type(),
            resource.physical_resource_id(),
        ) else {
            continue;
        };
        let read = read(target, kind, physical)
            .await
            .with_context(|| format!("read {id} of {stack}"))?;
        let (how, differences) = match read {
            Reading::UnknownType => continue,
            Reading::Gone => (How::Deleted, Vec::new()),
            Reading::Properties(actual) => (
                How::Modified,
                differences(&template["Resources"][id]["Properties"], &actual),
            ),
        };
        if how == How::Deleted || !differences.is_empty() {
            let (resource, kind) = (id.to_owned(), kind.to_owned());
            drift.push(Drifted {
                resource,
                kind,
                how,
                by: By::Reading,
                differences,
            });
        }
    }
    Ok(drift)
}

/// Compares literal values in the template with the properties that were read. Values that refer to
/// something are skipped, because they cannot be resolved here.
fn differences(expected: &Value, actual: &Map<String, Value>) -> Vec<Difference> {
    let mut all = Vec::new();
    for (name, expected) in expected.as_object().into_iter().flatten() {
        if let Some(actual) = actual.get(name) {
            differ(&format!("/{name}"), expected, actual, &mut all);
        }
    }
    // Sort, because the order of keys in a template has no meaning.
    all.sort();
    all
}

fn differ(path: &str, expected: &Value, actual: &Value, all: &mut Vec<Difference>) {
    match (expected, actual) {
        (Value::Object(wanted), _)
            if wanted
                .keys()
                .any(|key| key == "Ref" || key.starts_with("Fn::")) => {}
        (Value::Object(wanted), Value::Object(there)) => {
            for (name, expected) in wanted {
                differ(
                    &format!("{path}/{name}"),
                    expected,
                    there.get(name).unwrap_or(&Value::Null),
                    all,
                );
            }
        }
        _ if same(expected, actual) => {}
        _ => all.push(Difference {
            path: path.to_owned(),
            expected: written(expected),
            actual: written(actual),
        }),
    }
}

/// Formats a value as CloudFormation does in drift results.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

/// Returns whether two values are equal. Services return text instead of numbers and booleans, and
/// 3.0 instead of 3.
fn same(one: &Value, other: &Value) -> bool {
    let (one, other) = (written(one), written(other));
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
    one == other || number(&one).is_some_and(|one| number(&other) == Some(one))
}

/// Reads a resource from its service.
///
/// # Errors
/// When the service does not answer.
async fn read(target: &Target, kind: &str, physical: &str) -> anyhow::Result<Reading> {
    match kind {
        "AWS::CloudWatch::Alarm" => alarm(target, physical).await,
        "AWS::DynamoDB::Table" => table(target, physical).await,
        "AWS::SNS::Topic" => topic(target, physical).await,
        "AWS::SQS::Queue" => queue(target, physical).await,
        "AWS::SSM::Parameter" => parameter(target, physical).await,
        _ => Ok(Reading::UnknownType),
    }
}

/// Converts the response of a service, or its "not found" error.
fn reading<E: ServiceError>(found: Result<Value, SdkError<E>>) -> anyhow::Result<Reading> {
    match found {
        Ok(Value::Object(properties)) => Ok(Reading::Properties(
            properties
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect(),
        )),
        Ok(_) => Ok(Reading::Gone),
        Err(error) => {
            let gone = [
                "NotFound",
                "ResourceNotFoundException",
                "ParameterNotFound",
                "QueueDoesNotExist",
                // The query protocol of SQS: AWS.SimpleQueueService.NonExistentQueue.
                "NonExistentQueue",
            ];
            match error.code() {
                Some(code) if gone.iter().any(|gone| code.contains(gone)) => Ok(Reading::Gone),
                _ => Err(AwsFailure::of(&error).into()),
            }
        }
    }
}

async fn queue(target: &Target, url: &str) -> anyhow::Result<Reading> {
    let client = aws_sdk_sqs::Client::new(&target.config);
    let got = client
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await;
    reading(got.map(|got| {
        let attributes = got.attributes.unwrap_or_default();
        let mut properties = Map::new();
        for (name, text) in attributes {
            // A policy is JSON text in the response and an object in the template.
            let value = serde_json::from_str(&text).ok().filter(Value::is_object);
            properties.insert(
                name.as_str().to_owned(),
                value.unwrap_or(Value::String(text)),
            );
        }
        Value::Object(properties)
    }))
}

async fn table(target: &Target, name: &str) -> anyhow::Result<Reading> {
    let client = aws_sdk_dynamodb::Client::new(&target.config);
    let got = client.describe_table().table_name(name).send().await;
    reading(got.map(|got| {
        let Some(table) = got.table else { return Value::Null };
        let billing = table.billing_mode_summary().and_then(|mode| mode.billing_mode()).map(|mode| mode.as_str());
        let stream = table.stream_specification().and_then(|stream| stream.stream_view_type());
        let keys = table.key_schema().iter();
        let keys = keys.map(|key| json!({ "AttributeName": key.attribute_name(), "KeyType": key.key_type().as_str() }));
        json!({
            "BillingMode": billing,
            "DeletionProtectionEnabled": table.deletion_protection_enabled(),
            "KeySchema": keys.collect::<Vec<_>>(),
            "StreamSpecification": stream.map(|view| json!({ "StreamViewType": view.as_str() })),
        })
    }))
}

async fn parameter(target: &Target, name: &str) -> anyhow::Result<Reading> {
    let client = aws_sdk_ssm::Client::new(&target.config);
    let got = client
        .get_parameter()
        .name(name)
        .with_decryption(false)
        .send()
        .await;
    reading(got.map(|got| {
        let Some(parameter) = got.parameter else {
            return Value::Null;
        };
        json!({ "Value": parameter.value(), "Type": parameter.r#type().map(|kind| kind.as_str()) })
    }))
}

async fn topic(target: &Target, arn: &str) -> anyhow::Result<Reading> {
    let got = Call::new(&target.config, &GET_TOPIC_ATTRIBUTES)
        .send(json!({ "TopicArn": arn }))
        .await;
    reading(got.map(|got| {
        let entries = got["Attributes"]["entry"].as_array().into_iter().flatten();
        let attributes: HashMap<_, _> = entries
            .filter_map(|entry| Some((entry["key"].as_str()?, entry["value"].as_str()?)))
            .collect();
        json!({ "DisplayName": attributes.get("DisplayName"), "KmsMasterKeyId": attributes.get("KmsMasterKeyId") })
    }))
}

async fn alarm(target: &Target, name: &str) -> anyhow::Result<Reading> {
    let client = aws_sdk_cloudwatch::Client::new(&target.config);
    let got = client.describe_alarms().alarm_names(name).send().await;
    reading(got.map(|got| {
        let Some(alarm) = got.metric_alarms().first() else {
            return Value::Null;
        };
        json!({
            "AlarmDescription": alarm.alarm_description(),
            "ComparisonOperator": alarm.comparison_operator().map(|operator| operator.as_str()),
            "DatapointsToAlarm": alarm.datapoints_to_alarm(),
            "EvaluationPeriods": alarm.evaluation_periods(),
            "MetricName": alarm.metric_name(),
            "Namespace": alarm.namespace(),
            "Period": alarm.period(),
            "Statistic": alarm.statistic().map(|statistic| statistic.as_str()),
            "Threshold": alarm.threshold(),
            "TreatMissingData": alarm.treat_missing_data(),
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literal_values_that_were_read_are_compared() {
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
        let found: Vec<(&str, Option<&str>)> = found
            .iter()
            .map(|found| (found.path.as_str(), found.actual.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("/RedrivePolicy/maxReceiveCount", Some("7")),
                ("/VisibilityTimeout", Some("30"))
            ]
        );
    }

    #[test]
    fn numbers_are_equal_in_every_notation() {
        assert!(
            same(&json!(3), &json!(3.0))
                && same(&json!(300), &json!("300"))
                && same(&json!(true), &json!("true"))
        );
        assert!(!same(&json!(3), &json!(4)) && !same(&json!("a"), &json!("b")));
    }
}
