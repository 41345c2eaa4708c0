//! The public entry points: certificate and DNS names, load balancer, API and firewall.
//!
//! Customers use the load balancer. Programs use the API (with a key, a quota and a cache), which
//! forwards their requests to the same load balancer over a private link. One firewall protects
//! both.

use contract::role::STOREFRONT;
use contract::{READY_PATH, STOREFRONT_HEALTH_PORT, STOREFRONT_PORT, TRACEPARENT_ATTRIBUTE};
use domain::cart::{LINES_MAX, Quantity};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::kind::{self, Kind};
use crate::names::Shared;
use crate::template::{Keep, LogicalId, Template, get_att, reference, sorted, sub};

/// The port for tests of a new version before customers see it, reachable only inside the VPC.
pub const TEST_PORT: u16 = 8443;

/// The only stage of the API. A deployment replaces its content.
const STAGE: &str = "live";
/// The payment gateway's webhook, which receives many requests from few addresses.
const WEBHOOK_PATH: &str = "/webhooks/payment";
/// Webhooks from one address in five minutes: two for each of 10,000 orders per minute.
const WEBHOOKS_PER_ADDRESS: u32 = 100_000;

/// Returns the stack with the public entry points.
pub fn edge(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: what the world reaches");
    let certificate = certificate(&mut template, environment);
    let balancer = balancer(&mut template, environment);
    let targets = targets(&mut template, environment);
    listeners(
        &mut template,
        environment,
        &balancer,
        &certificate,
        &targets,
    );
    let link = private_link(&mut template, environment);
    let api = api(
        &mut template,
        environment,
        &Backend {
            link,
            balancer: balancer.clone(),
        },
    );
    let stage = stage(&mut template, environment, &api);
    usage_plan(&mut template, environment, &api, &stage);
    let api_domain = api_domain(&mut template, environment, &certificate, &api, &stage);
    names(&mut template, environment, &balancer, &api_domain);
    firewall(&mut template, environment, &balancer, &api, &stage);
    template
}

/// Returns the DNS name of the API.
fn api_name(environment: &Environment) -> String {
    format!("api.{}", environment.settings.edge.domain)
}

/// Adds one certificate for both names. ACM renews it as long as its validation records stay in the
/// zone.
fn certificate(template: &mut Template, environment: &Environment) -> LogicalId {
    let edge = &environment.settings.edge;
    let names = [edge.domain.clone(), api_name(environment)];
    let validation = names
        .each_ref()
        .map(|name| json!({ "DomainName": name, "HostedZoneId": edge.hosted_zone_id }));
    template.add(
        "certificate",
        kind::ACM_CERTIFICATE,
        json!({
            "DomainName": names[0],
            "SubjectAlternativeNames": [names[1]],
            "ValidationMethod": "DNS",
            "DomainValidationOptions": validation,
            "KeyAlgorithm": "RSA_2048",
            "CertificateTransparencyLoggingPreference": "ENABLED",
        }),
        Keep::Nothing,
    )
}

fn attributes(pairs: &[(&str, Value)]) -> Value {
    pairs
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect()
}

fn balancer(template: &mut Template, environment: &Environment) -> LogicalId {
    // A dev environment is deleted every evening; the others are protected against accidental
    // deletion.
    let protected = environment.name != "dev";
    // The balancer's own group opens ports 80 and 443 to the internet. This group opens the test
    // port to the VPC.
    let testers = group(
        template,
        environment,
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
    let id = template.add(
        "balancer",
        kind::ELB_LOAD_BALANCER,
        json!({
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
        }),
        Keep::Nothing,
    );
    if !protected {
        let why = "This environment is taken down every evening";
        template.waive(&id, &["ALB-6"], why);
        template.waive_public(&id, &["ELB_DELETION_PROTECTION_ENABLED"], why);
    }
    let name = get_att(&id, "LoadBalancerFullName");
    Shared::BalancerName.export(template, environment, name);
    id
}

fn group(
    template: &mut Template,
    environment: &Environment,
    words: &str,
    about: &str,
    ingress: Value,
    egress: Value,
) -> LogicalId {
    let properties = json!({
        "GroupDescription": about,
        "VpcId": Shared::Vpc.import(environment),
        "SecurityGroupIngress": ingress,
        "SecurityGroupEgress": egress,
    });
    template.add(words, kind::EC2_SECURITY_GROUP, properties, Keep::Nothing)
}

/// The two target groups between which a blue/green deployment switches. Either of them may receive
/// the traffic.
struct Targets {
    first: LogicalId,
    other: LogicalId,
}

fn targets(template: &mut Template, environment: &Environment) -> Targets {
    // Shorter than the drain, so that a deregistered task can finish its requests in flight.
    let deregistration = STOREFRONT.drain.as_secs().saturating_sub(5);
    let mut add = |words: &str| {
        template.add(
            words,
            kind::ELB_TARGET_GROUP,
            json!({
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
            }),
            Keep::Nothing,
        )
    };
    let targets = Targets {
        first: add("storefront targets"),
        other: add("storefront other targets"),
    };
    for (shared, id) in [
        (Shared::StorefrontTargets, &targets.first),
        (Shared::StorefrontOtherTargets, &targets.other),
    ] {
        shared.export(template, environment, reference(id));
    }
    let name = get_att(&targets.first, "TargetGroupFullName");
    Shared::TargetsName.export(template, environment, name);
    targets
}

fn listeners(
    template: &mut Template,
    environment: &Environment,
    balancer: &LogicalId,
    certificate: &LogicalId,
    targets: &Targets,
) {
    template.add(
        "redirect listener",
        kind::ELB_LISTENER,
        json!({
            "LoadBalancerArn": reference(balancer),
            "Protocol": "HTTP",
            "Port": 80,
            "DefaultActions": [{
                "Type": "redirect",
                "RedirectConfig": { "Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301" },
            }],
        }),
        Keep::Nothing,
    );
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
        let listener = template.add(
            &format!("{words} listener"),
            kind::ELB_LISTENER,
            json!({
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
            }),
            Keep::Nothing,
        );
        let weighted = |id: &LogicalId, weight: u8| json!({ "TargetGroupArn": reference(id), "Weight": weight });
        let rule = template.add(
            &format!("{words} rule"),
            kind::ELB_LISTENER_RULE,
            json!({
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
            }),
            Keep::Nothing,
        );
        shared.export(template, environment, reference(&rule));
    }
}

/// Returns the origin from which browsers may call the API. The load balancer can add only one
/// origin to its responses; more would need CORS in the storefront.
fn origin(environment: &Environment) -> Option<&str> {
    environment
        .settings
        .edge
        .cors_origins
        .first()
        .map(String::as_str)
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

/// The target of the API's requests.
struct Backend {
    link: LogicalId,
    balancer: LogicalId,
}

fn private_link(template: &mut Template, environment: &Environment) -> LogicalId {
    let group = group(
        template,
        environment,
        "api link group",
        "From the API to the load balancer",
        json!([]),
        json!([{
            "Description": "The load balancer", "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443,
            "DestinationSecurityGroupId": Shared::BalancerGroup.import(environment),
        }]),
    );
    template.add(
        "api link",
        kind::API_V2_VPC_LINK,
        json!({
            "Name": environment.stack_name("api"),
            "SubnetIds": Shared::PrivateSubnets.list(environment),
            "SecurityGroupIds": [get_att(&group, "GroupId")],
        }),
        Keep::Nothing,
    )
}

/// Returns the part of a logical id for a path. The common prefix is left out, because templates
/// have a size limit.
fn words(path: &[&str]) -> String {
    path.strip_prefix(&["api", "v1"])
        .filter(|rest| !rest.is_empty())
        .unwrap_or(path)
        .join(" ")
}

/// The operations for programs. Carts are not among them, because they belong to a browser's
/// session; a program sends its lines with the order. Routes for staff are not among them either.
const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        path: &["api", "v1", "menu"],
        cached: true,
        takes_order: false,
    },
    Operation {
        method: "GET",
        path: &["api", "v1", "menu", "{product_id}"],
        cached: false,
        takes_order: false,
    },
    Operation {
        method: "POST",
        path: &["api", "v1", "orders"],
        cached: false,
        takes_order: true,
    },
    Operation {
        method: "GET",
        path: &["api", "v1", "orders", "{id}"],
        cached: false,
        takes_order: false,
    },
    Operation {
        method: "POST",
        path: &["api", "v1", "orders", "{id}", "cancel"],
        cached: false,
        takes_order: false,
    },
];

/// One operation of the storefront's `/openapi.json`.
struct Operation {
    method: &'static str,
    path: &'static [&'static str],
    /// True if the response is the same for everybody and may be cached for `cache_seconds`.
    cached: bool,
    /// True if the body is a new order, whose shape API Gateway validates.
    takes_order: bool,
}

/// The API, and the deployment that its stage serves.
struct Api {
    id: LogicalId,
    deployment: LogicalId,
}

/// The parts of the API. A deployment is a snapshot of them, so a change of any part must create a
/// new deployment.
struct Parts<'a> {
    template: &'a mut Template,
    ids: Vec<LogicalId>,
    text: String,
}

impl Parts<'_> {
    fn add(&mut self, words: &str, kind: Kind, properties: Value) -> LogicalId {
        self.text += &sorted(properties.clone()).to_string();
        let id = self.template.add(words, kind, properties, Keep::Nothing);
        self.ids.push(id.clone());
        id
    }

    /// Returns the FNV-1a hash of all parts. Unlike the standard library's hash, it is the same on
    /// every machine and in every release.
    fn digest(&self) -> String {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!(
            "{:016x}",
            self.text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
        )
    }
}

fn api(template: &mut Template, environment: &Environment, backend: &Backend) -> Api {
    let name = environment.stack_name("api");
    let mut parts = Parts {
        template,
        ids: Vec::new(),
        text: String::new(),
    };
    let id = parts.add(
        "api",
        kind::API_REST_API,
        json!({
            "Name": name,
            "Description": "Menu and orders, for programs",
            "EndpointConfiguration": { "Types": ["REGIONAL"], "IpAddressType": "ipv4" },
            // Only our own domain name is reachable, where our firewall and TLS policies apply.
            "DisableExecuteApiEndpoint": true,
            "ApiKeySourceType": "HEADER",
            // The API's policy also applies to its custom domain, and its default is TLS 1.0 (API
            // Gateway developer guide, "How to change a security policy" and "Supported security
            // policies").
            "SecurityPolicy": "SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09",
            "EndpointAccessMode": "STRICT",
        }),
    );
    let order = order_model(&mut parts, &id);
    let mut resources: Vec<(&[&str], LogicalId)> = Vec::new();
    for operation in OPERATIONS {
        for depth in 1..=operation.path.len() {
            let path = &operation.path[..depth];
            if resources.iter().any(|(known, _)| *known == path) {
                continue;
            }
            let parent = resources
                .iter()
                .find(|(known, _)| *known == &path[..depth - 1]);
            let parent =
                parent.map_or_else(|| get_att(&id, "RootResourceId"), |(_, id)| reference(id));
            let properties = json!({ "RestApiId": reference(&id), "ParentId": parent, "PathPart": path[depth - 1] });
            let resource = parts.add(
                &format!("{} path", words(path)),
                kind::API_RESOURCE,
                properties,
            );
            resources.push((path, resource));
        }
        let Some((path, resource)) = resources.iter().find(|(known, _)| *known == operation.path)
        else {
            continue;
        };
        method(
            &mut parts,
            environment,
            operation,
            (&id, resource),
            backend,
            &order,
        );
        if let Some(origin) = origin(environment) {
            preflight(&mut parts, path, (&id, resource), operation.method, origin);
        }
    }
    refusals(&mut parts, environment, &id);
    let (digest, ids) = (parts.digest(), std::mem::take(&mut parts.ids));
    let template = parts.template;
    let deployment = template.add(
        &format!("api deployment {digest}"),
        kind::API_DEPLOYMENT,
        json!({ "RestApiId": reference(&id) }),
        Keep::Nothing,
    );
    template.after(&deployment, &ids.iter().skip(1).collect::<Vec<_>>());
    Shared::ApiName.export(template, environment, json!(name));
    Api { id, deployment }
}

/// The validation of a new order in API Gateway, before the request reaches the storefront.
struct OrderModel {
    model: LogicalId,
    validator: LogicalId,
}

fn order_model(parts: &mut Parts<'_>, api: &LogicalId) -> OrderModel {
    let text = json!({ "type": "string", "minLength": 1 });
    let model = parts.add(
        "new order",
        kind::API_MODEL,
        json!({
            "RestApiId": reference(api),
            "ContentType": "application/json",
            "Name": "NewOrder",
            // Only the shape. The storefront checks values, lengths and the idempotency key, with
            // better messages.
            "Schema": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "type": "object",
                "required": ["customer", "items", "payment_token"],
                "properties": {
                    "customer": {
                        "type": "object",
                        "required": ["name", "phone", "email"],
                        "properties": { "name": text, "phone": text, "email": text },
                    },
                    "items": { "type": "array", "minItems": 1, "maxItems": LINES_MAX, "items": {
                        "type": "object",
                        "required": ["product_id", "quantity"],
                        "properties": {
                            "product_id": text,
                            "quantity": { "type": "integer", "minimum": 1, "maximum": Quantity::MAX },
                        },
                    } },
                    "payment_token": text,
                },
            },
        }),
    );
    let validator = parts.add(
        "validator",
        kind::API_REQUEST_VALIDATOR,
        json!({ "RestApiId": reference(api), "ValidateRequestBody": true, "ValidateRequestParameters": true }),
    );
    OrderModel { model, validator }
}

fn method(
    parts: &mut Parts<'_>,
    environment: &Environment,
    operation: &Operation,
    (api, resource): (&LogicalId, &LogicalId),
    backend: &Backend,
    order: &OrderModel,
) {
    let path = operation.path.join("/");
    let (mut from, mut to) = (json!({}), json!({}));
    for name in operation
        .path
        .iter()
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    {
        from[format!("method.request.path.{name}")] = json!(true);
        to[format!("integration.request.path.{name}")] =
            json!(format!("method.request.path.{name}"));
    }
    if operation.method == "POST" {
        // The storefront refuses cross-site requests of browsers. Requests on this way carry an API
        // key in a custom header, which browsers send only after a preflight, and no cookie. The
        // check therefore happens here.
        to["integration.request.header.Sec-Fetch-Site"] = json!("'same-origin'");
    }
    let mut properties = json!({
        "RestApiId": reference(api),
        "ResourceId": reference(resource),
        "HttpMethod": operation.method,
        "AuthorizationType": "NONE",
        "ApiKeyRequired": true,
        "RequestValidatorId": reference(&order.validator),
        "Integration": {
            "Type": "HTTP_PROXY",
            "IntegrationHttpMethod": operation.method,
            "ConnectionType": "VPC_LINK",
            "ConnectionId": reference(&backend.link),
            "IntegrationTarget": reference(&backend.balancer),
            "Uri": format!("https://{}/{path}", environment.settings.edge.domain),
            // Longer than the storefront's own limit of 10 s, so that its answer arrives.
            "TimeoutInMillis": 12_000,
        },
    });
    if operation.takes_order {
        properties["RequestModels"] = json!({ "application/json": reference(&order.model) });
    }
    if from != json!({}) {
        properties["RequestParameters"] = from;
        properties["Integration"]["RequestParameters"] = to;
    }
    let words = format!(
        "{} {}",
        operation.method.to_lowercase(),
        words(operation.path)
    );
    parts.add(&words, kind::API_METHOD, properties);
}

/// Adds the answer to a browser's CORS preflight request.
fn preflight(
    parts: &mut Parts<'_>,
    path: &[&str],
    (api, resource): (&LogicalId, &LogicalId),
    method: &str,
    origin: &str,
) {
    let headers = [
        ("Origin", origin.to_owned()),
        ("Methods", method.to_owned()),
        (
            "Headers",
            format!("Content-Type,Idempotency-Key,X-Api-Key,{TRACEPARENT_ATTRIBUTE}"),
        ),
    ];
    let (mut declared, mut written) = (json!({}), json!({}));
    for (name, value) in headers {
        let header = format!("method.response.header.Access-Control-Allow-{name}");
        declared[&header] = json!(true);
        written[&header] = json!(format!("'{value}'"));
    }
    parts.add(
        &format!("options {}", words(path)),
        kind::API_METHOD,
        json!({
            "RestApiId": reference(api),
            "ResourceId": reference(resource),
            "HttpMethod": "OPTIONS",
            "AuthorizationType": "NONE",
            // Browsers send no API key with a preflight.
            "ApiKeyRequired": false,
            "Integration": {
                "Type": "MOCK",
                "RequestTemplates": { "application/json": "{\"statusCode\":204}" },
                "IntegrationResponses": [{ "StatusCode": "204", "ResponseParameters": written }],
            },
            "MethodResponses": [{ "StatusCode": "204", "ResponseParameters": declared }],
        }),
    );
}

/// Adds the gateway's own error responses with CORS headers, so that browsers can read them.
fn refusals(parts: &mut Parts<'_>, environment: &Environment, api: &LogicalId) {
    let headers = origin(environment)
        .map(|origin| json!({ "gatewayresponse.header.Access-Control-Allow-Origin": format!("'{origin}'") }));
    for (words, kind) in [
        ("refusal", "DEFAULT_4XX"),
        ("failure", "DEFAULT_5XX"),
        ("bad body", "BAD_REQUEST_BODY"),
    ] {
        let mut properties = json!({ "RestApiId": reference(api), "ResponseType": kind });
        if let Some(headers) = &headers {
            properties["ResponseParameters"] = headers.clone();
        }
        if kind == "BAD_REQUEST_BODY" {
            properties["StatusCode"] = json!("400");
            let template = "{\"message\":$context.error.messageString,\
                            \"detail\":\"$context.error.validationErrorString\"}";
            properties["ResponseTemplates"] = json!({ "application/json": template });
        }
        parts.add(
            &format!("api {words}"),
            kind::API_GATEWAY_RESPONSE,
            properties,
        );
    }
}

/// Adds a log group with the logs' retention and key. The group outlives its stack, so a fixed name
/// could block the next stack. Without `name`, CloudFormation assigns the name.
fn log_group(
    template: &mut Template,
    environment: &Environment,
    words: &str,
    name: Option<Value>,
) -> LogicalId {
    let mut properties = json!({
        "LogGroupClass": "STANDARD",
        "RetentionInDays": environment.settings.observability.log_days,
        "KmsKeyId": Shared::LogsKey.import(environment),
    });
    if let Some(name) = name {
        properties["LogGroupName"] = name;
    }
    template.add(words, kind::LOG_GROUP, properties, Keep::Data)
}

/// Returns the ARN without the `:*` at the end of `Arn`, which API Gateway and WAF do not accept.
fn log_group_arn(group: &LogicalId) -> Value {
    let name = group.as_str();
    sub(&format!(
        "arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:${{{name}}}"
    ))
}

/// Allows API Gateway to write logs. This is a setting of the account and region, which the last
/// stack overwrites; environments therefore have their own accounts.
fn api_logging(template: &mut Template, environment: &Environment) -> LogicalId {
    let role = template.add(
        "api logging role",
        kind::IAM_ROLE,
        json!({
            "Description": "API Gateway writes its logs",
            // Without a condition on the source, because the service sends none here.
            "AssumeRolePolicyDocument": { "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": { "Service": "apigateway.amazonaws.com" }, "Action": "sts:AssumeRole",
            }] },
            "ManagedPolicyArns": [
                sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"),
            ],
            "PermissionsBoundary": Shared::RoleBoundary.import(environment),
        }),
        Keep::Nothing,
    );
    template.waive(
        &role,
        &["IAM-3"],
        "API Gateway sends no aws:SourceAccount when it takes this role",
    );
    let properties = json!({ "CloudWatchRoleArn": get_att(&role, "Arn") });
    template.add("api logging", kind::API_ACCOUNT, properties, Keep::Nothing)
}

fn stage(template: &mut Template, environment: &Environment, api: &Api) -> LogicalId {
    let edge = &environment.settings.edge;
    let logging = api_logging(template, environment);
    let access = log_group(template, environment, "api access log", None);
    // API Gateway would create this log group itself, without a key and without retention.
    let name = sub(&format!(
        "API-Gateway-Execution-Logs_${{{}}}/{STAGE}",
        api.id.as_str()
    ));
    let execution = log_group(template, environment, "api execution log", Some(name));
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
        let cached = OPERATIONS.iter().filter(|operation| operation.cached);
        // Slashes in the path are written as `~1`.
        methods.extend(cached.map(|operation| {
            settings(
                &format!("/~1{}", operation.path.join("~1")),
                operation.method,
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
    let stage = template.add("api stage", kind::API_STAGE, properties, Keep::Nothing);
    template.after(&stage, &[&logging, &execution]);
    if !cache {
        let why = "cache_seconds is 0 here: the storefront keeps the menu itself, and a cache costs by the hour";
        template.note(
            &stage,
            "checkov",
            json!({ "skip": [{ "id": "CKV_AWS_120", "comment": why }] }),
        );
        template.waive_public(&stage, &["API_GW_CACHE_ENABLED_AND_ENCRYPTED"], why);
    }
    stage
}

/// Returns the format of access logs: one line of JSON per request, without path and query, which
/// contain order ids and tracking tokens.
fn access_log_format() -> String {
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

fn usage_plan(template: &mut Template, environment: &Environment, api: &Api, stage: &LogicalId) {
    let edge = &environment.settings.edge;
    let plan = template.add(
        "usage plan",
        kind::API_USAGE_PLAN,
        json!({
            "Description": "What one key may ask of the API",
            "ApiStages": [{ "ApiId": reference(&api.id), "Stage": reference(stage) }],
            "Throttle": { "RateLimit": edge.rate, "BurstLimit": edge.burst },
            "Quota": { "Limit": edge.daily_quota, "Period": "DAY" },
        }),
        Keep::Nothing,
    );
    // API Gateway generates the value of the key; no template contains it.
    let key = template.add(
        "api key",
        kind::API_API_KEY,
        json!({ "Description": "The first program", "Enabled": true }),
        Keep::Nothing,
    );
    template.add(
        "usage plan key",
        kind::API_USAGE_PLAN_KEY,
        json!({ "KeyId": reference(&key), "KeyType": "API_KEY", "UsagePlanId": reference(&plan) }),
        Keep::Nothing,
    );
}

fn api_domain(
    template: &mut Template,
    environment: &Environment,
    certificate: &LogicalId,
    api: &Api,
    stage: &LogicalId,
) -> LogicalId {
    let domain = template.add(
        "api domain",
        kind::API_DOMAIN_NAME,
        json!({
            "DomainName": api_name(environment),
            "EndpointConfiguration": { "Types": ["REGIONAL"], "IpAddressType": "ipv4" },
            "RegionalCertificateArn": reference(certificate),
            // TLS 1.2 or 1.3. The API's own policy is stricter.
            "SecurityPolicy": "TLS_1_2",
        }),
        Keep::Nothing,
    );
    template.add(
        "api mapping",
        kind::API_BASE_PATH_MAPPING,
        json!({ "DomainName": reference(&domain), "RestApiId": reference(&api.id), "Stage": reference(stage) }),
        Keep::Nothing,
    );
    domain
}

fn names(
    template: &mut Template,
    environment: &Environment,
    balancer: &LogicalId,
    api_domain: &LogicalId,
) {
    let edge = &environment.settings.edge;
    let records = [
        (
            "shop",
            edge.domain.clone(),
            get_att(balancer, "DNSName"),
            get_att(balancer, "CanonicalHostedZoneID"),
        ),
        (
            "api",
            api_name(environment),
            get_att(api_domain, "RegionalDomainName"),
            get_att(api_domain, "RegionalHostedZoneId"),
        ),
    ];
    for (words, name, target, zone) in records {
        template.add(
            &format!("{words} record"),
            kind::ROUTE53_RECORD_SET,
            json!({
                "HostedZoneId": edge.hosted_zone_id,
                "Name": name,
                "Type": "A",
                "AliasTarget": { "DNSName": target, "HostedZoneId": zone, "EvaluateTargetHealth": false },
            }),
            Keep::Nothing,
        );
    }
}

fn firewall(
    template: &mut Template,
    environment: &Environment,
    balancer: &LogicalId,
    api: &Api,
    stage: &LogicalId,
) {
    let link = template.add(
        "own addresses",
        kind::WAF_IP_SET,
        json!({
            "Description": "The VPC, from where requests of the API reach the load balancer",
            "Scope": "REGIONAL",
            "IPAddressVersion": "IPV4",
            "Addresses": [environment.settings.network.cidr],
        }),
        Keep::Nothing,
    );
    let firewall = template.add(
        "firewall",
        kind::WAF_WEB_ACL,
        json!({
            "Description": "Before the load balancer and the API",
            "Scope": "REGIONAL",
            "DefaultAction": { "Allow": {} },
            "VisibilityConfig": visibility("firewall"),
            "Rules": firewall_rules(environment, &link),
        }),
        Keep::Nothing,
    );
    let (api, stage) = (api.id.as_str(), stage.as_str());
    let stage = sub(&format!(
        "arn:${{AWS::Partition}}:apigateway:${{AWS::Region}}::/restapis/${{{api}}}/stages/${{{stage}}}"
    ));
    for (words, resource) in [("balancer", reference(balancer)), ("api", stage)] {
        template.add(
            &format!("{words} firewall"),
            kind::WAF_WEB_ACL_ASSOCIATION,
            json!({ "ResourceArn": resource, "WebACLArn": get_att(&firewall, "Arn") }),
            Keep::Nothing,
        );
    }
    // WAF requires this prefix. The suffix is the stack's id, because the group outlives the stack.
    let number = json!({ "Fn::Select": [2, { "Fn::Split": ["/", { "Ref": "AWS::StackId" }] }] });
    let name = json!({ "Fn::Join": ["-", [format!("aws-waf-logs-{}", environment.stack_name("edge")), number]] });
    let log = log_group(template, environment, "firewall log", Some(name));
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
        Keep::Nothing,
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

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
