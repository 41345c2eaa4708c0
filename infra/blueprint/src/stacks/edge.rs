//! The public entry points: certificate and DNS names, load balancer, API and firewall.
//!
//! Customers use the load balancer. Programs use the API (with a key, a quota and a cache), which
//! forwards their requests to the same load balancer over a private link. One firewall protects
//! both.

mod balancer;
mod firewall;
mod stage;

use contract::TRACEPARENT_ATTRIBUTE;
use contract::route::{Method, ROUTES, Route, RouteId};
use domain::cart::{LINES_MAX, Quantity};
use serde_json::{Value, json};

use balancer::{balancer, listeners, targets};
use firewall::firewall;
use stage::{api_domain, stage, usage_plan};

use crate::environment::Environment;
use crate::kind::{self, Kind};
use crate::names::Shared;
use crate::template::{LogicalId, Template, get_att, reference, sorted};

/// The only stage of the API. A deployment replaces its content.
const STAGE: &str = "live";

/// Returns the stack with the public entry points.
pub fn edge(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: load balancer, API and firewall");
    let certificate = certificate(&mut template);
    let balancer = balancer(&mut template);
    let targets = targets(&mut template);
    listeners(&mut template, &balancer, &certificate, &targets);
    let link = private_link(&mut template);
    let api = api(
        &mut template,
        &Backend {
            link,
            balancer: balancer.clone(),
        },
    );
    let stage = stage(&mut template, &api);
    usage_plan(&mut template, &api, &stage);
    let api_domain = api_domain(&mut template, &certificate, &api, &stage);
    names(&mut template, &balancer, &api_domain);
    firewall(&mut template, &balancer, &api, &stage);
    template
}

/// Returns the DNS name of the API.
fn api_name(environment: &Environment) -> String {
    format!("api.{}", environment.settings.edge.domain)
}

/// Adds one certificate for both names. ACM renews it as long as its validation records stay in the
/// zone.
fn certificate(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
    let edge = &environment.settings.edge;
    let names = [edge.domain.clone(), api_name(environment)];
    let validation = names
        .each_ref()
        .map(|name| json!({ "DomainName": name, "HostedZoneId": edge.hosted_zone_id }));
    let properties = json!({
        "DomainName": names[0],
        "SubjectAlternativeNames": [names[1]],
        "ValidationMethod": "DNS",
        "DomainValidationOptions": validation,
        "KeyAlgorithm": "RSA_2048",
        "CertificateTransparencyLoggingPreference": "ENABLED",
    });
    template.add("certificate", kind::ACM_CERTIFICATE, properties)
}

fn group(
    template: &mut Template<'_>,
    words: &str,
    about: &str,
    ingress: Value,
    egress: Value,
) -> LogicalId {
    let properties = json!({
        "GroupDescription": about,
        "VpcId": Shared::Vpc.import(template.environment),
        "SecurityGroupIngress": ingress,
        "SecurityGroupEgress": egress,
    });
    template.add(words, kind::EC2_SECURITY_GROUP, properties)
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

/// The target of the API's requests.
struct Backend {
    link: LogicalId,
    balancer: LogicalId,
}

fn private_link(template: &mut Template<'_>) -> LogicalId {
    let group = group(
        template,
        "api link group",
        "From the API to the load balancer",
        json!([]),
        json!([{
            "Description": "The load balancer", "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443,
            "DestinationSecurityGroupId": Shared::BalancerGroup.import(template.environment),
        }]),
    );
    let properties = json!({
        "Name": template.environment.stack_name("api"),
        "SubnetIds": Shared::PrivateSubnets.list(template.environment),
        "SecurityGroupIds": [get_att(&group, "GroupId")],
    });
    template.add("api link", kind::API_V2_VPC_LINK, properties)
}

/// Returns the part of a logical id for a path. The common prefix is left out, because templates
/// have a size limit.
fn words(path: &[&str]) -> String {
    path.strip_prefix(&["api", "v1"])
        .filter(|rest| !rest.is_empty())
        .unwrap_or(path)
        .join(" ")
}

/// A route behind the API gateway, with its path in parts.
struct Operation {
    route: &'static Route,
    path: Vec<&'static str>,
}

/// Returns the operations for programs.
fn operations() -> Vec<Operation> {
    ROUTES
        .iter()
        .filter(|route| route.behind_api_gateway)
        .map(|route| Operation {
            route,
            path: route.path.trim_start_matches('/').split('/').collect(),
        })
        .collect()
}

/// The API, and the deployment that its stage serves.
struct Api {
    id: LogicalId,
    deployment: LogicalId,
}

/// The parts of the API. A deployment is a snapshot of them, so a change of any part must create a
/// new deployment.
struct Parts<'a, 'e> {
    template: &'a mut Template<'e>,
    ids: Vec<LogicalId>,
    text: String,
}

impl Parts<'_, '_> {
    fn add(&mut self, words: &str, kind: Kind, properties: Value) -> LogicalId {
        self.text += &sorted(properties.clone()).to_string();
        let id = self.template.add(words, kind, properties);
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

fn api(template: &mut Template<'_>, backend: &Backend) -> Api {
    let environment = template.environment;
    let name = environment.stack_name("api");
    let mut parts = Parts {
        template,
        ids: Vec::new(),
        text: String::new(),
    };
    let properties = json!({
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
    });
    let id = parts.add("api", kind::API_REST_API, properties);
    let order = order_model(&mut parts, &id);
    let operations = operations();
    let mut resources: Vec<(&[&str], LogicalId)> = Vec::new();
    for operation in &operations {
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
            let words = format!("{} path", words(path));
            let resource = parts.add(&words, kind::API_RESOURCE, properties);
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
            let method = operation.route.method.as_str();
            preflight(&mut parts, path, (&id, resource), method, origin);
        }
    }
    refusals(&mut parts, environment, &id);
    let (digest, ids) = (parts.digest(), std::mem::take(&mut parts.ids));
    let template = parts.template;
    let deployment = template.add(
        &format!("api deployment {digest}"),
        kind::API_DEPLOYMENT,
        json!({ "RestApiId": reference(&id) }),
    );
    template.after(&deployment, &ids.iter().skip(1).collect::<Vec<_>>());
    Shared::ApiName.export(template, json!(name));
    Api { id, deployment }
}

/// The validation of a new order in API Gateway, before the request reaches the storefront.
struct OrderModel {
    model: LogicalId,
    validator: LogicalId,
}

fn order_model(parts: &mut Parts<'_, '_>, api: &LogicalId) -> OrderModel {
    let text = json!({ "type": "string", "minLength": 1 });
    let properties = json!({
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
    });
    let model = parts.add("new order", kind::API_MODEL, properties);
    let validator = parts.add(
        "validator",
        kind::API_REQUEST_VALIDATOR,
        json!({ "RestApiId": reference(api), "ValidateRequestBody": true, "ValidateRequestParameters": true }),
    );
    OrderModel { model, validator }
}

fn method(
    parts: &mut Parts<'_, '_>,
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
    if operation.route.method == Method::Post {
        // The storefront refuses cross-site requests of browsers. Requests on this way carry an API
        // key in a custom header, which browsers send only after a preflight, and no cookie. The
        // check therefore happens here.
        to["integration.request.header.Sec-Fetch-Site"] = json!("'same-origin'");
    }
    let mut properties = json!({
        "RestApiId": reference(api),
        "ResourceId": reference(resource),
        "HttpMethod": operation.route.method.as_str(),
        "AuthorizationType": "NONE",
        "ApiKeyRequired": true,
        "RequestValidatorId": reference(&order.validator),
        "Integration": {
            "Type": "HTTP_PROXY",
            "IntegrationHttpMethod": operation.route.method.as_str(),
            "ConnectionType": "VPC_LINK",
            "ConnectionId": reference(&backend.link),
            "IntegrationTarget": reference(&backend.balancer),
            "Uri": format!("https://{}/{path}", environment.settings.edge.domain),
            // Longer than the storefront's own limit of 10 s, so that its answer arrives.
            "TimeoutInMillis": 12_000,
        },
    });
    if operation.route.id == RouteId::PlaceOrder {
        properties["RequestModels"] = json!({ "application/json": reference(&order.model) });
    }
    if from != json!({}) {
        properties["RequestParameters"] = from;
        properties["Integration"]["RequestParameters"] = to;
    }
    let words = format!(
        "{} {}",
        operation.route.method.as_str().to_lowercase(),
        words(&operation.path)
    );
    parts.add(&words, kind::API_METHOD, properties);
}

/// Adds the answer to a browser's CORS preflight request.
fn preflight(
    parts: &mut Parts<'_, '_>,
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
    let words = format!("options {}", words(path));
    let properties = json!({
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
    });
    parts.add(&words, kind::API_METHOD, properties);
}

/// Adds the gateway's own error responses with CORS headers, so that browsers can read them.
fn refusals(parts: &mut Parts<'_, '_>, environment: &Environment, api: &LogicalId) {
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
        let words = format!("api {words}");
        parts.add(&words, kind::API_GATEWAY_RESPONSE, properties);
    }
}

fn names(template: &mut Template<'_>, balancer: &LogicalId, api_domain: &LogicalId) {
    let environment = template.environment;
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
        let words = format!("{words} record");
        let properties = json!({
            "HostedZoneId": edge.hosted_zone_id,
            "Name": name,
            "Type": "A",
            "AliasTarget": { "DNSName": target, "HostedZoneId": zone, "EvaluateTargetHealth": false },
        });
        template.add(&words, kind::ROUTE53_RECORD_SET, properties);
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
