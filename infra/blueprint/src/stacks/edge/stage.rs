//! The stage of the API with its logs, cache and limits, its usage plan and its domain name.

use serde_json::json;

use super::{Api, STAGE, api_name, operations};
use crate::kind;
use crate::names::Shared;
use crate::stacks::logs::{log_group, log_group_arn};
use crate::template::{LogicalId, Template, get_att, reference, sub};

/// Allows API Gateway to write logs. This is a setting of the account and region, which the last
/// stack overwrites; environments therefore have their own accounts.
fn api_logging(template: &mut Template<'_>) -> LogicalId {
    let properties = json!({
        "Description": "API Gateway writes its logs",
        // Without a condition on the source, because the service sends none here.
        "AssumeRolePolicyDocument": { "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "Service": "apigateway.amazonaws.com" }, "Action": "sts:AssumeRole",
        }] },
        "ManagedPolicyArns": [
            sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"),
        ],
        "PermissionsBoundary": Shared::RoleBoundary.import(template.environment),
    });
    let role = template.add("api logging role", kind::IAM_ROLE, properties);
    let reason = "API Gateway sends no aws:SourceAccount when it assumes this role";
    template.waive(&role, &["IAM-3"], reason);
    let properties = json!({ "CloudWatchRoleArn": get_att(&role, "Arn") });
    template.add("api logging", kind::API_ACCOUNT, properties)
}

pub(super) fn stage(template: &mut Template<'_>, api: &Api) -> LogicalId {
    let environment = template.environment;
    let edge = &environment.settings.edge;
    let logging = api_logging(template);
    let access = log_group(template, "api access log", None);
    // API Gateway would create this log group itself, without a key and without retention.
    let name = sub(&format!(
        "API-Gateway-Execution-Logs_${{{}}}/{STAGE}",
        api.id.as_str()
    ));
    let execution = log_group(template, "api execution log", Some(name));
    let cache = edge.cache_seconds > 0;
    // A TTL of zero turns the cache off (API Gateway developer guide, "Cache settings for REST
    // APIs"). An order must never be answered from the cache.
    let settings = |path: &str, method: &str, cache_seconds: u16| {
        let mut settings = json!({
            "ResourcePath": path, "HttpMethod": method, "LoggingLevel": "ERROR", "DataTraceEnabled": false,
            "MetricsEnabled": true, "ThrottlingRateLimit": edge.rate, "ThrottlingBurstLimit": edge.burst,
        });
        if cache {
            settings["CachingEnabled"] = json!(true);
            settings["CacheDataEncrypted"] = json!(true);
            settings["CacheTtlInSeconds"] = json!(cache_seconds);
        }
        settings
    };
    let mut methods = vec![settings("/*", "*", 0)];
    if cache {
        let operations = operations();
        let cached = operations.iter().filter(|operation| operation.route.cached);
        // Slashes in the path are written as `~1`.
        methods.extend(cached.map(|operation| {
            settings(
                &format!("/~1{}", operation.path.join("~1")),
                operation.route.method.as_str(),
                edge.cache_seconds,
            )
        }));
    }
    let mut properties = json!({
        "RestApiId": reference(&api.id),
        "DeploymentId": reference(&api.deployment),
        "StageName": STAGE,
        "MethodSettings": methods,
        "TracingEnabled": true,
        "CacheClusterEnabled": cache,
        "AccessLogSetting": { "DestinationArn": log_group_arn(&access), "Format": access_log_format() },
    });
    if cache {
        properties["CacheClusterSize"] = json!("0.5");
    }
    let stage = template.add("api stage", kind::API_STAGE, properties);
    template.after(&stage, &[&logging, &execution]);
    if !cache {
        let why = "cache_seconds is 0 here: the storefront caches the menu, and an API cache is charged per hour";
        template.waive_checkov(&stage, "CKV_AWS_120", why);
        template.waive_public(&stage, &["API_GW_CACHE_ENABLED_AND_ENCRYPTED"], why);
    }
    stage
}

/// Returns the format of access logs: one line of JSON per request, without path and query, which
/// contain order ids and tracking tokens.
pub(super) fn access_log_format() -> String {
    let fields = [
        ("request_id", "$context.requestId"),
        ("at", "$context.requestTimeEpoch"),
        ("address", "$context.identity.sourceIp"),
        ("key", "$context.identity.apiKeyId"),
        ("method", "$context.httpMethod"),
        ("resource", "$context.resourcePath"),
        ("status", "$context.status"),
        ("took_ms", "$context.responseLatency"),
        ("storefront_ms", "$context.integrationLatency"),
        ("storefront_status", "$context.integrationStatus"),
        ("bytes", "$context.responseLength"),
        ("firewall", "$context.wafResponseCode"),
        ("tls", "$context.tlsVersion"),
        ("trace", "$context.xrayTraceId"),
        ("error", "$context.error.responseType"),
    ];
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":\"{value}\""))
        .collect();
    format!("{{{}}}", fields.join(","))
}

pub(super) fn usage_plan(template: &mut Template<'_>, api: &Api, stage: &LogicalId) {
    let environment = template.environment;
    let edge = &environment.settings.edge;
    let properties = json!({
        "Description": "What one key may ask of the API",
        "ApiStages": [{ "ApiId": reference(&api.id), "Stage": reference(stage) }],
        "Throttle": { "RateLimit": edge.rate, "BurstLimit": edge.burst },
        "Quota": { "Limit": edge.daily_quota, "Period": "DAY" },
    });
    let plan = template.add("usage plan", kind::API_USAGE_PLAN, properties);
    // API Gateway generates the value of the key; no template contains it.
    let properties = json!({ "Description": "The first program", "Enabled": true });
    let key = template.add("api key", kind::API_API_KEY, properties);
    template.add(
        "usage plan key",
        kind::API_USAGE_PLAN_KEY,
        json!({ "KeyId": reference(&key), "KeyType": "API_KEY", "UsagePlanId": reference(&plan) }),
    );
}

pub(super) fn api_domain(
    template: &mut Template<'_>,
    certificate: &LogicalId,
    api: &Api,
    stage: &LogicalId,
) -> LogicalId {
    let properties = json!({
        "DomainName": api_name(template.environment),
        "EndpointConfiguration": { "Types": ["REGIONAL"], "IpAddressType": "ipv4" },
        "RegionalCertificateArn": reference(certificate),
        // TLS 1.2 or 1.3. The API's own policy is stricter.
        "SecurityPolicy": "TLS_1_2",
    });
    let domain = template.add("api domain", kind::API_DOMAIN_NAME, properties);
    template.add(
        "api mapping",
        kind::API_BASE_PATH_MAPPING,
        json!({ "DomainName": reference(&domain), "RestApiId": reference(&api.id), "Stage": reference(stage) }));
    domain
}
