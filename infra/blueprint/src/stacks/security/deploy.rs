//! The role with which CloudFormation deploys.

use serde_json::{Value, json};

use super::stay_in_region;
use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::stacks::roles::{own_resource, trust_if};
use crate::template::{LogicalId, Template, get_att, reference, sub};

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
pub(super) fn deploy_role(template: &mut Template<'_>, boundary: &LogicalId) {
    let environment = template.environment;
    let properties = json!({
        "Description": "Role with which CloudFormation deploys",
        "AssumeRolePolicyDocument": cloudformation_trust(environment),
        "ManagedPolicyArns": [sub("arn:${AWS::Partition}:iam::aws:policy/PowerUserAccess")],
    });
    let role = template.add("deploy role", kind::IAM_ROLE, properties);
    let reason = "The role creates resources of all services; the deploy policy limits it";
    template.waive(&role, &["IAM-4", "IAM-7"], reason);
    let inside = json!({ "StringEquals": { "iam:PermissionsBoundary": reference(boundary) } });
    let properties = json!({
        "Description": "What a deployment may do with IAM, and what it may not do at all",
        "PolicyDocument": { "Version": "2012-10-17", "Statement": deploy_statements(environment, &inside) },
        "Roles": [reference(&role)],
    });
    let policy = template.add("deploy policy", kind::IAM_MANAGED_POLICY, properties);
    template.note(&policy, "wildcard", "Only in denials");
    Shared::DeployRole.export(template, get_att(&role, "Arn"));
}

/// Returns a trust policy for CloudFormation, for our stacks only.
pub fn cloudformation_trust(environment: &Environment) -> Value {
    let stacks = format!(
        "arn:${{AWS::Partition}}:cloudformation:${{AWS::Region}}:${{AWS::AccountId}}:stack/{}/*",
        environment.stack_name("*")
    );
    trust_if("cloudformation.amazonaws.com", own_resource(&stacks))
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
