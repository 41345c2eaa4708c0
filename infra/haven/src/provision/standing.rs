//! A stack as it stands: looked up once, for all that is asked of it.

use std::collections::BTreeSet;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Stack, TemplateStage};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::change_set::{find, status_of};
use super::drift::Drifted;
use super::live::sha256;
use super::{failed, why};

/// How one stack stood when it was looked up.
#[derive(Debug, Clone)]
pub struct Standing {
    /// An empty one that a change set waits in is here too.
    pub stack: Option<Stack>,
    /// The template that it was last brought to; null for a stack that is not there or was not made
    /// by us.
    pub template: Value,
}

impl Standing {
    /// # Errors
    /// When CloudFormation does not answer.
    pub async fn of(client: &Client, name: &str) -> anyhow::Result<Standing> {
        let stack = find(client, name).await?;
        // CloudFormation goes on giving the template of a stack that was deleted, and gives that of
        // one that never was.
        let template = match stack.as_ref().filter(|stack| has_come_to_be(stack)) {
            Some(_) => template(client, name).await?,
            None => Value::Null,
        };
        Ok(Standing { stack, template })
    }

    /// Of several stacks, in the order given.
    pub async fn of_all(
        client: &Client,
        stacks: &[&blueprint::Stack],
    ) -> anyhow::Result<Vec<Standing>> {
        try_join_all(stacks.iter().map(|stack| Standing::of(client, &stack.name))).await
    }

    /// The stack, unless it is an empty one that a change set waits in.
    pub fn there(&self) -> Option<&Stack> {
        self.stack.as_ref().filter(|stack| has_come_to_be(stack))
    }

    /// Which one it is, how it stands, when and to what it was last brought, and what was changed
    /// by hand since: whoever plans by it can later tell whether it moved. Empty when there is
    /// none.
    pub fn fingerprint(&self, drift: &[Drifted]) -> String {
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

    /// What others may count on, by name.
    pub fn exports(&self) -> BTreeSet<String> {
        let outputs = self.stack.iter().flat_map(|stack| stack.outputs());
        outputs
            .filter_map(|output| output.export_name().map(str::to_owned))
            .collect()
    }
}

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
        Err(error) => {
            let said = why(&error);
            match said.contains("does not exist") {
                true => Ok(Value::Null),
                false => Err(failed(format!("read the template of {name}"), &error)),
            }
        }
    }
}
