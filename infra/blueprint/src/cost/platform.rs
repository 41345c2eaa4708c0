//! All stacks together: resources by type, and the values of exports.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Stack;
use crate::kind::{self, Kind};

/// One resource of a template.
pub(super) struct Resource<'a> {
    /// Slug of the stack.
    pub stack: &'a str,
    /// The logical id.
    pub id: &'a str,
    /// The resource type.
    pub kind: &'a str,
    /// The properties.
    pub properties: &'a Value,
}

impl Resource<'_> {
    /// Returns a text property; empty if it is missing.
    pub fn text(&self, property: &str) -> &str {
        self.properties[property].as_str().unwrap_or_default()
    }

    /// Returns a Boolean property; false if it is missing.
    pub fn is(&self, property: &str) -> bool {
        self.properties[property].as_bool().unwrap_or_default()
    }

    /// Returns a number property, which templates may write as text.
    pub fn number(&self, property: &str) -> Option<f64> {
        number(&self.properties[property])
    }
}

pub(super) struct Platform<'a> {
    resources: Vec<Resource<'a>>,
    exports: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Platform<'a> {
    /// Collects the resources and exports of all stacks.
    pub fn of(stacks: &'a [Stack]) -> Platform<'a> {
        let (mut resources, mut exports) = (Vec::new(), BTreeMap::new());
        for stack in stacks {
            for (id, resource) in stack.template["Resources"]
                .as_object()
                .into_iter()
                .flatten()
            {
                let kind = resource["Type"].as_str().unwrap_or_default();
                resources.push(Resource {
                    stack: stack.slug,
                    id,
                    kind,
                    properties: &resource["Properties"],
                });
            }
            for output in stack.template["Outputs"]
                .as_object()
                .into_iter()
                .flat_map(|outputs| outputs.values())
            {
                exports.extend(
                    output["Export"]["Name"]
                        .as_str()
                        .map(|name| (name, &output["Value"])),
                );
            }
        }
        Platform { resources, exports }
    }

    /// Returns all resources.
    pub fn resources(&self) -> impl Iterator<Item = &Resource<'a>> {
        self.resources.iter()
    }

    /// Returns the resources of a type.
    pub fn of_type(&self, kind: Kind) -> impl Iterator<Item = &Resource<'a>> {
        self.resources
            .iter()
            .filter(move |resource| resource.kind == kind)
    }

    /// Returns the number of resources of a type.
    pub fn count(&self, kind: Kind) -> f64 {
        self.of_type(kind).count() as f64
    }

    /// Returns the length of a list that is written out, or that another stack exports as joined
    /// text.
    pub fn length(&self, list: &Value) -> Option<f64> {
        if let Some(items) = list.as_array() {
            return Some(items.len() as f64);
        }
        if let Some(parts) = list["Fn::Split"].as_array() {
            return self.length(parts.get(1)?);
        }
        if let Some(parts) = list["Fn::Join"].as_array() {
            return self.length(parts.get(1)?);
        }
        self.length(self.exports.get(list["Fn::ImportValue"].as_str()?)?)
    }

    /// Returns the minimum number of tasks of a service: the minimum of its scaling, or its desired
    /// count.
    pub fn tasks(&self, service: &Resource<'_>) -> f64 {
        let names = format!("${{{}.Name}}", service.id);
        let scaling = self.of_type(kind::SCALABLE_TARGET).find(|target| {
            target.stack == service.stack
                && target.properties["ResourceId"]["Fn::Sub"]
                    .as_str()
                    .is_some_and(|id| id.contains(&names))
        });
        let tasks = match scaling {
            Some(target) => target.number("MinCapacity"),
            None => service.number("DesiredCount"),
        };
        // ECS starts one task by default.
        tasks.unwrap_or(1.0)
    }
}

pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}
