//! The VPC endpoints, through which tasks call AWS services without NAT.

use contract::parameter_root;
use serde_json::{Value, json};

use super::tags;
use crate::environment::Environment;
use crate::kind;
use crate::roles::{PULL_IMAGES, document};
use crate::template::{LogicalId, Template, get_att, reference, sub};

/// The traffic through an endpoint: exactly the calls of tasks, and of ECS when it starts them.
struct Endpoint {
    /// The part after `com.amazonaws.<region>.`.
    service: &'static str,
    actions: &'static [&'static str],
    /// The part after `arn:<partition>:`.
    resource: &'static str,
}

const DYNAMODB: Endpoint = Endpoint {
    service: "dynamodb",
    actions: &[
        "dynamodb:DescribeTable",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:Scan",
        "dynamodb:UpdateItem",
    ],
    resource: "dynamodb:${AWS::Region}:${AWS::AccountId}:table/*",
};

const REPOSITORIES: &str = "ecr:${AWS::Region}:${AWS::AccountId}:repository/*";

/// The interface endpoints. These services have none:
/// - `monitoring` and `kinesis-streams`: metrics leave as log lines, and the event bus fills the
///   stream;
/// - `dynamodb-streams`: its endpoint has no private DNS name (DynamoDB developer guide, "AWS
///   PrivateLink for DynamoDB Streams"), so clients would not use it, and the gateway endpoint does
///   not carry streams. They go through NAT with TLS;
/// - `email` and `xray`: their traffic is small.
const INTERFACES: &[Endpoint] = &[
    Endpoint {
        service: "sqs",
        actions: &[
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ],
        resource: "sqs:${AWS::Region}:${AWS::AccountId}:*",
    },
    Endpoint {
        service: "sns",
        actions: &["sns:Publish"],
        resource: "sns:${AWS::Region}:${AWS::AccountId}:*",
    },
    Endpoint {
        service: "events",
        actions: &["events:PutEvents"],
        resource: "events:${AWS::Region}:${AWS::AccountId}:event-bus/*",
    },
    Endpoint {
        service: "kms",
        actions: &["kms:Decrypt", "kms:GenerateDataKey"],
        resource: "kms:${AWS::Region}:${AWS::AccountId}:key/*",
    },
    Endpoint {
        service: "secretsmanager",
        actions: &[
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
        ],
        resource: "secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:*",
    },
    Endpoint {
        service: "ssm",
        actions: &["ssm:GetParameter", "ssm:GetParametersByPath"],
        // The secrets of the environment: see `resource_of`.
        resource: "",
    },
    Endpoint {
        service: "logs",
        actions: &[
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
        ],
        resource: "logs:${AWS::Region}:${AWS::AccountId}:log-group:*",
    },
    Endpoint {
        service: "ecr.api",
        actions: PULL_IMAGES,
        resource: REPOSITORIES,
    },
    Endpoint {
        service: "ecr.dkr",
        actions: PULL_IMAGES,
        resource: REPOSITORIES,
    },
];

fn resource_of(environment: &Environment, endpoint: &Endpoint) -> Value {
    match endpoint.service {
        // Reading by path is authorized by the root's own ARN.
        "ssm" => {
            let root = format!(
                "ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter{}",
                parameter_root(&environment.name)
            );
            json!([
                sub(&format!("arn:${{AWS::Partition}}:{root}")),
                sub(&format!("arn:${{AWS::Partition}}:{root}/*"))
            ])
        }
        _ => sub(&format!("arn:${{AWS::Partition}}:{}", endpoint.resource)),
    }
}

/// Returns a statement of an endpoint's policy, which limits the traffic and grants nothing.
/// Callers must belong to our account, so that data cannot leave with the credentials of another account.
fn through(actions: &[&str], resource: Value) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": "*",
        "Action": actions,
        "Resource": resource,
        "Condition": { "StringEquals": { "aws:PrincipalAccount": { "Ref": "AWS::AccountId" } } },
    })
}

fn service_name(service: &str) -> Value {
    sub(&format!("com.amazonaws.${{AWS::Region}}.{service}"))
}

/// Adds the gateway endpoints, which are free and take most traffic from NAT: image layers and
/// tables.
pub(super) fn gateway_endpoints(
    template: &mut Template<'_>,
    vpc: &LogicalId,
    tables: &[LogicalId],
) {
    let environment = template.environment;
    let mut own_buckets = through(
        &[
            "s3:AbortMultipartUpload",
            "s3:GetObject",
            "s3:ListBucket",
            "s3:PutObject",
        ],
        sub(&format!(
            "arn:${{AWS::Partition}}:s3:::{}",
            environment.stack_name("*")
        )),
    );
    // S3 ARNs contain no account: a bucket with such a name may belong to anybody.
    own_buckets["Condition"]["StringEquals"]["aws:ResourceAccount"] =
        json!({ "Ref": "AWS::AccountId" });
    // Image layers are in a bucket of ECR and are fetched with presigned URLs (ECR user guide,
    // "Minimum Amazon S3 bucket permissions for Amazon ECR").
    let layers = json!({
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": sub("arn:${AWS::Partition}:s3:::prod-${AWS::Region}-starport-layer-bucket/*"),
    });
    let tables_only = through(DYNAMODB.actions, resource_of(environment, &DYNAMODB));
    for (service, statements) in [
        ("s3", vec![own_buckets, layers]),
        (DYNAMODB.service, vec![tables_only]),
    ] {
        let words = format!("{service} endpoint");
        let properties = json!({
            "ServiceName": service_name(service),
            "VpcEndpointType": "Gateway",
            "VpcId": reference(vpc),
            "RouteTableIds": tables.iter().map(reference).collect::<Vec<_>>(),
            "PolicyDocument": document(statements),
            "Tags": tags(environment, service),
        });
        template.add(&words, kind::EC2_VPC_ENDPOINT, properties);
    }
}

/// Adds the interface endpoints, the same in every environment. Each is charged per zone and hour.
/// They are in as many zones as NAT gateways: with one gateway, the loss of its zone is an outage
/// anyway.
pub(super) fn interface_endpoints(
    template: &mut Template<'_>,
    vpc: &LogicalId,
    private: &[LogicalId],
    group: &LogicalId,
) {
    let environment = template.environment;
    let zones = usize::from(environment.settings.network.nat_gateways).max(1);
    let subnets: Vec<Value> = private.iter().take(zones).map(reference).collect();
    for endpoint in INTERFACES {
        let mut statements = vec![through(
            endpoint.actions,
            resource_of(environment, endpoint),
        )];
        let of_no_resource = of_no_resource(endpoint.service);
        if let Some((action, _)) = of_no_resource {
            statements.push(through(&[action], json!("*")));
        }
        let words = format!("{} endpoint", endpoint.service);
        let properties = json!({
            "ServiceName": service_name(endpoint.service),
            "VpcEndpointType": "Interface",
            "VpcId": reference(vpc),
            "SubnetIds": subnets,
            "SecurityGroupIds": [get_att(group, "GroupId")],
            "PrivateDnsEnabled": true,
            "PolicyDocument": document(statements),
            "Tags": tags(environment, endpoint.service),
        });
        let id = template.add(&words, kind::EC2_VPC_ENDPOINT, properties);
        if let Some((_, reason)) = of_no_resource {
            template.note(&id, "wildcard", reason);
        }
    }
}

/// Returns the service's action that IAM cannot restrict to a resource, with the reason.
fn of_no_resource(service: &str) -> Option<(&'static str, &'static str)> {
    match service {
        "ecr.api" => Some((
            "ecr:GetAuthorizationToken",
            "ecr:GetAuthorizationToken supports no resources, so no ARN limits the action",
        )),
        "sns" => Some((
            "sns:Publish",
            "IAM has no resource for phones: text messages are published to *",
        )),
        _ => None,
    }
}
