//! The resources that an account needs before its first deployment: the role with which
//! CloudFormation deploys.
//!
//! The role has only the permissions that AWS's schemas name for the resource types in our
//! templates. Its IAM permissions are those of the deploy role of `security`. The role does not
//! deploy `security` itself, because the permissions boundary cannot limit a role that may change
//! it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::cost::running;
use crate::environment::Environment;
use crate::kind;
use crate::references::resources;
use crate::roles::document;
use crate::schema;
use crate::stack::Stack;
use crate::stacks::security::{cloudformation_trust, deploy_statements};
use crate::stacks::stacks;
use crate::template::{Template, get_att, logical, reference, sub};

/// Slug of the stack.
pub const BOOTSTRAP: &str = "bootstrap";
/// Maximum characters of a managed policy, white space not counted (IAM quotas).
const POLICY_LENGTH: usize = 6_144;

/// Permissions in the schemas that are no IAM actions (Service Authorization Reference, as in
/// cfn-lint 1.58), with the actions that IAM requires instead ("Required permissions for Amazon S3
/// API operations").
const NO_ACTIONS: [(&str, &[&str]); 17] = [
    ("apigateway:TagResource", &["apigateway:PUT"]),
    ("apigateway:unTagResource", &["apigateway:DELETE"]),
    ("backup-storage:Mount", &["backup-storage:MountCapsule"]),
    ("kms:ReEncrypt", &["kms:ReEncryptFrom", "kms:ReEncryptTo"]),
    ("payments:GetConnectedAccount", &[]),
    (
        "s3:DeleteBucketAnalyticsConfiguration",
        &["s3:PutAnalyticsConfiguration"],
    ),
    ("s3:DeleteBucketCors", &["s3:PutBucketCORS"]),
    (
        "s3:DeleteBucketEncryption",
        &["s3:PutEncryptionConfiguration"],
    ),
    (
        "s3:DeleteBucketLifecycle",
        &["s3:PutLifecycleConfiguration"],
    ),
    (
        "s3:DeleteBucketMetricsConfiguration",
        &["s3:PutMetricsConfiguration"],
    ),
    (
        "s3:DeleteBucketReplication",
        &["s3:PutReplicationConfiguration"],
    ),
    ("s3:DeleteBucketTagging", &["s3:PutBucketTagging"]),
    ("s3:GetObjectMetadata", &["s3:GetObject"]),
    (
        "s3:PutBucketReplication",
        &["s3:PutReplicationConfiguration"],
    ),
    (
        "s3:PutObjectLockConfiguration",
        &["s3:PutBucketObjectLockConfiguration"],
    ),
    // This is the name of an operation in access logs.
    ("s3:REST.PUT.OBJECT", &["s3:PutObject"]),
    (
        "vpc-lattice:DescribeServiceNetworkVpcEndpointAssociation",
        &[],
    ),
];
/// The region in which services without regions are called, such as DNS and budgets (IAM User
/// Guide, `aws:RequestedRegion`).
const GLOBAL_REGION: &str = "us-east-1";

/// Returns the stack that an operator deploys once per account. [`stacks`] does not contain it.
pub fn bootstrap(environment: &Environment) -> Stack {
    let mut template = Template::new(environment, "Brew Haven: deployment role of CloudFormation");
    let inside = json!({ "ArnLike": { "iam:PermissionsBoundary": sub(&format!(
        "arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:policy/{}",
        environment.stack_name("security-RoleBoundary-*")
    )) } });
    let fences = document(deploy_statements(environment, &inside));
    let fences = template.add("fence policy", kind::IAM_MANAGED_POLICY, policy(&fences));
    template.note(&fences, "wildcard", "Only in denials");
    let mut policies = vec![reference(&fences)];
    for (at, statements) in split(&permissions(environment)).iter().enumerate() {
        let words = format!("execution policy {}", at + 1);
        let properties = policy(&document(statements));
        let id = template.add(&words, kind::IAM_MANAGED_POLICY, properties);
        let reason = "Resources without a known name are limited by region; AWS's schemas require every action";
        template.note(&id, "wildcard", reason);
        template.waive(&id, &["IAM-2"], reason);
        policies.push(reference(&id));
    }
    let properties = json!({
        "AssumeRolePolicyDocument": cloudformation_trust(environment),
        "ManagedPolicyArns": policies,
        "Tags": environment.tags(),
    });
    let role = template.add("execution role", kind::IAM_ROLE, properties);
    let reason = "The boundary is created later; a separate policy limits the role";
    template.waive(&role, &["IAM-4"], reason);
    let export = execution_role_export(environment);
    template.export("execution role arn", &export, get_att(&role, "Arn"));
    Stack {
        slug: BOOTSTRAP,
        name: environment.stack_name(BOOTSTRAP),
        about: "The role that CloudFormation deploys with",
        template: template.into_json(),
        // The stack counts as stateful, because nothing can be deployed or deleted without the
        // role.
        stateful: true,
        depends_on: Vec::new(),
    }
}

/// Returns the export name of the role's ARN.
pub fn execution_role_export(environment: &Environment) -> String {
    environment.stack_name("execution-role")
}

/// Returns the permissions to create our resources, by service. IAM permissions are separate.
fn permissions(environment: &Environment) -> BTreeMap<String, BTreeSet<String>> {
    // Services exist only after the first image.
    let stacks = stacks(&running(environment));
    let types: BTreeSet<&str> = stacks
        .iter()
        .filter(|stack| stack.slug != "security")
        .flat_map(|stack| resources(&stack.template))
        .filter_map(|(_, resource)| resource["Type"].as_str())
        .collect();
    let mut permissions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, actions) in types
        .into_iter()
        .filter_map(schema::of)
        .flat_map(|kind| kind.permissions())
    {
        for (service, action) in actions.iter().filter_map(|action| action.split_once(':')) {
            // Some schemas write the service in upper case.
            let service = service.to_ascii_lowercase();
            if service == "iam" {
                continue;
            }
            let action = format!("{service}:{action}");
            let instead = NO_ACTIONS
                .iter()
                .find(|(name, _)| *name == action)
                .map(|(_, instead)| *instead);
            let actions = instead.map_or(vec![action], |instead| {
                instead.iter().map(|&it| it.to_owned()).collect()
            });
            for action in actions {
                permissions
                    .entry(service.clone())
                    .or_default()
                    .insert(action);
            }
        }
    }
    permissions
}

/// Returns one statement per service, distributed over as few policies as possible. Resources have
/// no names yet, so the statements can only restrict the region.
fn split(permissions: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<Value>> {
    let mut policies: Vec<Vec<Value>> = vec![Vec::new()];
    for (service, actions) in permissions {
        let statement = json!({ "Sid": logical(service), "Effect": "Allow", "Action": actions, "Resource": "*",
            "Condition": { "StringEquals": { "aws:RequestedRegion": [{ "Ref": "AWS::Region" }, GLOBAL_REGION] } } });
        if let Some(last) = policies.last_mut() {
            last.push(statement.clone());
            if document(&*last).to_string().len() > POLICY_LENGTH && last.len() > 1 {
                last.pop();
                policies.push(vec![statement]);
            }
        }
    }
    policies
}

fn policy(document: &Value) -> Value {
    json!({ "Description": "What CloudFormation may do when it deploys", "PolicyDocument": document })
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::policy::check;

    fn environments() -> Vec<Environment> {
        ["local", "dev", "staging", "prod"]
            .into_iter()
            .filter_map(Environment::named)
            .collect()
    }

    fn policies(stack: &Stack) -> Vec<&Value> {
        let resources = stack.template["Resources"]
            .as_object()
            .expect("resources")
            .values();
        resources
            .filter(|resource| resource["Type"] == "AWS::IAM::ManagedPolicy")
            .collect()
    }

    #[test]
    fn the_template_is_within_the_limits_of_cloudformation_and_iam() {
        for environment in environments() {
            let stack = bootstrap(&environment);
            assert_eq!(schema::check(&stack.template), []);
            assert!(stack.template.to_string().len() < 51_200);
            let policies = policies(&stack);
            // Default quota of managed policies per role.
            assert!(policies.len() <= 10, "{}", policies.len());
            for policy in policies {
                let length = policy["Properties"]["PolicyDocument"].to_string().len();
                assert!(length <= POLICY_LENGTH, "{length}");
            }
            let findings = check(&stack.name, &stack.template);
            assert!(
                findings.iter().all(|finding| finding.waived.is_some()),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn the_role_creates_nothing_in_other_regions() {
        for environment in environments() {
            let stack = bootstrap(&environment);
            let anywhere = policies(&stack)
                .into_iter()
                .flat_map(|policy| {
                    policy["Properties"]["PolicyDocument"]["Statement"]
                        .as_array()
                        .into_iter()
                        .flatten()
                })
                .filter(|statement| statement["Effect"] == "Allow" && statement["Resource"] == "*");
            for statement in anywhere {
                let regions = &statement["Condition"]["StringEquals"]["aws:RequestedRegion"];
                assert_eq!(
                    *regions,
                    json!([{ "Ref": "AWS::Region" }, "us-east-1"]),
                    "{statement}"
                );
            }
        }
    }

    #[test]
    fn the_role_may_create_every_type_of_ours_without_wildcards() {
        for environment in environments() {
            let stack = bootstrap(&environment);
            let statements = policies(&stack).into_iter().flat_map(|policy| {
                policy["Properties"]["PolicyDocument"]["Statement"]
                    .as_array()
                    .into_iter()
                    .flatten()
            });
            let allowed: BTreeSet<&str> = statements
                .filter(|statement| statement["Effect"] == "Allow")
                .flat_map(|statement| statement["Action"].as_array().into_iter().flatten())
                .filter_map(Value::as_str)
                .collect();
            assert!(allowed.iter().all(|action| !action.contains('*')));
            for action in [
                "sqs:CreateQueue",
                "dynamodb:CreateTable",
                "ssm:PutParameter",
                "iam:CreateRole",
            ] {
                assert!(allowed.contains(action), "{action}");
            }
            assert!(
                allowed.contains("ecs:CreateService"),
                "services come with the first image"
            );
            for (name, instead) in NO_ACTIONS {
                assert!(!allowed.contains(name), "{name}");
                // The templates of the local AWS lack some types.
                let has_all = instead.iter().all(|action| allowed.contains(action));
                assert!(environment.local || has_all, "{name}: {instead:?}");
            }
            for action in [
                "kms:PutKeyPolicy",
                "iam:CreateUser",
                "iam:AttachUserPolicy",
                "iam:CreateAccessKey",
            ] {
                assert!(!allowed.contains(action), "{action}");
            }
        }
    }
}
