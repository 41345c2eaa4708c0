//! A CloudFormation template under construction. A logical id is made only by inserting a resource,
//! so that a reference to nothing cannot be written.

use serde_json::{Map, Value, json};

/// The name of a resource that is in the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalId(String);

impl LogicalId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What happens to a resource that leaves the template or is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It holds nothing, or nothing that outlives its environment.
    Nothing,
    /// It holds something that may go with its environment: decided, and said.
    Gone,
    /// It holds data: it stays, out of the stack.
    Data,
    /// It holds data that is dear to keep running: a last snapshot stays. For databases and caches.
    Snapshot,
}

#[derive(Debug)]
pub struct Template {
    description: String,
    resources: Map<String, Value>,
    outputs: Map<String, Value>,
}

impl Template {
    pub fn new(description: impl Into<String>) -> Template {
        Template {
            description: description.into(),
            resources: Map::new(),
            outputs: Map::new(),
        }
    }

    /// Adds a resource under a logical id made of `words`.
    ///
    /// # Panics
    /// When the id is taken: two resources of one name are a defect of ours, found by any test that
    /// makes the template.
    pub fn add(&mut self, words: &str, kind: &str, properties: Value, keep: Keep) -> LogicalId {
        let id = logical(words);
        let mut resource = json!({ "Type": kind });
        resource["Properties"] = properties;
        // A first create that fails takes with it what it made.
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

    /// Makes `id` wait for others that it does not refer to.
    pub fn after(&mut self, id: &LogicalId, others: &[&LogicalId]) {
        let others: Vec<&str> = others.iter().map(|other| other.as_str()).collect();
        self.resources[id.as_str()]["DependsOn"] = json!(others);
    }

    /// Sets a property of every resource of these types.
    pub fn set_all(&mut self, types: &[&str], property: &str, value: &Value) {
        for resource in self.resources.values_mut() {
            if resource["Type"]
                .as_str()
                .is_some_and(|kind| types.contains(&kind))
            {
                resource["Properties"][property] = value.clone();
            }
        }
    }

    /// Says something about a resource beside its properties: why a check does not apply to it, for
    /// example.
    pub fn note(&mut self, id: &LogicalId, key: &str, value: Value) {
        self.resources[id.as_str()]["Metadata"][key] = value;
    }

    /// Allows this resource what rules of ours (`policy`) forbid, and says why.
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

    /// Says which rules of public rule sets (Guard's, of AWS) do not hold for this resource, and
    /// why.
    pub fn waive_public(&mut self, id: &LogicalId, rules: &[&str], reason: &str) {
        self.note(
            id,
            "guard",
            json!({ "SuppressedRules": rules, "Reason": reason }),
        );
    }

    /// An output that other stacks import under `export`: its name and where it is made say what it
    /// is.
    pub fn export(&mut self, words: &str, export: &str, value: Value) {
        let output = json!({ "Value": value, "Export": { "Name": export } });
        let id = logical(words);
        let before = self.outputs.insert(id.clone(), output);
        assert!(before.is_none(), "two outputs are called {id}");
    }

    pub fn into_json(self) -> Value {
        let mut template = json!({
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": self.description,
        });
        // Moved in: `json!` would copy what is most of the template.
        template["Resources"] = Value::Object(self.resources);
        if !self.outputs.is_empty() {
            template["Outputs"] = Value::Object(self.outputs);
        }
        sorted(template)
    }
}

/// With keys in the order of the alphabet. A crate below us switches on the feature of serde_json
/// that keeps them in the order of writing, so that without this a template would depend on what
/// else is built.
pub fn sorted(mut value: Value) -> Value {
    value.sort_all_objects();
    value
}

/// `order-status-changed topic` becomes `OrderStatusChangedTopic`.
pub fn logical(words: &str) -> String {
    let parts = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty());
    parts
        .map(|part| part[..1].to_ascii_uppercase() + &part[1..])
        .collect()
}

pub fn reference(id: &LogicalId) -> Value {
    json!({ "Ref": id.0 })
}

pub fn get_att(id: &LogicalId, attribute: &str) -> Value {
    json!({ "Fn::GetAtt": [id.0, attribute] })
}

pub fn sub(text: &str) -> Value {
    json!({ "Fn::Sub": text })
}

/// What a role may do to a resource, and which edge of the contract asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub actions: Vec<&'static str>,
    pub resources: Vec<Value>,
    /// The edge, for `haven why`.
    pub because: String,
}

impl Statement {
    pub fn to_json(&self) -> Value {
        json!({ "Effect": "Allow", "Action": self.actions, "Resource": self.resources })
    }
}
