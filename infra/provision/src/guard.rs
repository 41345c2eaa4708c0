//! The check before stateful resources are removed or replaced. Deploy, apply, destroy and promote
//! all use it.

use std::collections::BTreeSet;

use anyhow::bail;
use blueprint::consequence::{Change, Rung};

/// The resources that the user named with `--allow`, such as `data/Database`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named(BTreeSet<String>);

impl Named {
    /// Collects names of the form `stack/LogicalId`.
    pub fn new(names: &[String]) -> Named {
        Named(names.iter().cloned().collect())
    }

    /// Returns all names.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// Returns whether the user named a resource.
    pub fn has(&self, stack: &str, resource: &str) -> bool {
        self.0.contains(&name(stack, resource))
    }

    /// Returns the changes of a stack that must be named and are not.
    pub fn missing<'a>(&self, stack: &str, changes: &'a [Change]) -> Vec<&'a Change> {
        changes
            .iter()
            .filter(|change| change.must_be_named() && !self.has(stack, &change.resource))
            .collect()
    }

    /// Checks the changes of a stack.
    ///
    /// # Errors
    /// When a stateful resource would be removed or replaced and was not named. The message lists
    /// all of them with the missing flags.
    pub fn check(&self, stack: &str, changes: &[Change]) -> anyhow::Result<()> {
        let missing = self.missing(stack, changes);
        if missing.is_empty() {
            return Ok(());
        }
        let lines = missing
            .iter()
            .map(|change| format!("\n  {}", refusal(stack, change)));
        let flags = missing
            .iter()
            .map(|change| format!(" --allow {}", name(stack, &change.resource)));
        bail!(
            "refused, because the resource holds data:{}\n  to allow it, add{}",
            lines.collect::<String>(),
            flags.collect::<String>()
        )
    }
}

/// Returns the name of a resource as `--allow` takes it.
pub fn name(stack: &str, resource: &str) -> String {
    format!("{stack}/{resource}")
}

fn refusal(stack: &str, change: &Change) -> String {
    let loss = if change.rung == Rung::DataLoss {
        "DATA LOSS: "
    } else {
        ""
    };
    format!(
        "{loss}{} ({}) {}",
        name(stack, &change.resource),
        change.kind,
        change.consequence
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table_goes() -> Vec<Change> {
        let before = json!({ "Resources": { "Orders": { "Type": "AWS::DynamoDB::Table", "Properties": {} } } });
        blueprint::consequence::diff(&before, &json!({ "Resources": {} }))
    }

    #[test]
    fn a_stateful_resource_is_deleted_only_if_its_stack_and_name_are_allowed() {
        let refused = Named::default()
            .check("data", &table_goes())
            .expect_err("nobody named it")
            .to_string();
        assert!(
            refused.contains("DATA LOSS: data/Orders") && refused.contains("--allow data/Orders"),
            "{refused}"
        );
        assert!(
            Named::new(&["data/Orders".to_owned()])
                .check("data", &table_goes())
                .is_ok()
        );
        for other in [
            "Orders",
            "messaging/Orders",
            "data/*",
            "data",
            "data/orders",
        ] {
            assert!(
                Named::new(&[other.to_owned()])
                    .check("data", &table_goes())
                    .is_err(),
                "{other}"
            );
        }
    }
}
