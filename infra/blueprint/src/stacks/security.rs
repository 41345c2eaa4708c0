//! KMS keys (one per class of data), the permissions boundary of every role, and the role with
//! which CloudFormation deploys.
//!
//! This stack imports nothing. An operator with more permissions than the deploy role deploys it,
//! because the boundary cannot limit a role that may change it.

mod deploy;
mod keys;

use contract::parameter_root;
use serde_json::{Value, json};

use deploy::deploy_role;
use keys::{KEYS, add_key};

use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::template::{LogicalId, Template, reference, sub};

pub use deploy::{cloudformation_trust, deploy_statements};

/// Returns the stack with the keys, the boundary and the deploy role.
pub fn security(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: KMS keys and permissions boundary");
    for key in KEYS {
        add_key(&mut template, key);
    }
    let boundary = role_boundary(&mut template);
    deploy_role(&mut template, &boundary);
    template
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
fn role_boundary(template: &mut Template<'_>) -> LogicalId {
    let environment = template.environment;
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
    let properties = json!({
        "Description": "What no role of Brew Haven can go beyond",
        "PolicyDocument": { "Version": "2012-10-17", "Statement": statements },
    });
    let id = template.add("role boundary", kind::IAM_MANAGED_POLICY, properties);
    let reason = "The denials cover everything; the actions allowed on * support no resources";
    template.note(&id, "wildcard", reason);
    template.waive(&id, &["IAM-2"], reason);
    Shared::RoleBoundary.export(template, reference(&id));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    #[test]
    fn every_class_of_data_has_a_key_with_an_alias() {
        for environment in environments() {
            let template = security(&environment).into_json();
            let keys = resources(&template, "AWS::KMS::Key");
            assert_eq!(keys.len(), 6);
            let aliases = resources(&template, "AWS::KMS::Alias");
            let targets = aliases
                .iter()
                .map(|(_, alias)| alias["Properties"]["TargetKeyId"]["Ref"].as_str());
            let targets: BTreeSet<_> = targets.collect();
            assert_eq!(targets.len(), 6, "an alias each");
        }
    }

    #[test]
    fn no_other_account_may_use_a_key() {
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
    fn eventbridge_may_use_the_key_of_topics_without_a_source_condition() {
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
    fn the_boundary_denies_iam_other_accounts_and_other_regions() {
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
    fn a_deployment_creates_only_roles_with_the_boundary_and_passes_only_our_roles() {
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
    fn a_deployment_cannot_remove_its_own_limits() {
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
    fn the_security_stack_imports_nothing() {
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
