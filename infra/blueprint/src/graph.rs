//! All stacks as a graph: resources, exports, and the references between them. Every reader of
//! several stacks uses it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kind::Kind;
use crate::references::{Target, exports, imports, number, referred, resources};
use crate::stack::Stack;

/// A resource: the index of its stack, and its logical id.
pub type Place<'a> = (usize, &'a str);

/// One resource of a stack.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Where the resource is.
    pub place: Place<'a>,
    /// The logical id.
    pub id: &'a str,
    /// The resource type; empty if it is missing.
    pub kind: &'a str,
    /// The resource with type, properties and policies.
    pub body: &'a Value,
    /// The properties.
    pub properties: &'a Value,
}

impl<'a> Resource<'a> {
    /// Returns a text property; empty if it is missing.
    pub fn text(&self, property: &str) -> &'a str {
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

/// The resources and exports of all stacks.
pub struct Graph<'a> {
    stacks: &'a [Stack],
    resources: Vec<Resource<'a>>,
    exports: BTreeMap<&'a str, Export<'a>>,
}

/// An export of a stack.
struct Export<'a> {
    value: &'a Value,
    /// The resources of the stack to which the value refers.
    behind: Vec<Place<'a>>,
}

impl<'a> Graph<'a> {
    /// Collects the resources and exports of all stacks.
    pub fn new(stacks: &'a [Stack]) -> Graph<'a> {
        let mut graph = Graph {
            stacks,
            resources: Vec::new(),
            exports: BTreeMap::new(),
        };
        for (at, stack) in stacks.iter().enumerate() {
            graph
                .resources
                .extend(resources(&stack.template).map(|(id, body)| Resource {
                    stack,
                    place: (at, id),
                    id,
                    kind: body["Type"].as_str().unwrap_or_default(),
                    body,
                    properties: &body["Properties"],
                }));
            for (name, value) in exports(&stack.template) {
                let behind = graph.own(at, value).collect();
                graph.exports.insert(name, Export { value, behind });
            }
        }
        graph
    }

    /// Returns all resources.
    pub fn resources(&self) -> impl Iterator<Item = Resource<'a>> + '_ {
        self.resources.iter().copied()
    }

    /// Returns the resources of a type.
    pub fn of_type(&self, kind: Kind) -> impl Iterator<Item = Resource<'a>> + '_ {
        self.resources().filter(move |it| it.kind == kind)
    }

    /// Returns the places of the resources that match.
    pub fn find(&self, matches: impl Fn(&Resource<'a>) -> bool) -> Vec<Place<'a>> {
        self.resources()
            .filter(|it| matches(it))
            .map(|it| it.place)
            .collect()
    }

    /// Returns the stack with this index.
    pub fn stack(&self, at: usize) -> &'a Stack {
        &self.stacks[at]
    }

    /// Returns the resource at a place; null if there is none.
    pub fn body(&self, (at, id): Place<'_>) -> &'a Value {
        &self.stacks[at].template["Resources"][id]
    }

    /// Returns `stack/LogicalId`.
    pub fn name(&self, (at, id): Place<'_>) -> String {
        format!("{}/{id}", self.stacks[at].slug)
    }

    /// Returns the names of all exports.
    pub fn exports(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.exports.keys().copied()
    }

    /// Returns the value of an export.
    pub fn export(&self, name: &str) -> Option<&'a Value> {
        self.exports.get(name).map(|export| export.value)
    }

    /// Returns the resources to which the value of an export refers.
    pub fn behind_export(&self, name: &str) -> &[Place<'a>] {
        self.exports.get(name).map_or(&[], |export| &export.behind)
    }

    /// Returns the resources to which a reference from the stack `at` leads.
    pub fn reached(&self, at: usize, target: Target<'a>) -> Vec<Place<'a>> {
        match target {
            Target::Own(id, _) => vec![(at, id)],
            Target::Import(export) => self.behind_export(export).to_vec(),
        }
    }

    /// Returns the resources of any stack to which a value in the stack `at` refers.
    pub fn places(&self, at: usize, value: &'a Value) -> BTreeSet<Place<'a>> {
        let imported = imports(value);
        let imported = imported
            .into_iter()
            .flat_map(|export| self.behind_export(export).iter().copied());
        self.own(at, value).chain(imported).collect()
    }

    /// Returns the resources of the stack `at` to which a value refers.
    fn own(&self, at: usize, value: &'a Value) -> impl Iterator<Item = Place<'a>> + use<'a> {
        let own = &self.stacks[at].template["Resources"];
        referred(value)
            .into_iter()
            .filter(|id| own.get(id).is_some())
            .map(move |id| (at, id))
    }
}
