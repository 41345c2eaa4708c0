//! All stacks of an environment as one graph: who refers to what, across their borders too.

use std::collections::{BTreeSet, HashMap};

use blueprint::policy::referred;
use blueprint::{Stack, imports};
use serde_json::Value;

/// A resource, by the position of its stack and by its logical id.
pub type Place<'a> = (usize, &'a str);

pub struct Platform<'a> {
    stacks: &'a [Stack],
    /// What each export stands for, and in which stack.
    exports: HashMap<&'a str, (usize, &'a Value)>,
}

impl<'a> Platform<'a> {
    pub fn new(stacks: &'a [Stack]) -> Platform<'a> {
        let mut exports = HashMap::new();
        for (at, stack) in stacks.iter().enumerate() {
            let outputs = stack.template["Outputs"].as_object().into_iter().flat_map(|outputs| outputs.values());
            exports.extend(
                outputs.filter_map(|output| Some((output["Export"]["Name"].as_str()?, (at, &output["Value"])))),
            );
        }
        Platform { stacks, exports }
    }

    pub fn all(&self) -> impl Iterator<Item = (Place<'a>, &'a Value)> {
        let stacks = self.stacks;
        stacks.iter().enumerate().flat_map(|(at, stack)| {
            let resources = stack.template["Resources"].as_object().into_iter().flatten();
            resources.map(move |(id, resource)| ((at, id.as_str()), resource))
        })
    }

    pub fn stack(&self, (at, _): Place<'a>) -> &'a Stack {
        &self.stacks[at]
    }

    pub fn resource(&self, (at, id): Place<'a>) -> &'a Value {
        &self.stacks[at].template["Resources"][id]
    }

    pub fn kind(&self, place: Place<'a>) -> &'a str {
        self.resource(place)["Type"].as_str().unwrap_or_default()
    }

    /// As a plan names it, such as `data/Database`.
    pub fn name(&self, place: Place<'a>) -> String {
        format!("{}/{}", self.stack(place).slug, place.1)
    }

    /// The resources that a value of a stack stands for.
    pub fn means(&self, at: usize, value: &'a Value) -> BTreeSet<Place<'a>> {
        let mut places = self.own(at, value);
        for import in imports(value) {
            places.extend(self.exported(&import));
        }
        places
    }

    /// What an export stands for.
    pub fn exported(&self, export: &str) -> BTreeSet<Place<'a>> {
        self.exports.get(export).map(|(maker, value)| self.own(*maker, value)).unwrap_or_default()
    }

    fn own(&self, at: usize, value: &'a Value) -> BTreeSet<Place<'a>> {
        let resources = &self.stacks[at].template["Resources"];
        referred(value).into_iter().filter(|id| resources.get(id).is_some()).map(|id| (at, id)).collect()
    }

    /// Who refers to a resource, and by which export if it is in another stack.
    pub fn users(&self, place: Place<'a>) -> Vec<(Place<'a>, Option<String>)> {
        let mut users = Vec::new();
        for (user, resource) in self.all().filter(|(user, _)| *user != place) {
            let import = imports(resource).into_iter().find(|import| self.exported(import).contains(&place));
            if import.is_some() || self.own(user.0, resource).contains(&place) {
                users.push((user, import));
            }
        }
        users
    }
}
