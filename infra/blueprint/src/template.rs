//! A CloudFormation template under construction. Only inserting a resource creates its logical id,
//! so a template cannot refer to a missing resource.

use serde_json::{Map, Value, json};

use crate::environment::Environment;
use crate::kind::Kind;

/// The logical id of a resource in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalId(String);

impl LogicalId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The fate of a resource that leaves the template or is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The resource holds no data, or none that outlives its environment.
    Nothing,
    /// The resource holds data that may be deleted with its environment. The template says so
    /// explicitly.
    Gone,
    /// The resource holds data and is retained outside the stack.
    Data,
    /// The resource holds data but is costly to retain: a final snapshot is kept. For databases and
    /// caches.
    Snapshot,
}

/// A template under construction.
#[derive(Debug)]
pub struct Template<'e> {
    /// The environment that the template is for.
    pub environment: &'e Environment,
    description: &'static str,
    resources: Map<String, Value>,
    outputs: Map<String, Value>,
}

impl<'e> Template<'e> {
    /// Creates an empty template.
    pub fn new(environment: &'e Environment, description: &'static str) -> Template<'e> {
        Template {
            environment,
            description,
            resources: Map::new(),
            outputs: Map::new(),
        }
    }

    /// Adds a resource without deletion policies under a logical id made of `words`.
    ///
    /// # Panics
    /// Panics like [`Template::add_kept`].
    pub fn add(&mut self, words: &str, kind: Kind, properties: Value) -> LogicalId {
        self.add_kept(words, kind, properties, Keep::Nothing)
    }

    /// Adds a resource with the policies of `keep` under a logical id made of `words`.
    ///
    /// # Panics
    /// Panics when the id is taken. Any test that builds the template finds this defect.
    pub fn add_kept(
        &mut self,
        words: &str,
        kind: Kind,
        properties: Value,
        keep: Keep,
    ) -> LogicalId {
        let id = logical(words);
        let mut resource = json!({ "Type": kind.as_str() });
        resource["Properties"] = properties;
        // `RetainExceptOnCreate` deletes what a failed first deployment created.
        let policies = match keep {
            Keep::Nothing => None,
            Keep::Gone => Some(("Delete", "Delete")),
            Keep::Data => Some(("RetainExceptOnCreate", "Retain")),
            Keep::Snapshot => Some(("Snapshot", "Snapshot")),
        };
        if let Some((deleted, replaced)) = policies {
            resource["DeletionPolicy"] = json!(deleted);
            resource["UpdateReplacePolicy"] = json!(replaced);
        }
        let before = self.resources.insert(id.clone(), resource);
        assert!(before.is_none(), "two resources are called {id}");
        LogicalId(id)
    }

    /// Makes `id` wait for resources that it does not refer to.
    pub fn after(&mut self, id: &LogicalId, others: &[&LogicalId]) {
        let others: Vec<&str> = others.iter().map(|other| other.as_str()).collect();
        self.resources[id.as_str()]["DependsOn"] = json!(others);
    }

    /// Sets a property of every resource of these types.
    pub fn set_all(&mut self, types: &[Kind], property: &str, value: &Value) {
        for resource in self.resources.values_mut() {
            if Kind::of(resource).is_some_and(|kind| types.contains(&kind)) {
                resource["Properties"][property] = value.clone();
            }
        }
    }

    /// Adds metadata to a resource: the reason why a check does not apply.
    pub fn note(&mut self, id: &LogicalId, key: &str, reason: &str) {
        self.resources[id.as_str()]["Metadata"][key] = json!(reason);
    }

    /// Adds a waiver of a Checkov rule with its reason.
    pub fn waive_checkov(&mut self, id: &LogicalId, rule: &str, reason: &str) {
        let skip = json!([{ "id": rule, "comment": reason }]);
        self.resources[id.as_str()]["Metadata"]["checkov"] = json!({ "skip": skip });
    }

    /// Adds a waiver of our own rules (`policy`) with its reason.
    pub fn waive(&mut self, id: &LogicalId, rules: &[&str], reason: &str) {
        let waive = &mut self.resources[id.as_str()]["Metadata"]["haven"]["waive"];
        if waive.is_null() {
            *waive = json!([]);
        }
        if let Some(waivers) = waive.as_array_mut() {
            waivers.extend(
                rules
                    .iter()
                    .map(|rule| json!({ "rule": rule, "reason": reason })),
            );
        }
    }

    /// Adds a waiver of public Guard rules with its reason.
    pub fn waive_public(&mut self, id: &LogicalId, rules: &[&str], reason: &str) {
        self.resources[id.as_str()]["Metadata"]["guard"] =
            json!({ "SuppressedRules": rules, "Reason": reason });
    }

    /// Adds an output that other stacks import under `export`.
    pub fn export(&mut self, words: &str, export: &str, value: Value) {
        let output = json!({ "Value": value, "Export": { "Name": export } });
        let id = logical(words);
        let before = self.outputs.insert(id.clone(), output);
        assert!(before.is_none(), "two outputs are called {id}");
    }

    /// Returns the template as JSON.
    pub fn into_json(self) -> Value {
        let mut template = json!({
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": self.description,
        });
        // Moved, because `json!` would copy most of the template.
        template["Resources"] = Value::Object(self.resources);
        if !self.outputs.is_empty() {
            template["Outputs"] = Value::Object(self.outputs);
        }
        sorted(template)
    }
}

/// Returns the value with sorted keys. A dependency turns on the serde_json feature
/// `preserve_order`. Without sorting, a template would depend on which crates are built together.
pub fn sorted(mut value: Value) -> Value {
    value.sort_all_objects();
    value
}

/// Returns the logical id for words: `order-status-changed topic` becomes
/// `OrderStatusChangedTopic`.
pub fn logical(words: &str) -> String {
    let parts = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty());
    parts
        .map(|part| part[..1].to_ascii_uppercase() + &part[1..])
        .collect()
}

/// Returns a `Ref`.
pub fn reference(id: &LogicalId) -> Value {
    json!({ "Ref": id.0 })
}

/// Returns a `Fn::GetAtt`.
pub fn get_att(id: &LogicalId, attribute: &str) -> Value {
    json!({ "Fn::GetAtt": [id.0, attribute] })
}

/// Returns a `Fn::Sub`.
pub fn sub(text: &str) -> Value {
    json!({ "Fn::Sub": text })
}

/// An IAM statement, and the right of the contract that requires it.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The IAM actions.
    pub actions: Vec<&'static str>,
    /// The ARNs.
    pub resources: Vec<Value>,
    /// The right, for `haven why`.
    pub because: String,
}

impl Statement {
    /// Creates a statement with the right that requires it.
    pub fn new(
        because: impl Into<String>,
        actions: &[&'static str],
        resources: Vec<Value>,
    ) -> Statement {
        Statement {
            actions: actions.to_vec(),
            resources,
            because: because.into(),
        }
    }

    /// Returns the statement as JSON, without its Sid.
    pub fn to_json(&self) -> Value {
        json!({ "Effect": "Allow", "Action": self.actions, "Resource": self.resources })
    }
}
