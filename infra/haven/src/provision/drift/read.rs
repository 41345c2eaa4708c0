//! What a service itself says of a resource, as properties of its template: for where CloudFormation does not compare. So
//! far as we know how to read.

use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Map, Value, json};

use super::super::{Target, why};

pub enum Reading {
    /// Of a type that we do not read.
    NobodyCan,
    Gone,
    /// Some of its properties.
    Properties(Map<String, Value>),
}

/// # Errors
/// When the service does not answer.
pub async fn read(target: &Target, kind: &str, physical: &str) -> anyhow::Result<Reading> {
    match kind {
        "AWS::CloudWatch::Alarm" => alarm(target, physical).await,
        "AWS::DynamoDB::Table" => table(target, physical).await,
        "AWS::SNS::Topic" => topic(target, physical).await,
        "AWS::SQS::Queue" => queue(target, physical).await,
        "AWS::SSM::Parameter" => parameter(target, physical).await,
        _ => Ok(Reading::NobodyCan),
    }
}

/// From what was found, or from the service's "there is no such thing".
fn reading<E, R>(found: Result<Value, SdkError<E, R>>) -> anyhow::Result<Reading>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    match found {
        Ok(Value::Object(properties)) => {
            Ok(Reading::Properties(properties.into_iter().filter(|(_, value)| !value.is_null()).collect()))
        }
        Ok(_) => Ok(Reading::Gone),
        Err(error) => {
            let gone = ["NotFound", "ResourceNotFoundException", "ParameterNotFound", "QueueDoesNotExist"];
            match error.code() {
                Some(code) if gone.iter().any(|gone| code.contains(gone)) => Ok(Reading::Gone),
                // SQS's older protocol.
                Some("AWS.SimpleQueueService.NonExistentQueue") => Ok(Reading::Gone),
                _ => anyhow::bail!("{}", why(&error)),
            }
        }
    }
}

async fn queue(target: &Target, url: &str) -> anyhow::Result<Reading> {
    let client = aws_sdk_sqs::Client::new(&target.config);
    let got = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All).send().await;
    reading(got.map(|got| {
        let attributes = got.attributes.unwrap_or_default();
        let mut properties = Map::new();
        for (name, text) in attributes {
            // A policy is JSON in text, and an object in a template.
            let value = serde_json::from_str(&text).ok().filter(Value::is_object);
            properties.insert(name.as_str().to_owned(), value.unwrap_or(Value::String(text)));
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
    let got = client.get_parameter().name(name).with_decryption(false).send().await;
    reading(got.map(|got| {
        let Some(parameter) = got.parameter else { return Value::Null };
        json!({ "Value": parameter.value(), "Type": parameter.r#type().map(|kind| kind.as_str()) })
    }))
}

async fn topic(target: &Target, arn: &str) -> anyhow::Result<Reading> {
    let client = aws_sdk_sns::Client::new(&target.config);
    let got = client.get_topic_attributes().topic_arn(arn).send().await;
    reading(got.map(|got| {
        let attributes = got.attributes.unwrap_or_default();
        json!({ "DisplayName": attributes.get("DisplayName"), "KmsMasterKeyId": attributes.get("KmsMasterKeyId") })
    }))
}

async fn alarm(target: &Target, name: &str) -> anyhow::Result<Reading> {
    let client = aws_sdk_cloudwatch::Client::new(&target.config);
    let got = client.describe_alarms().alarm_names(name).send().await;
    reading(got.map(|got| {
        let Some(alarm) = got.metric_alarms().first() else { return Value::Null };
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
