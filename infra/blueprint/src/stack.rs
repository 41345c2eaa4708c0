//! A CloudFormation stack, and the order of stacks.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::references::{exports, imports};

/// A CloudFormation stack with its template and its dependencies.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Short name, such as `data`.
    pub slug: &'static str,
    /// Name in CloudFormation.
    pub name: String,
    /// Purpose of the stack, for people.
    pub about: &'static str,
    /// The template.
    pub template: Value,
    /// True if the stack holds data: the stack is protected from deletion, and its resources from
    /// replacement.
    pub stateful: bool,
    /// Names of stacks that must exist first.
    pub depends_on: Vec<String>,
}

impl Stack {
    /// Returns the stack with another template, such as the deployed one.
    pub fn with_template(&self, template: Value) -> Stack {
        Stack {
            template,
            ..self.clone()
        }
    }

    /// Returns the exports of other stacks that the stack imports.
    pub fn imports(&self) -> BTreeSet<String> {
        imports(&self.template)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Returns the names that the stack exports.
    pub fn exports(&self) -> BTreeSet<String> {
        exports(&self.template)
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

/// Sorts the stacks so that each follows the stacks whose exports it imports.
///
/// # Panics
/// Panics when stacks import from each other in a cycle, or when no stack exports a name. Any test
/// that builds the stacks finds this defect.
pub fn in_order(mut stacks: Vec<Stack>) -> Vec<Stack> {
    let makers: HashMap<String, String> = stacks
        .iter()
        .flat_map(|stack| {
            exports(&stack.template).map(|(export, _)| (export.to_owned(), stack.name.clone()))
        })
        .collect();
    for stack in &mut stacks {
        let needed = imports(&stack.template)
            .into_iter()
            .map(|import| match makers.get(import) {
                Some(maker) => maker.clone(),
                None => panic!("{} imports {import}, which no stack exports", stack.name),
            });
        stack.depends_on = needed.collect::<BTreeSet<_>>().into_iter().collect();
    }
    let mut ordered: Vec<Stack> = Vec::with_capacity(stacks.len());
    while !stacks.is_empty() {
        let ready = |stack: &Stack| {
            stack
                .depends_on
                .iter()
                .all(|name| ordered.iter().any(|done| done.name == *name))
        };
        let Some(next) = stacks.iter().position(ready) else {
            panic!(
                "these stacks import from each other: {:?}",
                stacks.iter().map(|stack| &stack.name).collect::<Vec<_>>()
            )
        };
        ordered.push(stacks.remove(next));
    }
    ordered
}
