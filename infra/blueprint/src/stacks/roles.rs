//! The task roles of all roles, in a stack separate from the services: deploying an image never
//! changes permissions.

use contract::role::{ROLES, Role};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::kind;
use crate::names::Shared;
use crate::roles::{self, Actor};
use crate::template::{LogicalId, Template, get_att, reference, sub};

/// Returns the stack with the task roles.
pub fn roles(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: IAM roles of the tasks");
    for role in ROLES {
        let id = task_role(&mut template, role);
        Shared::export_task_role(&mut template, role, get_att(&id, "Arn"));
    }
    template
}

fn task_role(template: &mut Template<'_>, role: &Role) -> LogicalId {
    let environment = template.environment;
    let statements = roles::statements_of(role, environment, Actor::Process, &[]);
    let words = format!("{} task policy", role.slug);
    let policy = managed_policy(template, &words, &statements);
    if role.text_messages {
        let reason =
            "IAM has no resource for phones; the same policy denies topics, the only SNS resources";
        template.note(&policy, "wildcard", reason);
        template.waive(&policy, &["IAM-2"], reason);
    }
    let words = format!("{} task role", role.slug);
    iam_role(template, &words, task_trust(), &[&policy])
}

/// Adds a managed policy with these statements.
pub fn managed_policy(template: &mut Template<'_>, words: &str, statements: &[Value]) -> LogicalId {
    let properties = json!({ "PolicyDocument": roles::document(statements) });
    template.add(words, kind::IAM_MANAGED_POLICY, properties)
}

/// Adds an IAM role with the permissions boundary.
pub fn iam_role(
    template: &mut Template<'_>,
    words: &str,
    trust: Value,
    policies: &[&LogicalId],
) -> LogicalId {
    let properties = json!({
        "AssumeRolePolicyDocument": trust,
        // The role lists its policies instead of the reverse, so that resources that depend on
        // the role also wait for its permissions.
        "ManagedPolicyArns": policies.iter().map(|policy| reference(policy)).collect::<Vec<_>>(),
        "PermissionsBoundary": Shared::RoleBoundary.import(template.environment),
    });
    template.add(words, kind::IAM_ROLE, properties)
}

/// Adds an IAM role for a service, with managed policies of AWS by the names in their ARNs.
pub fn aws_role(
    template: &mut Template<'_>,
    words: &str,
    service: &str,
    policies: &[&str],
) -> LogicalId {
    let arn = |policy: &&str| sub(&format!("arn:${{AWS::Partition}}:iam::aws:policy/{policy}"));
    let properties = json!({
        "AssumeRolePolicyDocument": trust(service),
        "ManagedPolicyArns": policies.iter().map(arn).collect::<Vec<_>>(),
        "PermissionsBoundary": Shared::RoleBoundary.import(template.environment),
    });
    template.add(words, kind::IAM_ROLE, properties)
}

/// Adds an IAM role with the permissions boundary, and a policy with its rights. Resources that refer
/// to the role do not wait for the policy: see [`Template::after`].
pub fn role_with_rights(
    template: &mut Template<'_>,
    words: &str,
    trust: Value,
    rights: Value,
) -> (LogicalId, LogicalId) {
    let role = json!({
        "AssumeRolePolicyDocument": trust,
        "PermissionsBoundary": Shared::RoleBoundary.import(template.environment),
    });
    let role = template.add(&format!("{words} role"), kind::IAM_ROLE, role);
    let policy = json!({ "PolicyDocument": roles::document(rights), "Roles": [reference(&role)] });
    let policy = template.add(&format!("{words} policy"), kind::IAM_MANAGED_POLICY, policy);
    (role, policy)
}

/// Returns the trust policy for ECS tasks.
pub fn task_trust() -> Value {
    trust("ecs-tasks.amazonaws.com")
}

/// Returns a trust policy for a service on behalf of this account only (IAM User Guide, "The
/// confused deputy problem").
pub fn trust(service: &str) -> Value {
    trust_if(service, own_account())
}

/// Returns a trust policy for a service under a condition.
pub fn trust_if(service: &str, condition: Value) -> Value {
    roles::document(vec![json!({
        "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole",
        "Condition": condition,
    })])
}

/// Returns the condition that a service acts on behalf of this account.
pub fn own_account() -> Value {
    json!({ "StringEquals": { "aws:SourceAccount": { "Ref": "AWS::AccountId" } } })
}

/// Returns the condition that a service acts on behalf of a resource of this account, by a pattern
/// of its ARN.
pub fn own_resource(arn: &str) -> Value {
    let mut condition = own_account();
    condition["ArnLike"] = json!({ "aws:SourceArn": sub(arn) });
    condition
}

/// Returns a statement that denies plain HTTP.
pub fn encrypted_transport_only(action: &str, resource: Value) -> Value {
    json!({
        "Sid": "EncryptedTransportOnly", "Effect": "Deny", "Principal": "*",
        "Action": action, "Resource": resource,
        "Condition": { "Bool": { "aws:SecureTransport": false } },
    })
}
