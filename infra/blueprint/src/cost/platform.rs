//! All stacks as one: resources by type, and exports that lead from one stack to another.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Stack;

/// One resource of a template.
pub(super) struct Resource<'a> {
    pub stack: &'a str,
    pub id: &'a str,
    pub kind: &'a str,
    pub properties: &'a Value,
}

impl Resource<'_> {
    pub fn text(&self, property: &str) -> &str {
        self.properties[property].as_str().unwrap_or_default()
    }

    pub fn is(&self, property: &str) -> bool {
        self.properties[property].as_bool().unwrap_or_default()
    }

    /// A number, which templates may write as text.
    pub fn number(&self, property: &str) -> Option<f64> {
        number(&self.properties[property])
    }
}

pub(super) struct Platform<'a> {
    resources: Vec<Resource<'a>>,
    exports: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Platform<'a> {
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

    pub fn resources(&self) -> impl Iterator<Item = &Resource<'a>> {
        self.resources.iter()
    }

    pub fn of_type(&self, kind: &str) -> impl Iterator<Item = &Resource<'a>> {
        self.resources
            .iter()
            .filter(move |resource| resource.kind == kind)
    }

    pub fn count(&self, kind: &str) -> f64 {
        self.of_type(kind).count() as f64
    }

    /// How many things a list has, be it written out, or exported by another stack as one text.
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

    /// How many tasks a service has at least: what its scaling keeps, or what it says itself.
    pub fn tasks(&self, service: &Resource<'_>) -> f64 {
        let names = format!("${{{}.Name}}", service.id);
        let scaling = self
            .of_type("AWS::ApplicationAutoScaling::ScalableTarget")
            .find(|target| {
                target.stack == service.stack
                    && target.properties["ResourceId"]["Fn::Sub"]
                        .as_str()
                        .is_some_and(|id| id.contains(&names))
            });
        let tasks = match scaling {
            Some(target) => target.number("MinCapacity"),
            None => service.number("DesiredCount"),
        };
        // ECS starts one where nothing is said.
        tasks.unwrap_or(1.0)
    }
}

pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}
