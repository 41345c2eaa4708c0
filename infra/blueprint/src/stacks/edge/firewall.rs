//! The firewall before the load balancer and the API.

use contract::route::RouteId;
use serde_json::{Value, json};

use super::Api;
use crate::environment::Environment;
use crate::kind;
use crate::stacks::logs::{log_group, log_group_arn};
use crate::template::{LogicalId, Template, get_att, reference, sub};

/// The payment gateway's webhook, which receives many requests from few addresses.
pub(super) const WEBHOOK_PATH: &str = RouteId::ReceivePaymentEvent.path();

/// Webhooks from one address in five minutes: two for each of 10,000 orders per minute.
const WEBHOOKS_PER_ADDRESS: u32 = 100_000;

pub(super) fn firewall(
    template: &mut Template<'_>,
    balancer: &LogicalId,
    api: &Api,
    stage: &LogicalId,
) {
    let environment = template.environment;
    let properties = json!({
        "Description": "The VPC, from where requests of the API reach the load balancer",
        "Scope": "REGIONAL",
        "IPAddressVersion": "IPV4",
        "Addresses": [environment.settings.network.cidr],
    });
    let link = template.add("own addresses", kind::WAF_IP_SET, properties);
    let properties = json!({
        "Description": "Protects the load balancer and the API",
        "Scope": "REGIONAL",
        "DefaultAction": { "Allow": {} },
        "VisibilityConfig": visibility("firewall"),
        "Rules": firewall_rules(environment, &link),
    });
    let firewall = template.add("firewall", kind::WAF_WEB_ACL, properties);
    let (api, stage) = (api.id.as_str(), stage.as_str());
    let stage = sub(&format!(
        "arn:${{AWS::Partition}}:apigateway:${{AWS::Region}}::/restapis/${{{api}}}/stages/${{{stage}}}"
    ));
    for (words, resource) in [("balancer", reference(balancer)), ("api", stage)] {
        template.add(
            &format!("{words} firewall"),
            kind::WAF_WEB_ACL_ASSOCIATION,
            json!({ "ResourceArn": resource, "WebACLArn": get_att(&firewall, "Arn") }),
        );
    }
    // WAF requires this prefix. The suffix is the stack's id, because the group outlives the stack.
    let number = json!({ "Fn::Select": [2, { "Fn::Split": ["/", { "Ref": "AWS::StackId" }] }] });
    let name = json!({ "Fn::Join": ["-", [format!("aws-waf-logs-{}", environment.stack_name("edge")), number]] });
    let log = log_group(template, "firewall log", Some(name));
    let header = |name: &str| json!({ "SingleHeader": { "Name": name } });
    template.add(
        "firewall logging",
        kind::WAF_LOGGING_CONFIGURATION,
        json!({
            "ResourceArn": get_att(&firewall, "Arn"),
            "LogDestinationConfigs": [log_group_arn(&log)],
            // These headers contain credentials, and the query string contains an order's tracking
            // token.
            "RedactedFields": [header("authorization"), header("cookie"), header("x-api-key"), { "QueryString": {} }],
        }),
    );
}

fn visibility(name: &str) -> Value {
    json!({ "CloudWatchMetricsEnabled": true, "SampledRequestsEnabled": true, "MetricName": name })
}

/// Returns the firewall rules in the order of evaluation, cheap ones first. They use 1,131 of 1,500
/// capacity units.
fn firewall_rules(environment: &Environment, own_addresses: &LogicalId) -> Value {
    let webhook = json!({ "ByteMatchStatement": {
        "FieldToMatch": { "UriPath": {} }, "PositionalConstraint": "EXACTLY", "SearchString": WEBHOOK_PATH,
        "TextTransformations": [{ "Priority": 0, "Type": "NONE" }],
    } });
    let own = json!({ "IPSetReferenceStatement": { "Arn": get_att(own_addresses, "Arn") } });
    let not = |statement: &Value| json!({ "NotStatement": { "Statement": statement } });
    // All API requests reach the load balancer from the few addresses of the private link. They
    // must not be blocked by number, because the stage of the API has counted them per caller.
    // Webhooks have their own count.
    let callers = json!({ "AndStatement": { "Statements": [not(&own), not(&webhook)] } });
    let rate = |limit: u32, scope: &Value| {
        json!({ "RateBasedStatement": {
            "AggregateKeyType": "IP", "EvaluationWindowSec": 300, "Limit": limit, "ScopeDownStatement": scope,
        } })
    };
    let managed = |name: &str, counted: &[&str]| {
        let mut group = json!({ "VendorName": "AWS", "Name": name });
        if !counted.is_empty() {
            let counted = counted
                .iter()
                .map(|name| json!({ "Name": name, "ActionToUse": { "Count": {} } }));
            group["RuleActionOverrides"] = counted.collect();
        }
        json!({ "ManagedRuleGroupStatement": group })
    };
    // These rules only count. An order of fifty lines is longer than 8 KiB (the storefront's limit
    // is 64), and the payment gateway's webhooks have no user agent.
    let common = ["SizeRestrictions_BODY", "NoUserAgent_HEADER"];
    let rules = [
        (
            "reputation",
            managed("AWSManagedRulesAmazonIpReputationList", &[]),
        ),
        (
            "rate",
            rate(environment.settings.edge.requests_per_address, &callers),
        ),
        ("webhook-rate", rate(WEBHOOKS_PER_ADDRESS, &webhook)),
        (
            "known-bad",
            managed("AWSManagedRulesKnownBadInputsRuleSet", &[]),
        ),
        ("common", managed("AWSManagedRulesCommonRuleSet", &common)),
        ("sql", managed("AWSManagedRulesSQLiRuleSet", &[])),
    ];
    let rule = |(priority, (name, statement)): (usize, (&str, Value))| {
        // Managed rule groups have their own actions.
        let action = if statement.get("RateBasedStatement").is_some() {
            ("Action", json!({ "Block": {} }))
        } else {
            ("OverrideAction", json!({ "None": {} }))
        };
        json!({
            "Name": name, "Priority": priority, "Statement": statement, action.0: action.1,
            "VisibilityConfig": visibility(name),
        })
    };
    rules.into_iter().enumerate().map(rule).collect()
}
