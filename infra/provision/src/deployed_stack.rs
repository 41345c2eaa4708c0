//! The deployed state of a stack, read once for all uses.

use std::collections::BTreeSet;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Stack, TemplateStage};
use futures::future::try_join_all;
use serde::Serialize;
use serde_json::{Value, json};

use crate::aws_failure::{failed, is_missing_stack};
use crate::digest::sha256;
use crate::stack::{find, status_of};

/// The state of one stack when it was read.
#[derive(Debug, Clone)]
pub struct DeployedStack {
    /// The stack, also if it is empty and only holds a change set.
    pub stack: Option<Stack>,
    /// The template of the last deployment, or null if the stack does not exist or haven did not
    /// deploy it.
    pub template: Value,
}

impl DeployedStack {
    /// Reads the state of a stack.
    ///
    /// # Errors
    /// When CloudFormation does not answer.
    pub async fn of(client: &Client, name: &str) -> anyhow::Result<DeployedStack> {
        let stack = find(client, name).await?;
        // `GetTemplate` also returns templates of deleted stacks, and of stacks that were never
        // created.
        let template = match stack.as_ref().filter(|stack| has_come_to_be(stack)) {
            Some(_) => template(client, name).await?,
            None => Value::Null,
        };
        Ok(DeployedStack { stack, template })
    }

    /// Reads the state of several stacks, in the given order.
    ///
    /// # Errors
    /// As [`DeployedStack::of`].
    pub(crate) async fn of_all(
        client: &Client,
        stacks: &[&blueprint::Stack],
    ) -> anyhow::Result<Vec<DeployedStack>> {
        try_join_all(
            stacks
                .iter()
                .map(|stack| DeployedStack::of(client, &stack.name)),
        )
        .await
    }

    /// Returns the stack, unless it is empty and only holds a change set.
    pub fn there(&self) -> Option<&Stack> {
        self.stack.as_ref().filter(|stack| has_come_to_be(stack))
    }

    /// Returns a hash of the stack's id, status, times, template and drift, to detect changes
    /// later. Returns an empty text if the stack does not exist.
    pub fn fingerprint(&self, drift: &impl Serialize) -> String {
        let Some(stack) = self.there() else {
            return String::new();
        };
        let times = [stack.creation_time(), stack.last_updated_time()]
            .map(|time| time.map(ToString::to_string));
        let facts = json!([
            stack.stack_id(),
            status_of(stack),
            times,
            self.template,
            drift
        ]);
        sha256(&facts.to_string())
    }

    /// Returns the names of the stack's exports.
    pub fn exports(&self) -> BTreeSet<String> {
        let outputs = self.stack.iter().flat_map(|stack| stack.outputs());
        outputs
            .filter_map(|output| output.export_name().map(str::to_owned))
            .collect()
    }
}

/// Returns the template of the last deployment, or null if the stack does not exist or haven did
/// not deploy it.
///
/// # Errors
/// When the stack cannot be read.
pub async fn deployed_template(client: &Client, name: &str) -> anyhow::Result<Value> {
    Ok(DeployedStack::of(client, name).await?.template)
}

/// Returns whether the stack was created, and does not only hold a change set.
fn has_come_to_be(stack: &Stack) -> bool {
    status_of(stack) != "REVIEW_IN_PROGRESS"
}

async fn template(client: &Client, name: &str) -> anyhow::Result<Value> {
    match client
        .get_template()
        .stack_name(name)
        .template_stage(TemplateStage::Original)
        .send()
        .await
    {
        Ok(got) => Ok(
            serde_json::from_str(got.template_body().unwrap_or_default()).unwrap_or(Value::Null),
        ),
        Err(error) => match is_missing_stack(&error) {
            true => Ok(Value::Null),
            false => Err(failed(format!("read the template of {name}"), &error)),
        },
    }
}
