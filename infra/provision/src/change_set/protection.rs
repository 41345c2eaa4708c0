//! Protects stateful stacks against accidents outside of haven: termination protection, and a stack
//! policy that denies the replacement and removal of stateful resources to everybody.

use blueprint::consequence::is_stateful;
use serde_json::{Value, json};

use crate::aws_failure::failure_to;
use crate::guard::Named;
use crate::stack::find;
use crate::target::Target;

/// The protection of one stack.
pub struct Protection<'a> {
    target: &'a Target,
    stack: &'a blueprint::Stack,
}

impl<'a> Protection<'a> {
    /// Returns the protection of a stack. Changes nothing.
    pub fn of(target: &'a Target, stack: &'a blueprint::Stack) -> Protection<'a> {
        Protection { target, stack }
    }

    /// Returns whether the stack is protected. The data of a local platform is a single directory
    /// and has no protection.
    fn is_meant(&self) -> bool {
        self.stack.stateful && !self.target.environment.local
    }

    /// Allows changes of the named resources for one update. The policy of the stack must change,
    /// because a change set cannot bring its own.
    ///
    /// # Errors
    /// When CloudFormation refuses the policy.
    pub async fn lift(&self, named: &Named) -> anyhow::Result<()> {
        if !self.is_meant()
            || !stateful_ids(&self.stack.template).any(|id| named.has(self.stack.slug, id))
        {
            return Ok(());
        }
        self.set(policy(&self.stack.template, |id| {
            named.has(self.stack.slug, id)
        }))
        .await
    }

    /// Sets the full protection, which includes new resources.
    ///
    /// # Errors
    /// When the stack cannot be read, or CloudFormation refuses a setting.
    pub async fn restore(&self) -> anyhow::Result<()> {
        let client = &self.target.cloudformation;
        if !self.is_meant() || find(client, &self.stack.name).await?.is_none() {
            return Ok(());
        }
        self.set(policy(&self.stack.template, |_| false)).await?;
        self.terminable(false).await
    }

    /// Disables or enables the termination protection.
    ///
    /// # Errors
    /// When CloudFormation refuses the setting.
    pub(crate) async fn terminable(&self, terminable: bool) -> anyhow::Result<()> {
        let call = self
            .target
            .cloudformation
            .update_termination_protection()
            .stack_name(&self.stack.name);
        let set = call.enable_termination_protection(!terminable).send().await;
        let what = format!("set the termination protection of {}", self.stack.name);
        set.map(drop).map_err(failure_to(what))
    }

    async fn set(&self, policy: Value) -> anyhow::Result<()> {
        let call = self
            .target
            .cloudformation
            .set_stack_policy()
            .stack_name(&self.stack.name);
        let set = call.stack_policy_body(policy.to_string()).send().await;
        let what = format!("set the stack policy of {}", self.stack.name);
        set.map(drop).map_err(failure_to(what))
    }
}

fn stateful_ids(template: &Value) -> impl Iterator<Item = &String> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources
        .filter(|(_, resource)| resource["Type"].as_str().is_some_and(is_stateful))
        .map(|(id, _)| id)
}

/// Returns a policy that allows every update, except the replacement and removal of stateful
/// resources that `but_for` does not exclude.
fn policy(template: &Value, but_for: impl Fn(&str) -> bool) -> Value {
    let ids = stateful_ids(template).filter(|id| !but_for(id));
    let ids: Vec<String> = ids.map(|id| format!("LogicalResourceId/{id}")).collect();
    let mut statements =
        vec![json!({ "Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*" })];
    if !ids.is_empty() {
        let actions = ["Update:Replace", "Update:Delete"];
        statements.push(
            json!({ "Effect": "Deny", "Action": actions, "Principal": "*", "Resource": ids }),
        );
    }
    json!({ "Statement": statements })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_policy_protects_stateful_resources_that_are_not_allowed() {
        let template = json!({ "Resources": {
            "Orders": { "Type": "AWS::DynamoDB::Table" }, "Other": { "Type": "AWS::DynamoDB::Table" },
            "Alarm": { "Type": "AWS::CloudWatch::Alarm" } } });
        let denied = |policy: Value| policy["Statement"][1]["Resource"].clone();
        assert_eq!(
            denied(policy(&template, |_| false)),
            json!(["LogicalResourceId/Orders", "LogicalResourceId/Other"])
        );
        assert_eq!(
            denied(policy(&template, |id| id == "Orders")),
            json!(["LogicalResourceId/Other"])
        );
        assert_eq!(
            policy(&template, |_| true)["Statement"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );
    }

    /// The size limit of SetStackPolicy is 16,384 bytes (API reference).
    #[test]
    fn every_policy_is_short_enough() {
        let prod = blueprint::Environment::named("prod").expect("an embedded environment");
        for stack in blueprint::stacks(&prod) {
            assert!(
                policy(&stack.template, |_| false).to_string().len() <= 16_384,
                "{}",
                stack.name
            );
        }
    }
}
