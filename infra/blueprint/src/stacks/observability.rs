//! What a human looks at: alarms of the platform, queries, dashboards, traces, the bill.

use contract::address::Address;
use contract::parameter_root;
use contract::role::{ROLES, Role};
use contract::topic::SYSTEM_ALERTS;
use serde_json::json;

use super::{alarms, export_of};
use crate::template::{Keep, Template};
use crate::{Environment, dashboard};

pub fn observability(environment: &Environment) -> Template {
    let mut template = Template::new(
        "Brew Haven: alarms of the platform, queries, dashboards, traces, the budget",
    );
    alarms::platform_alarms(&mut template, environment);
    subscription(&mut template, environment);
    dashboards(&mut template, environment);
    queries(&mut template, environment);
    traces(&mut template, environment);
    budget(&mut template, environment);
    template
}

/// Where a role's containers log to.
pub fn log_group(environment: &Environment, role: &Role) -> String {
    format!("{}/{}", parameter_root(&environment.name), role.slug)
}

/// Whoever is on call hears of every alarm by e-mail, once they have confirmed that they want to.
fn subscription(template: &mut Template, environment: &Environment) {
    let address = &environment.settings.observability.alarm_email;
    if address.is_empty() {
        return;
    }
    template.add(
        "alerts by mail",
        "AWS::SNS::Subscription",
        json!({
            "TopicArn": { "Fn::ImportValue": export_of(environment, Address::Topic(&SYSTEM_ALERTS)) },
            "Protocol": "email",
            "Endpoint": address,
        }),
        Keep::Nothing,
    );
}

fn dashboards(template: &mut Template, environment: &Environment) {
    // What comes before an alarm's slug in its ARN.
    let alarms = format!(
        "arn:${{AWS::Partition}}:cloudwatch:${{AWS::Region}}:${{AWS::AccountId}}:alarm:{}",
        environment.stack_name("")
    );
    for (name, body) in [
        ("operations", dashboard::operations()),
        ("business", dashboard::business()),
    ] {
        // Only one of them names alarms, and Fn::Sub takes no variable that the text does not have.
        let text = body
            .to_string()
            .replace("${Environment}", &environment.name);
        let body = if text.contains("${Alarms}") {
            json!({ "Fn::Sub": [text, { "Alarms": { "Fn::Sub": alarms } }] })
        } else {
            json!({ "Fn::Sub": text })
        };
        template.add(
            &format!("{name} dashboard"),
            "AWS::CloudWatch::Dashboard",
            json!({
                "DashboardName": environment.stack_name(name),
                "DashboardBody": body,
            }),
            Keep::Nothing,
        );
    }
}

/// A question that somebody asks the logs of all roles again and again.
struct Query {
    name: &'static str,
    text: &'static str,
}

/// The fields are those of `chassis::telemetry` and `chassis::emf`.
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

fn queries(template: &mut Template, environment: &Environment) {
    let groups: Vec<String> = ROLES
        .iter()
        .map(|role| log_group(environment, role))
        .collect();
    for query in QUERIES {
        template.add(
            &format!("{} query", query.name),
            "AWS::Logs::QueryDefinition",
            json!({
                // A slash makes a folder in the console.
                "Name": format!("{}/{}", environment.stack_name("logs"), query.name),
                "QueryString": query.text,
                "LogGroupNames": groups,
            }),
            Keep::Nothing,
        );
    }
}

/// Of the shop's requests one a second, and then a share. Workers follow what was decided where the
/// request came in.
fn traces(template: &mut Template, environment: &Environment) {
    let name = environment.stack_name("shop");
    template.add(
        "sampling",
        "AWS::XRay::SamplingRule",
        json!({
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
                // A pattern for what is traced; it permits nothing.
                "ResourceARN": "*",
            },
        }),
        Keep::Nothing,
    );
}

/// Of the whole account, and not of what has our tags: a tag counts only after somebody has made it
/// a cost allocation tag, and what was made by hand has none.
fn budget(template: &mut Template, environment: &Environment) {
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
    template.add("budget", "AWS::Budgets::Budget", properties, Keep::Nothing);
}

#[cfg(test)]
#[path = "observability_tests.rs"]
mod tests;
