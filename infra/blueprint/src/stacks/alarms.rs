//! What calls for a human.

use contract::address::Address;
use contract::alarm::{ALARMS, Alarm, Missing, Severity, Signal, Statistic};
use contract::metric::NAMESPACE;
use contract::topic::SYSTEM_ALERTS;
use serde_json::{Value, json};

use super::{export_of, export_of_name};
use crate::Environment;
use crate::template::{Keep, Template};

pub fn alarms(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: what calls for a human");
    for alarm in ALARMS {
        template.add(
            &format!("{} alarm", alarm.slug),
            "AWS::CloudWatch::Alarm",
            alarm_properties(environment, alarm),
            Keep::Nothing,
        );
    }
    template
}

fn alarm_properties(environment: &Environment, alarm: &Alarm) -> Value {
    let dimension = |name: &str, value: Value| json!({ "Name": name, "Value": value });
    let queue = |address| dimension("QueueName", json!({ "Fn::ImportValue": export_of_name(environment, address) }));
    let (namespace, metric, statistic, dimensions) = match alarm.signal {
        Signal::QueueAge(watched) => {
            ("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", vec![queue(Address::Queue(watched))])
        }
        Signal::Parked(watched) => {
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", vec![queue(Address::ParkingQueue(watched))])
        }
        Signal::Ours { metric, service, statistic } => {
            let statistic = match statistic {
                Statistic::Maximum => "Maximum",
                Statistic::Sum => "Sum",
            };
            let dimensions =
                vec![dimension("Environment", json!(environment.name)), dimension("Service", json!(service))];
            (NAMESPACE, metric.name(), statistic, dimensions)
        }
    };
    let urgency = match alarm.severity {
        Severity::Page => "Look now.",
        Severity::Ticket => "Look today.",
    };
    let missing = match alarm.missing {
        Missing::NotBreaching => "notBreaching",
        Missing::Breaching => "breaching",
    };
    let alerts = json!([{ "Fn::ImportValue": export_of(environment, Address::Topic(&SYSTEM_ALERTS)) }]);
    json!({
        "AlarmName": environment.stack_name(alarm.slug),
        "AlarmDescription": format!("{} {urgency} First: haven runbook show {}", alarm.impact, alarm.runbook),
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": dimensions,
        "Statistic": statistic,
        "Period": alarm.period.as_secs(),
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.datapoints,
        "Threshold": alarm.threshold,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": missing,
        "AlarmActions": alerts,
        "OKActions": alerts,
    })
}
