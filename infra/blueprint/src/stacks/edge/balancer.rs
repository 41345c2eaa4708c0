//! The load balancer: its listeners, its security group for tests, and the two target groups of a
//! blue/green deployment.

use contract::role::STOREFRONT;
use contract::{READY_PATH, STOREFRONT_HEALTH_PORT, STOREFRONT_PORT};
use serde_json::{Value, json};

use super::{STAGE, group, origin};
use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::template::{LogicalId, Template, get_att, reference};

/// The port for tests of a new version before customers see it, reachable only inside the VPC.
pub const TEST_PORT: u16 = 8443;

fn attributes(pairs: &[(&str, Value)]) -> Value {
    pairs
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect()
}

pub(super) fn balancer(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    // A dev environment is deleted every evening; the others are protected against accidental
    // deletion.
    let protected = environment.name != "dev";
    // The balancer's own group opens ports 80 and 443 to the internet. This group opens the test
    // port to the VPC.
    let testers = group(
        template,
        "balancer test group",
        "Tries a new storefront before customers see it",
        json!([{
            "Description": "A new version, from inside the VPC", "IpProtocol": "tcp", "FromPort": TEST_PORT,
            "ToPort": TEST_PORT, "CidrIp": environment.settings.network.cidr,
        }]),
        // Without any rule, CloudFormation would allow all outgoing traffic. The balancer's own
        // group has the outgoing rules.
        json!([{ "Description": "Nowhere", "IpProtocol": "-1", "CidrIp": "127.0.0.1/32" }]),
    );
    let properties = json!({
        "Type": "application",
        "Scheme": "internet-facing",
        "IpAddressType": "ipv4",
        "Subnets": Shared::PublicSubnets.list(environment),
        "SecurityGroups": [Shared::BalancerGroup.import(environment), get_att(&testers, "GroupId")],
        "LoadBalancerAttributes": attributes(&[
            ("access_logs.s3.enabled", json!("true")),
            ("access_logs.s3.bucket", Shared::LogsBucket.import(environment)),
            ("access_logs.s3.prefix", json!("balancer")),
            // A JSON boolean: the public Guard rules reject the string form, although
            // CloudFormation accepts both.
            ("deletion_protection.enabled", json!(protected)),
            // The storefront answers within 10 s, and event streams send a heartbeat more often
            // than this.
            ("idle_timeout.timeout_seconds", json!("60")),
            ("routing.http.desync_mitigation_mode", json!("strictest")),
            ("routing.http.drop_invalid_header_fields.enabled", json!("true")),
            // The storefront compares Origin with Host to refuse cross-site requests.
            ("routing.http.preserve_host_header.enabled", json!("true")),
            // No request bypasses the firewall while the firewall is unavailable.
            ("waf.fail_open.enabled", json!("false")),
            // Allows operators to shift traffic away from a zone with a failure.
            ("zonal_shift.config.enabled", json!("true")),
        ]),
    });
    let id = template.add("balancer", kind::ELB_LOAD_BALANCER, properties);
    if !protected {
        let why = "This environment is deleted every evening";
        template.waive(&id, &["ALB-6"], why);
        template.waive_public(&id, &["ELB_DELETION_PROTECTION_ENABLED"], why);
    }
    let name = get_att(&id, "LoadBalancerFullName");
    Shared::BalancerName.export(template, name);
    id
}

/// The two target groups between which a blue/green deployment switches. Either of them may receive
/// the traffic.
pub(super) struct Targets {
    first: LogicalId,
    other: LogicalId,
}

pub(super) fn targets(template: &mut Template<'_>) -> Targets {
    let environment = template.environment;
    // Shorter than the drain, so that a deregistered task can finish its requests in flight.
    let deregistration = STOREFRONT.drain.as_secs().saturating_sub(5);
    let mut add = |words: &str| {
        let properties = json!({
            "TargetType": "ip",
            "IpAddressType": "ipv4",
            "VpcId": Shared::Vpc.import(environment),
            // TLS ends at the load balancer. Only its security group may connect to a task.
            "Protocol": "HTTP",
            "ProtocolVersion": "HTTP1",
            "Port": STOREFRONT_PORT,
            "HealthCheckEnabled": true,
            "HealthCheckProtocol": "HTTP",
            "HealthCheckPort": STOREFRONT_HEALTH_PORT.to_string(),
            "HealthCheckPath": READY_PATH,
            "HealthCheckIntervalSeconds": 15,
            "HealthCheckTimeoutSeconds": 5,
            "HealthyThresholdCount": 2,
            // ECS replaces a task that its target group reports as unhealthy. Without a
            // database no task is ready, and a new task would not help. Ten checks of 15 s are
            // longer than a failover, which takes 60 to 120 s (RDS user guide, "Failing over a
            // Multi-AZ DB instance"). The container's own health check finds a hanging task
            // sooner.
            "UnhealthyThresholdCount": 10,
            "Matcher": { "HttpCode": "200" },
            "TargetGroupAttributes": attributes(&[
                ("deregistration_delay.timeout_seconds", json!(deregistration.to_string())),
                ("load_balancing.algorithm.type", json!("least_outstanding_requests")),
                // Sessions are signed cookies and carts are in the cache, so any task can serve
                // a request.
                ("stickiness.enabled", json!("false")),
            ]),
        });
        template.add(words, kind::ELB_TARGET_GROUP, properties)
    };
    let targets = Targets {
        first: add("storefront targets"),
        other: add("storefront other targets"),
    };
    for (shared, id) in [
        (Shared::StorefrontTargets, &targets.first),
        (Shared::StorefrontOtherTargets, &targets.other),
    ] {
        shared.export(template, reference(id));
    }
    let name = get_att(&targets.first, "TargetGroupFullName");
    Shared::TargetsName.export(template, name);
    targets
}

pub(super) fn listeners(
    template: &mut Template<'_>,
    balancer: &LogicalId,
    certificate: &LogicalId,
    targets: &Targets,
) {
    let environment = template.environment;
    let properties = json!({
        "LoadBalancerArn": reference(balancer),
        "Protocol": "HTTP",
        "Port": 80,
        "DefaultActions": [{
            "Type": "redirect",
            "RedirectConfig": { "Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301" },
        }],
    });
    template.add("redirect listener", kind::ELB_LISTENER, properties);
    let ways = [
        (
            "storefront",
            443,
            Shared::StorefrontRule,
            &targets.first,
            &targets.other,
        ),
        (
            "storefront test",
            TEST_PORT,
            Shared::StorefrontTestRule,
            &targets.other,
            &targets.first,
        ),
    ];
    for (words, port, shared, to, not_to) in ways {
        let properties = json!({
            "LoadBalancerArn": reference(balancer),
            "Protocol": "HTTPS",
            "Port": port,
            // TLS 1.3, and 1.2 with forward secrecy only, as AWS recommends (ELB user guide,
            // "Security policies for your Application Load Balancer"). API Gateway uses 1.2 to
            // its backends.
            "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
            "Certificates": [{ "CertificateArn": reference(certificate) }],
            // Requests for other host names, as scanners send them, get no information.
            "DefaultActions": [{
                "Type": "fixed-response",
                "FixedResponseConfig": { "StatusCode": "404", "ContentType": "text/plain", "MessageBody": "Not here" },
            }],
            "ListenerAttributes": response_headers(environment),
        });
        let listener = template.add(&format!("{words} listener"), kind::ELB_LISTENER, properties);
        let weighted = |id: &LogicalId, weight: u8| json!({ "TargetGroupArn": reference(id), "Weight": weight });
        let words = format!("{words} rule");
        let properties = json!({
            "ListenerArn": reference(&listener),
            "Priority": 1,
            "Conditions": [{
                "Field": "host-header",
                "HostHeaderConfig": { "Values": [environment.settings.edge.domain] },
            }],
            // ECS changes the weights during a deployment. These are the initial values.
            "Actions": [{ "Type": "forward", "ForwardConfig": {
                "TargetGroups": [weighted(to, 100), weighted(not_to, 0)],
                "TargetGroupStickinessConfig": { "Enabled": false },
            } }],
            // A private integration prefixes the path with the name of its stage (API Gateway
            // developer guide, "Private integrations for REST APIs"). No path of the storefront
            // begins with that name.
            "Transforms": [{
                "Type": "url-rewrite",
                "UrlRewriteConfig": { "Rewrites": [{ "Regex": format!("^/{STAGE}/(.*)$"), "Replace": "/$1" }] },
            }],
        });
        let rule = template.add(&words, kind::ELB_LISTENER_RULE, properties);
        shared.export(template, reference(&rule));
    }
}

/// Returns the listener attributes that add CORS headers. An HTTP proxy integration passes
/// responses on unchanged, so the load balancer adds these headers.
fn response_headers(environment: &Environment) -> Value {
    let mut headers = vec![("routing.http.response.server.enabled", json!("false"))];
    if let Some(origin) = origin(environment) {
        headers.extend([
            (
                "routing.http.response.access_control_allow_origin.header_value",
                json!(origin),
            ),
            (
                "routing.http.response.access_control_expose_headers.header_value",
                json!("Location,Retry-After,X-Request-Id"),
            ),
        ]);
    }
    attributes(&headers)
}
