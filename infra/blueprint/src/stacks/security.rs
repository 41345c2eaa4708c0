//! Keys, one a class of data, the boundary of every role, and the role that CloudFormation deploys with.
//!
//! This stack imports nothing and is deployed by a human with more rights than the deploy role has: whoever may change
//! the boundary is not held by it.

use serde_json::{Value, json};

use super::shared::Shared;
use crate::Environment;
use crate::template::{Keep, LogicalId, Template, get_att, reference, sub};

pub fn security(environment: &Environment) -> Template {
    let mut template = Template::new("Brew Haven: keys and boundaries");
    for key in KEYS {
        add_key(&mut template, environment, key);
    }
    let boundary = role_boundary(&mut template, environment);
    deploy_role(&mut template, environment, &boundary);
    template
}

/// A key for one class of data, and the services that use it in their own name.
///
/// Most services are not among them: RDS, ElastiCache, DynamoDB, Kinesis, Secrets Manager and Backup act with the rights
/// of whoever asks, or with a grant from them, and those rights come from IAM. A service named here needs none of that.
struct Key {
    shared: Shared,
    slug: &'static str,
    about: &'static str,
    services: fn(&Environment) -> Vec<Value>,
}

const KEYS: &[Key] = &[
    Key { shared: Shared::OrdersKey, slug: "orders", about: "Orders and carts", services: nobody },
    Key { shared: Shared::StockKey, slug: "stock", about: "Stock and the stream of events", services: nobody },
    Key { shared: Shared::MessagesKey, slug: "messages", about: "Messages on their way", services: senders },
    Key { shared: Shared::SecretsKey, slug: "secrets", about: "Secrets", services: nobody },
    Key { shared: Shared::LogsKey, slug: "logs", about: "Logs", services: log_groups },
    Key { shared: Shared::StorageKey, slug: "storage", about: "Buckets", services: log_delivery },
];

fn nobody(_environment: &Environment) -> Vec<Value> {
    Vec::new()
}

/// Who encrypts or decrypts messages in the chains: queues and topics ask the key in the name of whoever sends to them.
fn senders(_environment: &Environment) -> Vec<Value> {
    let services = [
        // To subscribed queues.
        "sns.amazonaws.com",
        // Alarms to the topic of whoever is on call; a key of AWS's own would lose them in silence.
        "cloudwatch.amazonaws.com",
        // What happens to the database, to backups, to the bill, to mails and in buckets: each to a topic or queue.
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
        statement("Senders", json!(services), &["kms:Decrypt", "kms:GenerateDataKey"], own_account()),
        // Queues that rules send to when a target fails. The bus checks the key before it uses it (EventBridge user guide,
        // "Authorizing EventBridge to use a customer managed key").
        statement(
            "Rules",
            json!("events.amazonaws.com"),
            &["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
            own_account(),
        ),
        // Rules to topics: here EventBridge sends no `aws:SourceAccount`, and with that condition every message would be
        // lost in silence (SNS developer guide, "Enable compatibility between event sources from AWS services and
        // encrypted topics"). The topic's ARN holds it to the own account instead.
        statement(
            "RulesToTopics",
            json!("events.amazonaws.com"),
            &["kms:Decrypt", "kms:GenerateDataKey"],
            context("aws:sns:topicArn", topics),
        ),
        // Events on the bus and in its archive (EventBridge user guide, "Encrypting EventBridge archives").
        statement(
            "Bus",
            json!("events.amazonaws.com"),
            &["kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"],
            context("aws:events:event-bus:arn", buses),
        ),
    ]
}

/// CloudWatch Logs says for which log group it asks, and not for which account (CloudWatch Logs user guide, "Encrypt log
/// data using AWS KMS").
fn log_groups(_environment: &Environment) -> Vec<Value> {
    let groups = sub("arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*");
    vec![statement(
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
    )]
}

/// Logs that AWS services put into buckets.
fn log_delivery(_environment: &Environment) -> Vec<Value> {
    let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
    vec![statement("LogDelivery", json!("delivery.logs.amazonaws.com"), &actions, own_account())]
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
        // In a key's policy: this key.
        "Resource": "*",
        "Condition": condition,
    })
}

fn add_key(template: &mut Template, environment: &Environment, key: &Key) {
    // Without it nobody could change the policy again, and IAM could grant nothing (KMS developer guide, "Default key
    // policy"). It gives no right to anybody by itself.
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
        "AWS::KMS::Key",
        json!({
            "Description": format!("Brew Haven {}: {}", environment.name, key.about),
            "Enabled": true,
            "EnableKeyRotation": true,
            "RotationPeriodInDays": 365,
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "MultiRegion": false,
            // The longest there is: what it encrypts is lost with it.
            "PendingWindowInDays": 30,
            "KeyPolicy": { "Version": "2012-10-17", "Statement": statements },
            "Tags": environment.tags(),
        }),
        Keep::Data,
    );
    template.note(&id, "wildcard", json!("In a key's policy * is the key itself; kms:* leaves all to IAM"));
    template.add(
        &format!("{} key alias", key.slug),
        "AWS::KMS::Alias",
        json!({
            "AliasName": format!("alias/{}", environment.stack_name(key.slug)),
            "TargetKeyId": reference(&id),
        }),
        Keep::Nothing,
    );
    key.shared.export(template, environment, key.about, get_att(&id, "Arn"));
}

/// What roles may do at most to resources of one kind.
struct Limit {
    actions: &'static [&'static str],
    /// After `arn:<partition>:`. `{ours}` is the beginning of the names that CloudFormation gives in this environment.
    resources: &'static [&'static str],
}

/// Every right that some role of ours has: of tasks, of ECS that starts them, of rules, flow logs, monitoring,
/// replication and backups. A role that needs more needs it here first: that is the point of a boundary.
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
        resources: &["sqs:{here}:{ours}", "sns:{here}:{ours}", "events:{here}:event-bus/{ours}"],
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
        resources: &["secretsmanager:{here}:secret:*", "ssm:{here}:parameter/brewhaven/{environment}/*"],
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
    // Blue/green deployments turn the balancer's rules (AmazonECSInfrastructureRolePolicyForLoadBalancers).
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
        resources: &["backup:{here}:*", "backup:{copies}:*", "rds:{here}:*", "rds:{copies}:*"],
    },
];

/// For these AWS offers no narrower resource.
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

/// Where copies of backups go; the own region where there are none.
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
            .replace("{copies}", &format!("{}:${{AWS::AccountId}}", copies_region(environment)))
            .replace("{ours}", &environment.stack_name("*"))
            .replace("{environment}", &environment.name);
        format!("arn:${{AWS::Partition}}:{pattern}")
    };
    let mut resources: Vec<String> = limit.resources.iter().map(resource).collect();
    resources.dedup();
    let resources: Vec<Value> = resources.iter().map(|resource| sub(resource)).collect();
    json!({ "Effect": "Allow", "Action": limit.actions, "Resource": resources })
}

/// The policy that no role of ours can go beyond, whatever its own policies say.
fn role_boundary(template: &mut Template, environment: &Environment) -> LogicalId {
    let mut statements: Vec<Value> = LIMITS.iter().map(|limit| limited(environment, limit)).collect();
    statements.push(json!({ "Effect": "Allow", "Action": ANYWHERE, "Resource": "*" }));
    // Nothing above allows these. They are refused all the same, so that nobody adds them above by mistake.
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
            // A call that is about no resource has no account: PutTraceSegments, for example.
            "Null": { "aws:ResourceAccount": false },
        },
    }));
    let id = template.add(
        "role boundary",
        "AWS::IAM::ManagedPolicy",
        json!({
            "Description": "What no role of Brew Haven can go beyond",
            "PolicyDocument": { "Version": "2012-10-17", "Statement": statements },
        }),
        Keep::Nothing,
    );
    let reason = "Denials are of everything; what is allowed on * has no narrower resource";
    template.note(&id, "wildcard", json!(reason));
    Shared::RoleBoundary.export(template, environment, "No role goes beyond it", reference(&id));
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

/// Services that may be handed a role of ours, because something of ours runs in their name.
const ROLE_TAKERS: &[&str] = &[
    "apigateway.amazonaws.com",
    "backup.amazonaws.com",
    "ecs-tasks.amazonaws.com",
    "ecs.amazonaws.com",
    "events.amazonaws.com",
    "firehose.amazonaws.com",
    "monitoring.rds.amazonaws.com",
    "s3.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
];

/// Services whose own roles AWS makes when they are first used.
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

/// The role that CloudFormation takes for all stacks but this one. Its rights are in two parts: AWS's policy for all but
/// IAM, and ours for the little of IAM that it needs: roles that stay inside the boundary.
fn deploy_role(template: &mut Template, environment: &Environment, boundary: &LogicalId) {
    let stacks = format!(
        "arn:${{AWS::Partition}}:cloudformation:${{AWS::Region}}:${{AWS::AccountId}}:stack/{}/*",
        environment.stack_name("*")
    );
    let role = template.add(
        "deploy role",
        "AWS::IAM::Role",
        json!({
            "Description": "CloudFormation deploys with it",
            "AssumeRolePolicyDocument": {
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
            },
            "ManagedPolicyArns": [sub("arn:${AWS::Partition}:iam::aws:policy/PowerUserAccess")],
            "Tags": environment.tags(),
        }),
        Keep::Nothing,
    );
    let policy = template.add(
        "deploy policy",
        "AWS::IAM::ManagedPolicy",
        json!({
            "Description": "What a deployment may do with IAM, and what it may not do at all",
            "PolicyDocument": { "Version": "2012-10-17", "Statement": deploy_statements(environment, boundary) },
            "Roles": [reference(&role)],
        }),
        Keep::Nothing,
    );
    template.note(&policy, "wildcard", json!("Only in denials"));
    Shared::DeployRole.export(template, environment, "CloudFormation deploys with it", get_att(&role, "Arn"));
}

fn deploy_statements(environment: &Environment, boundary: &LogicalId) -> Vec<Value> {
    let named = |kind: &str, slug: &str| {
        sub(&format!("arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:{kind}/{}", environment.stack_name(slug)))
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
            "Condition": { "StringEquals": { "iam:PermissionsBoundary": reference(boundary) } },
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
        // What this stack makes is not for deployments to change, nor to hand to anything but CloudFormation.
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
            "Resource": [named("role", "security-*"), named("policy", "security-*")],
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

/// IAM, the bill and Route 53 are reached in one region, wherever the platform stands.
fn stay_in_regions_of_deployments(environment: &Environment) -> Value {
    let mut statement = stay_in_region(environment);
    if let Some(regions) = statement["Condition"]["StringNotEquals"]["aws:RequestedRegion"].as_array_mut() {
        regions.push(json!("us-east-1"));
    }
    statement
}
