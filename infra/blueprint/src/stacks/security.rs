//! KMS keys (one per class of data), the permissions boundary of every role, and the role with
//! which CloudFormation deploys.
//!
//! This stack imports nothing. An operator with more permissions than the deploy role deploys it,
//! because whoever may change the boundary is not limited by it.

use contract::parameter_root;
use serde_json::{Value, json};

use super::data::of_the_trail;
use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

/// Returns the stack with the keys, the boundary and the deploy role.
pub fn security(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: keys and boundaries");
    for key in KEYS {
        add_key(&mut template, environment, key);
    }
    let boundary = role_boundary(&mut template, environment);
    deploy_role(&mut template, environment, &boundary);
    template
}

/// A key for one class of data, with the services that use it in their own name.
///
/// Most services are not listed: RDS, ElastiCache, DynamoDB, Kinesis, Secrets Manager and Backup
/// use the caller's permissions or a grant, and IAM controls those. A listed service needs neither.
struct Key {
    shared: Shared,
    slug: &'static str,
    about: &'static str,
    services: fn(&Environment) -> Vec<Value>,
}

const KEYS: &[Key] = &[
    Key {
        shared: Shared::OrdersKey,
        slug: "orders",
        about: "Orders and carts",
        services: nobody,
    },
    Key {
        shared: Shared::StockKey,
        slug: "stock",
        about: "Stock and the stream of events",
        services: nobody,
    },
    Key {
        shared: Shared::MessagesKey,
        slug: "messages",
        about: "Messages on their way",
        services: senders,
    },
    Key {
        shared: Shared::SecretsKey,
        slug: "secrets",
        about: "Secrets",
        services: nobody,
    },
    Key {
        shared: Shared::LogsKey,
        slug: "logs",
        about: "Logs",
        services: loggers,
    },
    Key {
        shared: Shared::StorageKey,
        slug: "storage",
        about: "Buckets",
        services: log_delivery,
    },
];

fn nobody(_: &Environment) -> Vec<Value> {
    Vec::new()
}

/// Returns statements for the services that encrypt or decrypt messages. Queues and topics call KMS
/// on behalf of the sender.
fn senders(_: &Environment) -> Vec<Value> {
    let services = [
        // SNS sends to subscribed queues.
        "sns.amazonaws.com",
        // CloudWatch sends alarms to the operators' topic. With an AWS managed key, alarms would be
        // lost without an error.
        "cloudwatch.amazonaws.com",
        // Notifications about the database, backups, the budget, mails and buckets go to a topic or
        // a queue.
        "events.rds.amazonaws.com",
        "backup.amazonaws.com",
        "budgets.amazonaws.com",
        "ses.amazonaws.com",
        "s3.amazonaws.com",
    ];
    let context = |key: &str, arn: &str| json!({ "ArnLike": { format!("kms:EncryptionContext:{key}"): sub(arn) } });
    let topics = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:*";
    let buses = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/*";
    vec![
        statement(
            "Senders",
            json!(services),
            &["kms:Decrypt", "kms:GenerateDataKey"],
            own_account(),
        ),
        // Rules send to queues, and to the dead-letter queue after a failure. The bus checks the
        // key before it uses it (EventBridge user guide, "Authorizing EventBridge to use a customer
        // managed key").
        statement(
            "Rules",
            json!("events.amazonaws.com"),
            &["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
            own_account(),
        ),
        // Rules send to topics without `aws:SourceAccount`: with that condition, every message
        // would be lost without an error. The topic's ARN restricts the statement to the account
        // instead (SNS developer guide, "Enable compatibility between event sources from AWS
        // services and encrypted topics").
        statement(
            "RulesToTopics",
            json!("events.amazonaws.com"),
            &["kms:Decrypt", "kms:GenerateDataKey"],
            context("aws:sns:topicArn", topics),
        ),
        // Events on the bus and in its archive (EventBridge user guide, "Encrypting EventBridge
        // archives").
        statement(
            "Bus",
            json!("events.amazonaws.com"),
            &[
                "kms:Decrypt",
                "kms:GenerateDataKey",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ],
            context("aws:events:event-bus:arn", buses),
        ),
    ]
}

/// Returns statements for CloudWatch Logs and CloudTrail. CloudWatch Logs sends the log group but
/// not the account (CloudWatch Logs user guide, "Encrypt log data using AWS KMS").
fn loggers(environment: &Environment) -> Vec<Value> {
    let groups = sub("arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*");
    let groups = statement(
        "LogGroups",
        sub("logs.${AWS::Region}.amazonaws.com"),
        &[
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
        ],
        json!({ "ArnLike": { "kms:EncryptionContext:aws:logs:arn": groups } }),
    );
    // CloudTrail describes the key when a trail is created, and encrypts each file with it (AWS
    // CloudTrail User Guide, "Configure AWS KMS key policies for CloudTrail").
    let trail = statement(
        "Trail",
        json!("cloudtrail.amazonaws.com"),
        &[
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
        ],
        of_the_trail(environment),
    );
    vec![groups, trail]
}

/// Returns a statement for logs that AWS services deliver to buckets.
fn log_delivery(_: &Environment) -> Vec<Value> {
    let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
    vec![statement(
        "LogDelivery",
        json!("delivery.logs.amazonaws.com"),
        &actions,
        own_account(),
    )]
}

fn own_account() -> Value {
    json!({ "StringEquals": { "aws:SourceAccount": { "Ref": "AWS::AccountId" } } })
}

fn statement(sid: &str, service: Value, actions: &[&str], condition: Value) -> Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Principal": { "Service": service },
        "Action": actions,
        // In a key policy, `*` is the key itself.
        "Resource": "*",
        "Condition": condition,
    })
}

fn add_key(template: &mut Template, environment: &Environment, key: &Key) {
    // Without this statement nobody could change the policy again, and IAM policies would have no
    // effect (KMS developer guide, "Default key policy"). It grants nothing by itself.
    let mut statements = vec![json!({
        "Sid": "IamDecides",
        "Effect": "Allow",
        "Principal": { "AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root") },
        "Action": "kms:*",
        "Resource": "*",
    })];
    statements.extend((key.services)(environment));
    let id = template.add(
        &format!("{} key", key.slug),
        kind::KMS_KEY,
        json!({
            "Description": format!("Brew Haven {}: {}", environment.name, key.about),
            "Enabled": true,
            "EnableKeyRotation": true,
            "RotationPeriodInDays": 365,
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "MultiRegion": false,
            // The maximum, because data is lost with its key.
            "PendingWindowInDays": 30,
            "KeyPolicy": { "Version": "2012-10-17", "Statement": statements },
        }),
        Keep::Data,
    );
    template.note(
        &id,
        "wildcard",
        json!("In a key's policy * is the key itself; kms:* leaves all to IAM"),
    );
    template.add(
        &format!("{} key alias", key.slug),
        kind::KMS_ALIAS,
        json!({
            "AliasName": format!("alias/{}", environment.stack_name(key.slug)),
            "TargetKeyId": reference(&id),
        }),
        Keep::Nothing,
    );
    key.shared
        .export(template, environment, get_att(&id, "Arn"));
}

/// The maximum permissions of roles on resources of one kind.
struct Limit {
    actions: &'static [&'static str],
    /// ARNs without `arn:<partition>:`. `{ours}` stands for the names that CloudFormation assigns
    /// in this environment, `{root}` for its root in Parameter Store.
    resources: &'static [&'static str],
}

/// The permissions of all our roles: of tasks, of ECS when it starts them, of rules, flow logs,
/// monitoring, replication and backups. A new permission must be added here first; that is the
/// purpose of a boundary.
const LIMITS: &[Limit] = &[
    Limit {
        actions: &[
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
            "sns:Publish",
            "events:PutEvents",
        ],
        resources: &[
            "sqs:{here}:{ours}",
            "sns:{here}:{ours}",
            "events:{here}:event-bus/{ours}",
        ],
    },
    Limit {
        actions: &[
            "dynamodb:ConditionCheckItem",
            "dynamodb:CreateBackup",
            "dynamodb:DescribeBackup",
            "dynamodb:DescribeStream",
            "dynamodb:DescribeTable",
            "dynamodb:GetItem",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListTagsOfResource",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:StartAwsBackupJob",
            "dynamodb:UpdateItem",
        ],
        resources: &["dynamodb:{here}:table/{ours}"],
    },
    Limit {
        actions: &[
            "kinesis:DescribeStream",
            "kinesis:DescribeStreamSummary",
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
            "kinesis:PutRecord",
            "kinesis:PutRecords",
        ],
        resources: &["kinesis:{here}:stream/{ours}"],
    },
    Limit {
        actions: &[
            "s3:AbortMultipartUpload",
            "s3:GetBucketLocation",
            "s3:GetObject",
            "s3:GetObjectLegalHold",
            "s3:GetObjectRetention",
            "s3:GetObjectVersion",
            "s3:GetObjectVersionAcl",
            "s3:GetObjectVersionForReplication",
            "s3:GetObjectVersionTagging",
            "s3:GetReplicationConfiguration",
            "s3:ListBucket",
            "s3:ListBucketMultipartUploads",
            "s3:PutObject",
            "s3:ReplicateObject",
            "s3:ReplicateTags",
        ],
        resources: &["s3:::{ours}"],
    },
    Limit {
        actions: &[
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
            "ssm:GetParameter",
            "ssm:GetParameters",
            "ssm:GetParametersByPath",
        ],
        resources: &[
            "secretsmanager:{here}:secret:*",
            "ssm:{here}:parameter{root}",
            "ssm:{here}:parameter{root}/*",
        ],
    },
    Limit {
        actions: &[
            "kms:CreateGrant",
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
        ],
        resources: &["kms:{here}:key/*", "kms:{copies}:key/*"],
    },
    Limit {
        actions: &[
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogGroups",
            "logs:DescribeLogStreams",
            "logs:FilterLogEvents",
            "logs:GetLogEvents",
            "logs:PutLogEvents",
            "logs:PutRetentionPolicy",
        ],
        resources: &["logs:{here}:log-group:*"],
    },
    Limit {
        actions: &[
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
            "ses:SendEmail",
            "ses:SendRawEmail",
        ],
        resources: &["ecr:{here}:repository/*", "ses:{here}:*"],
    },
    // Blue/green deployments change the balancer's rules
    // (AmazonECSInfrastructureRolePolicyForLoadBalancers).
    Limit {
        actions: &[
            "elasticloadbalancing:DeregisterTargets",
            "elasticloadbalancing:ModifyListener",
            "elasticloadbalancing:ModifyRule",
            "elasticloadbalancing:RegisterTargets",
        ],
        resources: &["elasticloadbalancing:{here}:*"],
    },
    // Backups of databases, and their copies in another region.
    Limit {
        actions: &[
            "backup:CopyFromBackupVault",
            "backup:CopyIntoBackupVault",
            "backup:DescribeBackupVault",
            "rds:AddTagsToResource",
            "rds:CopyDBClusterSnapshot",
            "rds:CopyDBSnapshot",
            "rds:CreateDBClusterSnapshot",
            "rds:CreateDBSnapshot",
            "rds:DeleteDBClusterSnapshot",
            "rds:DeleteDBSnapshot",
            "rds:DescribeDBClusterSnapshots",
            "rds:DescribeDBClusters",
            "rds:DescribeDBInstances",
            "rds:DescribeDBSnapshots",
            "rds:ListTagsForResource",
            "rds:ModifyDBInstance",
        ],
        resources: &[
            "backup:{here}:*",
            "backup:{copies}:*",
            "rds:{here}:*",
            "rds:{copies}:*",
        ],
    },
];

/// Actions that AWS cannot restrict to a resource.
const ANYWHERE: &[&str] = &[
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "tag:GetResources",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
];

/// Returns the region of backup copies, or the own region if there are none.
fn copies_region(environment: &Environment) -> &str {
    match environment.settings.backup.copy_to_region.as_str() {
        "" => "${AWS::Region}",
        region => region,
    }
}

fn limited(environment: &Environment, limit: &Limit) -> Value {
    let resource = |pattern: &&str| {
        let pattern = pattern
            .replace("{here}", "${AWS::Region}:${AWS::AccountId}")
            .replace(
                "{copies}",
                &format!("{}:${{AWS::AccountId}}", copies_region(environment)),
            )
            .replace("{ours}", &environment.stack_name("*"))
            .replace("{root}", &parameter_root(&environment.name));
        format!("arn:${{AWS::Partition}}:{pattern}")
    };
    let mut resources: Vec<String> = limit.resources.iter().map(resource).collect();
    resources.dedup();
    let resources: Vec<Value> = resources.iter().map(|resource| sub(resource)).collect();
    json!({ "Effect": "Allow", "Action": limit.actions, "Resource": resources })
}

/// Adds the boundary: the maximum of every role, whatever its policies allow.
fn role_boundary(template: &mut Template, environment: &Environment) -> LogicalId {
    let mut statements: Vec<Value> = LIMITS
        .iter()
        .map(|limit| limited(environment, limit))
        .collect();
    statements.push(json!({ "Effect": "Allow", "Action": ANYWHERE, "Resource": "*" }));
    // Text messages to phones. The roles' own policies decide which role may send and deny topics.
    statements.push(json!({
        "Effect": "Allow",
        "Action": "sns:Publish",
        "Resource": "*",
        "Condition": crate::roles::from_here(),
    }));
    // No statement above allows these actions. The explicit deny keeps a later mistake above from
    // allowing them.
    statements.push(json!({
        "Sid": "NoRights",
        "Effect": "Deny",
        "Action": ["iam:*", "organizations:*", "account:*", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"],
        "Resource": "*",
    }));
    statements.push(stay_in_region(environment));
    statements.push(json!({
        "Sid": "StayInAccount",
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {
            "StringNotEquals": { "aws:ResourceAccount": { "Ref": "AWS::AccountId" } },
            // Calls without a resource, such as PutTraceSegments, have no resource account.
            "Null": { "aws:ResourceAccount": false },
        },
    }));
    let id = template.add(
        "role boundary",
        kind::IAM_MANAGED_POLICY,
        json!({
            "Description": "What no role of Brew Haven can go beyond",
            "PolicyDocument": { "Version": "2012-10-17", "Statement": statements },
        }),
        Keep::Nothing,
    );
    let reason = "Denials are of everything; what is allowed on * has no narrower resource";
    template.note(&id, "wildcard", json!(reason));
    template.waive(&id, &["IAM-2"], reason);
    Shared::RoleBoundary.export(template, environment, reference(&id));
    id
}

fn stay_in_region(environment: &Environment) -> Value {
    let mut regions = vec![json!({ "Ref": "AWS::Region" })];
    if !environment.settings.backup.copy_to_region.is_empty() {
        regions.push(json!(environment.settings.backup.copy_to_region));
    }
    json!({
        "Sid": "StayInRegion",
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": { "StringNotEquals": { "aws:RequestedRegion": regions } },
    })
}

/// Services to which a deployment may pass one of our roles.
const ROLE_TAKERS: &[&str] = &[
    "apigateway.amazonaws.com",
    "backup.amazonaws.com",
    "cloudtrail.amazonaws.com",
    "ecs-tasks.amazonaws.com",
    "ecs.amazonaws.com",
    "events.amazonaws.com",
    "firehose.amazonaws.com",
    "monitoring.rds.amazonaws.com",
    "s3.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
];

/// Services for which AWS creates service-linked roles on first use.
const LINKED_ROLE_SERVICES: &[&str] = &[
    "backup.amazonaws.com",
    "ecs.amazonaws.com",
    "ecs.application-autoscaling.amazonaws.com",
    "elasticache.amazonaws.com",
    "elasticloadbalancing.amazonaws.com",
    "ops.apigateway.amazonaws.com",
    "rds.amazonaws.com",
    "wafv2.amazonaws.com",
];

/// Adds the role with which CloudFormation deploys all stacks but this one, unless `bootstrap` has
/// created a narrower one. Its permissions are PowerUserAccess, which excludes IAM, and a policy of
/// ours for IAM: it may create only roles with the boundary.
fn deploy_role(template: &mut Template, environment: &Environment, boundary: &LogicalId) {
    let role = template.add(
        "deploy role",
        kind::IAM_ROLE,
        json!({
            "Description": "CloudFormation deploys with it",
            "AssumeRolePolicyDocument": cloudformation_trust(environment),
            "ManagedPolicyArns": [sub("arn:${AWS::Partition}:iam::aws:policy/PowerUserAccess")],
        }),
        Keep::Nothing,
    );
    let reason = "It makes everything there is; the deploy policy denies what it must not do";
    template.waive(&role, &["IAM-4", "IAM-7"], reason);
    let inside = json!({ "StringEquals": { "iam:PermissionsBoundary": reference(boundary) } });
    let policy = template.add(
        "deploy policy",
        kind::IAM_MANAGED_POLICY,
        json!({
            "Description": "What a deployment may do with IAM, and what it may not do at all",
            "PolicyDocument": { "Version": "2012-10-17", "Statement": deploy_statements(environment, &inside) },
            "Roles": [reference(&role)],
        }),
        Keep::Nothing,
    );
    template.note(&policy, "wildcard", json!("Only in denials"));
    Shared::DeployRole.export(template, environment, get_att(&role, "Arn"));
}

/// Returns a trust policy for CloudFormation, for our stacks only.
pub fn cloudformation_trust(environment: &Environment) -> Value {
    let stacks = format!(
        "arn:${{AWS::Partition}}:cloudformation:${{AWS::Region}}:${{AWS::AccountId}}:stack/{}/*",
        environment.stack_name("*")
    );
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "cloudformation.amazonaws.com" },
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": { "aws:SourceAccount": { "Ref": "AWS::AccountId" } },
                "ArnLike": { "aws:SourceArn": sub(&stacks) },
            },
        }],
    })
}

/// Returns the IAM permissions of a deployment, and what it must not do. `inside` is the condition
/// that a role has the boundary.
pub fn deploy_statements(environment: &Environment, inside: &Value) -> Vec<Value> {
    let named = |kind: &str, slug: &str| {
        sub(&format!(
            "arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:{kind}/{}",
            environment.stack_name(slug)
        ))
    };
    let (roles, policies) = (named("role", "*"), named("policy", "*"));
    vec![
        json!({
            "Sid": "RolesInsideTheBoundary",
            "Effect": "Allow",
            "Action": [
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DetachRolePolicy",
                "iam:PutRolePermissionsBoundary",
            ],
            "Resource": roles,
            "Condition": inside,
        }),
        json!({
            "Sid": "Roles",
            "Effect": "Allow",
            "Action": [
                "iam:DeleteRole",
                "iam:GetRole",
                "iam:GetRolePolicy",
                "iam:ListAttachedRolePolicies",
                "iam:ListRolePolicies",
                "iam:TagRole",
                "iam:UntagRole",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
                "iam:UpdateRoleDescription",
            ],
            "Resource": roles,
        }),
        json!({
            "Sid": "Policies",
            "Effect": "Allow",
            "Action": [
                "iam:CreatePolicy",
                "iam:CreatePolicyVersion",
                "iam:DeletePolicy",
                "iam:DeletePolicyVersion",
                "iam:GetPolicy",
                "iam:GetPolicyVersion",
                "iam:ListEntitiesForPolicy",
                "iam:ListPolicyVersions",
            ],
            "Resource": policies,
        }),
        json!({
            "Sid": "HandRolesOver",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": roles,
            "Condition": { "StringEquals": { "iam:PassedToService": ROLE_TAKERS } },
        }),
        json!({
            "Sid": "LinkedRoles",
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/*"),
            "Condition": { "StringEquals": { "iam:AWSServiceName": LINKED_ROLE_SERVICES } },
        }),
        // Deployments must not change the roles of this stack and of `bootstrap`, or pass them to
        // any service except CloudFormation.
        json!({
            "Sid": "NotItself",
            "Effect": "Deny",
            "Action": [
                "iam:AttachRolePolicy",
                "iam:CreatePolicyVersion",
                "iam:DeletePolicy",
                "iam:DeletePolicyVersion",
                "iam:DeleteRole",
                "iam:DetachRolePolicy",
                "iam:PassRole",
                "iam:PutRolePermissionsBoundary",
                "iam:SetDefaultPolicyVersion",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
            ],
            "Resource": [
                named("role", "security-*"),
                named("policy", "security-*"),
                named("role", "bootstrap-*"),
                named("policy", "bootstrap-*"),
            ],
        }),
        json!({
            "Sid": "BoundariesAndKeysStay",
            "Effect": "Deny",
            "Action": [
                "iam:DeleteRolePermissionsBoundary",
                "kms:DeleteAlias",
                "kms:DisableKey",
                "kms:DisableKeyRotation",
                "kms:PutKeyPolicy",
                "kms:ScheduleKeyDeletion",
            ],
            "Resource": "*",
        }),
        stay_in_regions_of_deployments(environment),
    ]
}

/// Adds `us-east-1`, in which IAM, budgets and Route 53 are called from any region.
fn stay_in_regions_of_deployments(environment: &Environment) -> Value {
    let mut statement = stay_in_region(environment);
    if let Some(regions) =
        statement["Condition"]["StringNotEquals"]["aws:RequestedRegion"].as_array_mut()
    {
        regions.push(json!("us-east-1"));
    }
    statement
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use contract::role::ROLES;

    use super::*;

    fn environments() -> Vec<Environment> {
        ["dev", "staging", "prod"]
            .into_iter()
            .filter_map(Environment::named)
            .collect()
    }

    fn resources<'a>(template: &'a Value, kind: &str) -> Vec<(&'a String, &'a Value)> {
        let resources = template["Resources"].as_object().expect("resources");
        resources
            .iter()
            .filter(|(_, resource)| resource["Type"] == kind)
            .collect()
    }

    fn statements<'a>(template: &'a Value, resource: &str) -> Vec<&'a Value> {
        let properties = &template["Resources"][resource]["Properties"];
        let document = properties
            .get("PolicyDocument")
            .unwrap_or(&properties["KeyPolicy"]);
        document["Statement"]
            .as_array()
            .expect("statements")
            .iter()
            .collect()
    }

    /// Returns the texts of a string or a list.
    fn texts(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) => vec![text],
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn services(statement: &Value) -> Vec<&str> {
        texts(&statement["Principal"]["Service"])
    }

    #[test]
    fn every_class_of_data_has_a_key_that_turns_and_is_not_lost() {
        for environment in environments() {
            let template = security(&environment).into_json();
            let keys = resources(&template, "AWS::KMS::Key");
            assert_eq!(keys.len(), 6);
            for (name, key) in keys {
                let properties = &key["Properties"];
                assert_eq!(properties["EnableKeyRotation"], true, "{name}");
                assert_eq!(properties["PendingWindowInDays"], 30, "{name}");
                assert_eq!(key["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
                assert_eq!(key["UpdateReplacePolicy"], "Retain", "{name}");
            }
            let aliases = resources(&template, "AWS::KMS::Alias");
            let targets = aliases
                .iter()
                .map(|(_, alias)| alias["Properties"]["TargetKeyId"]["Ref"].as_str());
            let targets: BTreeSet<_> = targets.collect();
            assert_eq!(targets.len(), 6, "an alias each");
        }
    }

    #[test]
    fn nobody_of_another_account_may_use_a_key() {
        for environment in environments() {
            let template = security(&environment).into_json();
            for (name, _) in resources(&template, "AWS::KMS::Key") {
                for statement in statements(&template, name) {
                    if statement["Principal"].get("AWS").is_some() {
                        let root = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root";
                        assert_eq!(statement["Principal"]["AWS"]["Fn::Sub"], root, "{name}");
                        continue;
                    }
                    assert!(
                        texts(&statement["Action"])
                            .iter()
                            .all(|action| !action.contains('*')),
                        "{name}"
                    );
                    let account =
                        &statement["Condition"]["StringEquals"]["aws:SourceAccount"]["Ref"];
                    let context = statement["Condition"]["ArnLike"].as_object();
                    let own = context.is_some_and(|context| {
                        context.iter().all(|(key, arn)| {
                            key.starts_with("kms:EncryptionContext:")
                                && arn["Fn::Sub"]
                                    .as_str()
                                    .is_some_and(|arn| arn.contains(":${AWS::AccountId}:"))
                        }) && !context.is_empty()
                    });
                    // A single resource of our account as the source.
                    let source =
                        statement["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Sub"].as_str();
                    let source = source.is_some_and(|arn| arn.contains(":${AWS::AccountId}:"));
                    assert!(
                        account == "AWS::AccountId" || own || source,
                        "{name}: {statement}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_chain_of_messages_has_the_key_it_passes_through() {
        let template = security(&environments()[0]).into_json();
        let statements = statements(&template, "MessagesKey");
        let allowed = |service: &str, action: &str, condition: &str| {
            statements.iter().any(|statement| {
                services(statement).contains(&service)
                    && texts(&statement["Action"]).contains(&action)
                    && statement["Condition"].to_string().contains(condition)
            })
        };
        for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
            // From a topic to a queue, and from an alarm to a topic.
            assert!(allowed("sns.amazonaws.com", action, "aws:SourceAccount"));
            assert!(allowed(
                "cloudwatch.amazonaws.com",
                action,
                "aws:SourceAccount"
            ));
            // From a rule to a queue or a topic, and from an event to the bus.
            assert!(allowed("events.amazonaws.com", action, "aws:SourceAccount"));
            assert!(allowed("events.amazonaws.com", action, "aws:sns:topicArn"));
            assert!(allowed(
                "events.amazonaws.com",
                action,
                "aws:events:event-bus:arn"
            ));
        }
    }

    #[test]
    fn eventbridge_reaches_topics_without_the_condition_it_cannot_meet() {
        let template = security(&environments()[0]).into_json();
        let statements = statements(&template, "MessagesKey");
        let to_topics = statements
            .iter()
            .find(|statement| statement["Sid"] == "RulesToTopics")
            .expect("there");
        assert!(
            !to_topics["Condition"].to_string().contains("aws:Source"),
            "every message would be lost in silence"
        );
    }

    fn boundary_actions(template: &Value) -> BTreeSet<&str> {
        let allowed = statements(template, "RoleBoundary")
            .into_iter()
            .filter(|statement| statement["Effect"] == "Allow");
        allowed
            .flat_map(|statement| texts(&statement["Action"]))
            .collect()
    }

    #[test]
    fn the_boundary_leaves_every_role_what_it_needs() {
        let environment = &environments()[0];
        let template = security(environment).into_json();
        let allowed = boundary_actions(&template);
        for role in ROLES {
            for statement in crate::statements(role, environment) {
                for action in statement.actions {
                    assert!(
                        allowed.contains(action),
                        "{} {}: {action}",
                        role.slug,
                        statement.because
                    );
                }
            }
        }
    }

    #[test]
    fn the_boundary_gives_no_rights_over_rights_and_holds_everything_in_place() {
        for environment in environments() {
            let template = security(&environment).into_json();
            for action in boundary_actions(&template) {
                assert!(!action.contains('*'), "{action}");
                assert!(
                    !action.starts_with("iam:") && !action.starts_with("sts:"),
                    "{action}"
                );
            }
            let statements = statements(&template, "RoleBoundary");
            let denied = |sid: &str| {
                let found = statements
                    .iter()
                    .find(|statement| statement["Sid"] == sid && statement["Effect"] == "Deny");
                (*found.unwrap_or_else(|| panic!("{sid}"))).clone()
            };
            assert!(texts(&denied("NoRights")["Action"]).contains(&"iam:*"));
            assert_eq!(denied("StayInAccount")["Action"], "*");
            let region = denied("StayInRegion");
            let regions = region["Condition"]["StringNotEquals"]["aws:RequestedRegion"]
                .as_array()
                .expect("a list");
            let copies = usize::from(!environment.settings.backup.copy_to_region.is_empty());
            assert_eq!(
                regions.len(),
                1 + copies,
                "its own, and the one of its copies"
            );
        }
    }

    /// Resolves a value as CloudFormation would.
    fn resolved(value: &Value) -> Value {
        match value {
            Value::Object(object) => match (
                object.get("Fn::Sub").and_then(Value::as_str),
                object.get("Ref"),
            ) {
                (Some(text), _) => {
                    let text = text
                        .replace("${AWS::Partition}", "aws-us-gov")
                        .replace("${AWS::Region}", "ap-southeast-2");
                    json!(text.replace("${AWS::AccountId}", "123456789012"))
                }
                (None, Some(_)) => {
                    json!(
                        "arn:aws-us-gov:iam::123456789012:policy/a-name-of-some-forty-characters-0123"
                    )
                }
                (None, None) => object
                    .iter()
                    .map(|(key, value)| (key.clone(), resolved(value)))
                    .collect(),
            },
            Value::Array(values) => values.iter().map(resolved).collect(),
            other => other.clone(),
        }
    }

    #[test]
    fn policies_fit_into_what_iam_takes() {
        for environment in environments() {
            let template = security(&environment).into_json();
            for (name, policy) in resources(&template, "AWS::IAM::ManagedPolicy") {
                // A managed policy has at most 6,144 characters, white space not counted (IAM and
                // STS quotas).
                let size = resolved(&policy["Properties"]["PolicyDocument"])
                    .to_string()
                    .len();
                assert!(size <= 6_144, "{name} of {}: {size}", environment.name);
            }
        }
    }

    #[test]
    fn a_deployment_makes_only_roles_inside_the_boundary_and_hands_over_only_ours() {
        for environment in environments() {
            let template = security(&environment).into_json();
            let statements = statements(&template, "DeployPolicy");
            let allowing = |action: &str| -> Vec<&Value> {
                let allow = statements
                    .iter()
                    .filter(|statement| statement["Effect"] == "Allow");
                allow
                    .filter(|statement| texts(&statement["Action"]).contains(&action))
                    .copied()
                    .collect()
            };
            for action in [
                "iam:CreateRole",
                "iam:AttachRolePolicy",
                "iam:PutRolePermissionsBoundary",
            ] {
                for statement in allowing(action) {
                    let boundary =
                        &statement["Condition"]["StringEquals"]["iam:PermissionsBoundary"]["Ref"];
                    assert_eq!(boundary, "RoleBoundary", "{action}");
                }
            }
            let [pass] = allowing("iam:PassRole")[..] else {
                panic!("one statement")
            };
            let ours = format!(":role/brew-haven-{}-*", environment.name);
            assert!(
                pass["Resource"]["Fn::Sub"]
                    .as_str()
                    .is_some_and(|arn| arn.ends_with(&ours))
            );
            assert!(!texts(&pass["Condition"]["StringEquals"]["iam:PassedToService"]).is_empty());
            for statement in statements
                .iter()
                .filter(|statement| statement["Effect"] == "Allow")
            {
                assert_ne!(statement["Resource"], "*");
                assert!(
                    texts(&statement["Action"])
                        .iter()
                        .all(|action| !action.contains('*'))
                );
            }
            // Inline policies would bypass the review of managed policies.
            assert!(allowing("iam:PutRolePolicy").is_empty());
        }
    }

    #[test]
    fn a_deployment_cannot_lift_its_own_limits() {
        let template = security(&environments()[0]).into_json();
        let statements = statements(&template, "DeployPolicy");
        let denied: BTreeSet<&str> = statements
            .iter()
            .filter(|statement| statement["Effect"] == "Deny")
            .flat_map(|statement| texts(&statement["Action"]))
            .collect();
        for action in [
            "iam:AttachRolePolicy",
            "iam:CreatePolicyVersion",
            "iam:DeleteRolePermissionsBoundary",
            "iam:SetDefaultPolicyVersion",
            "iam:UpdateAssumeRolePolicy",
            "kms:PutKeyPolicy",
            "kms:ScheduleKeyDeletion",
        ] {
            assert!(denied.contains(action), "{action}");
        }
    }

    #[test]
    fn it_needs_no_other_stack() {
        for environment in environments() {
            assert!(
                !security(&environment)
                    .into_json()
                    .to_string()
                    .contains("Fn::ImportValue")
            );
        }
    }
}
