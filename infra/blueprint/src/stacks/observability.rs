//! The alarms of the platform, log queries, dashboards, traces and the budget.

use contract::address::Address;
use contract::parameter_root;
use contract::role::{ROLES, Role};
use contract::topic::SYSTEM_ALERTS;
use serde_json::json;

use super::alarms;
use crate::dashboard;
use crate::environment::Environment;
use crate::kind;
use crate::names::export_of;
use crate::template::Template;

/// Returns the stack with everything that operators look at.
pub fn observability(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(
        environment,
        "Brew Haven: platform alarms, queries, dashboards, traces and budget",
    );
    alarms::platform_alarms(&mut template);
    subscription(&mut template);
    dashboards(&mut template);
    queries(&mut template);
    traces(&mut template);
    budget(&mut template);
    template
}

/// Returns the log group of a role's containers.
pub fn log_group(environment: &Environment, role: &Role) -> String {
    format!("{}/{}", parameter_root(&environment.name), role.slug)
}

/// Subscribes the operators to all alarms by e-mail, after they confirm the subscription.
fn subscription(template: &mut Template<'_>) {
    let environment = template.environment;
    let address = &environment.settings.observability.alarm_email;
    if address.is_empty() {
        return;
    }
    let properties = json!({
        "TopicArn": { "Fn::ImportValue": export_of(environment, Address::Topic(&SYSTEM_ALERTS)) },
        "Protocol": "email",
        "Endpoint": address,
    });
    template.add("alerts by mail", kind::SNS_SUBSCRIPTION, properties);
}

fn dashboards(template: &mut Template<'_>) {
    let environment = template.environment;
    // The part of an alarm's ARN before its slug.
    let alarms = format!(
        "arn:${{AWS::Partition}}:cloudwatch:${{AWS::Region}}:${{AWS::AccountId}}:alarm:{}",
        environment.stack_name("")
    );
    for (name, body) in [
        ("operations", dashboard::operations()),
        ("business", dashboard::business()),
    ] {
        // Only one dashboard names alarms, and `Fn::Sub` refuses variables that the text does not
        // contain.
        let text = body
            .to_string()
            .replace("${Environment}", &environment.name);
        let body = if text.contains("${Alarms}") {
            json!({ "Fn::Sub": [text, { "Alarms": { "Fn::Sub": alarms } }] })
        } else {
            json!({ "Fn::Sub": text })
        };
        let words = format!("{name} dashboard");
        let properties = json!({
            "DashboardName": environment.stack_name(name),
            "DashboardBody": body,
        });
        template.add(&words, kind::CLOUDWATCH_DASHBOARD, properties);
    }
}

/// A saved query over the logs of all roles.
struct Query {
    name: &'static str,
    text: &'static str,
}

/// The queries. Their fields are those of `chassis::telemetry` and `chassis::emf`.
const QUERIES: &[Query] = &[
    Query {
        name: "slow orders",
        text: "filter ispresent(span.order.id)\n\
               | stats (max(@timestamp)-min(@timestamp))/1000 as seconds, count(*) as lines by span.order.id\n\
               | sort seconds desc | limit 50",
    },
    Query {
        name: "errors by role",
        text: "filter level='ERROR'\n| stats count(*) as errors, latest(@timestamp) as last by role, message\n\
               | sort errors desc | limit 100",
    },
    Query {
        name: "one order by id",
        text: "fields @timestamp, role, message, reason, span.attempt, span.trace.id\n\
               | filter span.order.id='PUT-THE-ID-HERE' or order_id='PUT-THE-ID-HERE'\n| sort @timestamp | limit 1000",
    },
    Query {
        name: "parked messages",
        text: "filter message='Parked'\n\
               | display @timestamp, role, span.queue, span.order.id, span.message.id, reason\n\
               | sort @timestamp desc | limit 200",
    },
];

fn queries(template: &mut Template<'_>) {
    let environment = template.environment;
    let groups: Vec<String> = ROLES
        .iter()
        .map(|role| log_group(environment, role))
        .collect();
    for query in QUERIES {
        let words = format!("{} query", query.name);
        let properties = json!({
            // The slash creates a folder in the console.
            "Name": format!("{}/{}", environment.stack_name("logs"), query.name),
            "QueryString": query.text,
            "LogGroupNames": groups,
        });
        template.add(&words, kind::LOGS_QUERY_DEFINITION, properties);
    }
}

/// Samples one request of the shop per second, and a share of the others. Workers follow the
/// decision made for the request.
fn traces(template: &mut Template<'_>) {
    let environment = template.environment;
    let name = environment.stack_name("shop");
    let properties = json!({
        "SamplingRule": {
            "RuleName": name,
            "Version": 1,
            "Priority": 100,
            "ReservoirSize": 1,
            "FixedRate": environment.settings.observability.trace_share,
            "Host": format!("*{}", environment.settings.edge.domain),
            "HTTPMethod": "*",
            "URLPath": "*",
            "ServiceName": "*",
            "ServiceType": "*",
            // The pattern selects what is traced and grants nothing.
            "ResourceARN": "*",
        },
    });
    template.add("sampling", kind::XRAY_SAMPLING_RULE, properties);
}

/// Adds a budget for the whole account instead of our tags. A tag counts only after activation as a
/// cost allocation tag, and resources made by hand have no tags.
fn budget(template: &mut Template<'_>) {
    let environment = template.environment;
    let settings = &environment.settings.observability;
    let notify = |kind: &str, percent: u32| {
        json!({
            "Notification": {
                "NotificationType": kind,
                "ComparisonOperator": "GREATER_THAN",
                "Threshold": percent,
                "ThresholdType": "PERCENTAGE",
            },
            "Subscribers": [{ "SubscriptionType": "EMAIL", "Address": settings.alarm_email }],
        })
    };
    let mut properties = json!({
        "Budget": {
            "BudgetName": environment.stack_name("month"),
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": { "Amount": settings.budget_usd, "Unit": "USD" },
        },
    });
    if !settings.alarm_email.is_empty() {
        properties["NotificationsWithSubscribers"] =
            json!([notify("ACTUAL", 80), notify("FORECASTED", 100)]);
    }
    template.add("budget", kind::BUDGET, properties);
}

#[cfg(test)]
#[path = "observability_tests.rs"]
mod tests;
