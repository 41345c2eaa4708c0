//! Explains a resource: the item of the contract behind it, references to it, permissions on it,
//! alarms on it, and the consequences of a change. The explanation is computed from the templates
//! and the contract alone.

mod item;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::consequence::{self, Rung, is_stateful};
use crate::kind::{self, Kind};
use crate::schema::{self, Effect};
use crate::spelling::nearest;
use crate::{Environment, Stack, roles, stacks};
use item::{alarm_of, is_named_in, items};

pub use item::{Item, Watch};

/// The explanation of a name.
#[derive(Debug, Default, Serialize)]
pub struct Answer {
    /// Items of the contract with this name.
    pub items: Vec<Item>,
    /// Resources with this name, or of these items.
    pub resources: Vec<Resource>,
    /// Names of further resources of the items.
    pub also: Vec<String>,
    /// Statements of a role, or with this Sid.
    pub statements: Vec<Statement>,
}

/// The explanation of a resource.
#[derive(Debug, Serialize)]
pub struct Resource {
    /// `stack/LogicalId`.
    pub name: String,
    /// The resource type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Purpose of its stack.
    pub about: &'static str,
    /// Items of the contract behind it, such as `queue orders`.
    pub contract: Vec<String>,
    /// References from its own stack.
    pub referenced_by: Vec<Reference>,
    /// Its exports, with the importers of each.
    pub exports: Vec<Export>,
    /// Names of the resources to which it refers.
    pub refers_to: Vec<String>,
    /// Policy statements that name it.
    pub may: Vec<Statement>,
    /// Alarms that watch it.
    pub alarms: Vec<Watch>,
    /// The consequence of a change of each property.
    pub properties: Vec<Property>,
    /// True if its removal or replacement must be allowed by name.
    pub stateful: bool,
    /// The deletion policy.
    pub deletion_policy: String,
    /// The policy for its replacement.
    pub update_replace_policy: String,
    /// Waivers of policy rules.
    pub waivers: Vec<Waiver>,
    /// The statements of a policy.
    pub statements: Vec<Statement>,
    /// What the local AWS omits, with the reasons.
    pub left_out: Vec<String>,
}

/// A reference to a resource or an export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reference {
    /// The resource that refers, as `stack/LogicalId`.
    pub from: String,
    /// The path of the reference.
    pub path: String,
}

/// An export of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    /// Name of the export.
    pub name: String,
    /// The resources that import it.
    pub imported_by: Vec<Reference>,
}

/// The consequence of a change of one property.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Property {
    /// Path of the property.
    pub path: String,
    /// The consequence.
    pub rung: Rung,
    /// The consequence as a sentence.
    pub consequence: String,
}

/// A waiver of a policy rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiver {
    /// Id of the rule.
    pub rule: String,
    /// The reason.
    pub reason: String,
}

/// A statement of a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    /// The Sid; empty if the statement has none.
    pub sid: String,
    /// The resource with the statement, as `stack/LogicalId`.
    pub of: String,
    /// `Allow` or `Deny`.
    pub effect: String,
    /// The actions.
    pub actions: Vec<String>,
    /// The resources; our own as `stack/LogicalId`.
    pub resources: Vec<String>,
    /// The right of the contract that requires it; `None` for the platform's own machinery.
    pub edge: Option<String>,
    /// The roles of the contract that have the statement.
    pub roles: Vec<String>,
}

/// The error for an unknown name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {name:?} in {environment}{}", .hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct Miss {
    /// The name that was asked for.
    pub name: String,
    /// The environment.
    pub environment: String,
    /// A suggestion, or the reason why the name is missing.
    pub hint: Option<String>,
}

/// Explains `name`: a logical id, `stack/LogicalId`, an item of the contract or the Sid of a
/// statement.
///
/// # Errors
/// Returns `Miss` with a suggestion when nothing has this name.
pub fn why(environment: &Environment, name: &str) -> Result<Answer, Miss> {
    let stacks = stacks(environment);
    let platform = Platform::new(environment, &stacks);
    let items = items(environment, &platform);
    let places = platform.named(name);
    if !places.is_empty() {
        let resources = places
            .iter()
            .map(|place| platform.explain(place, &items))
            .collect();
        return Ok(Answer {
            resources,
            ..Answer::default()
        });
    }
    let is_asked = |item: &Item| item.slug == name || item.names.iter().any(|other| other == name);
    let (mut answer, mut found) = (Answer::default(), false);
    for (item, places) in items.iter().filter(|(item, _)| is_asked(item)) {
        found = true;
        answer.items.push(item.clone());
        // A role consists of many resources, so its statements are listed instead.
        let told = usize::from(item.what != "role").min(places.len());
        answer.resources.extend(
            places[..told]
                .iter()
                .map(|place| platform.explain(place, &items)),
        );
        answer
            .also
            .extend(places[told..].iter().map(|place| platform.name(place)));
        if item.what == "role" {
            let has = |statement: &Statement| statement.roles.contains(&item.slug);
            answer
                .statements
                .extend(platform.statements(&items).into_iter().filter(has));
        }
    }
    if !found {
        answer.statements = platform
            .statements(&items)
            .into_iter()
            .filter(|statement| statement.sid == name)
            .collect();
        found = !answer.statements.is_empty();
    }
    if found {
        Ok(answer)
    } else {
        Err(platform.miss(name, &items))
    }
}

/// A resource: index of its stack and logical id.
pub(crate) type Place = (usize, String);

enum Target {
    Resource(String),
    Import(String),
}

/// The stacks with all references between their resources.
pub(crate) struct Platform<'a> {
    environment: &'a Environment,
    stacks: &'a [Stack],
    /// References as (from, path, target).
    references: Vec<(Place, String, Target)>,
    /// The resources behind the value of each export.
    exports: HashMap<String, Vec<Place>>,
}

impl<'a> Platform<'a> {
    fn new(environment: &'a Environment, stacks: &'a [Stack]) -> Platform<'a> {
        let mut references = Vec::new();
        let mut exports = HashMap::new();
        for (at, stack) in stacks.iter().enumerate() {
            for (id, resource) in resources(stack) {
                let mut found = Vec::new();
                targets(&resource["Properties"], "Properties", &mut found);
                for other in list(&resource["DependsOn"])
                    .iter()
                    .filter_map(Value::as_str)
                {
                    found.push(("DependsOn".to_owned(), Target::Resource(other.to_owned())));
                }
                references.extend(
                    found
                        .into_iter()
                        .map(|(path, target)| ((at, id.clone()), path, target)),
                );
            }
            for output in stack.template["Outputs"]
                .as_object()
                .into_iter()
                .flat_map(Map::values)
            {
                let Some(name) = output["Export"]["Name"].as_str() else {
                    continue;
                };
                let mut found = Vec::new();
                targets(&output["Value"], "", &mut found);
                let ids = found.into_iter().filter_map(|(_, target)| match target {
                    Target::Resource(id) => Some((at, id)),
                    Target::Import(_) => None,
                });
                exports.insert(name.to_owned(), ids.collect());
            }
        }
        Platform {
            environment,
            stacks,
            references,
            exports,
        }
    }

    fn name(&self, (at, id): &Place) -> String {
        format!("{}/{id}", self.stacks[*at].slug)
    }

    fn resource(&self, (at, id): &Place) -> &'a Value {
        &self.stacks[*at].template["Resources"][id]
    }

    fn all(&self) -> impl Iterator<Item = (Place, &'a Value)> + use<'a> {
        let stacks = self.stacks.iter().enumerate();
        stacks.flat_map(|(at, stack)| {
            resources(stack).map(move |(id, resource)| ((at, id.clone()), resource))
        })
    }

    /// Finds resources by logical id or `stack/LogicalId`. Ignores case only when there is no exact
    /// match.
    fn named(&self, name: &str) -> Vec<Place> {
        let find = |same: fn(&str, &str) -> bool| -> Vec<Place> {
            let is_meant = |(place, _): &(Place, &Value)| {
                same(&place.1, name) || same(&self.name(place), name)
            };
            self.all()
                .filter(is_meant)
                .map(|(place, _)| place)
                .collect()
        };
        let exact = find(|one, other| one == other);
        if exact.is_empty() {
            find(|one, other| one.eq_ignore_ascii_case(other))
        } else {
            exact
        }
    }

    pub(crate) fn called(&self, id: &str) -> Vec<Place> {
        self.all()
            .filter(|(place, _)| place.1 == id)
            .map(|(place, _)| place)
            .collect()
    }

    pub(crate) fn beginning_with(&self, words: &str) -> Vec<Place> {
        self.all()
            .filter(|(place, _)| place.1.starts_with(words))
            .map(|(place, _)| place)
            .collect()
    }

    pub(crate) fn having(&self, property: &str, value: &str) -> Vec<Place> {
        self.all()
            .filter(|(_, resource)| resource["Properties"][property] == value)
            .map(|(place, _)| place)
            .collect()
    }

    pub(crate) fn behind_export(&self, export: &str) -> Vec<Place> {
        self.exports.get(export).cloned().unwrap_or_default()
    }

    /// Returns the resources to which a reference leads.
    fn reached(&self, (at, _): &Place, target: &Target) -> Vec<Place> {
        match target {
            Target::Resource(id) => vec![(*at, id.clone())],
            Target::Import(export) => self.behind_export(export),
        }
    }

    /// Returns the resources that refer to a resource, directly or by an export.
    fn referrers(&self, to: &Place) -> Vec<&Place> {
        let reaches =
            |(from, _, target): &&(Place, String, Target)| self.reached(from, target).contains(to);
        self.references
            .iter()
            .filter(reaches)
            .map(|(from, _, _)| from)
            .collect()
    }

    fn explain(&self, place: &Place, items: &[(Item, Vec<Place>)]) -> Resource {
        let resource = self.resource(place);
        let kind = resource["Type"].as_str().unwrap_or_default().to_owned();
        let text = |key: &str| resource[key].as_str().unwrap_or("Delete").to_owned();
        let own: Vec<&Item> = items
            .iter()
            .filter(|(_, places)| places.contains(place))
            .map(|(item, _)| item)
            .collect();
        let all = self.statements(items);
        let name = self.name(place);
        let direct = self
            .references
            .iter()
            .filter_map(|(from, path, target)| match target {
                Target::Resource(id) if from.0 == place.0 && *id == place.1 => {
                    Some(self.reference(from, path))
                }
                _ => None,
            });
        let mut referenced_by: Vec<Reference> = direct.collect();
        referenced_by.dedup();
        let refers_to: BTreeSet<String> = self
            .references
            .iter()
            .filter(|(from, _, _)| from == place)
            .flat_map(|(from, _, target)| self.reached(from, target))
            .map(|to| self.name(&to))
            .collect();
        // The template shows which alarms watch the resource. Alarms of a role or a secret are
        // known from the contract only.
        let looking = self
            .referrers(place)
            .into_iter()
            .filter_map(|(_, id)| alarm_of(id));
        let mut alarms: BTreeSet<Watch> = looking.map(Watch::of).collect();
        let is_itself = |(_, places): &&(Item, Vec<Place>)| places.first() == Some(place);
        alarms.extend(
            items
                .iter()
                .filter(is_itself)
                .flat_map(|(item, _)| item.alarms.iter().cloned()),
        );
        let waived = resource["Metadata"]["haven"]["waive"]
            .as_array()
            .into_iter()
            .flatten();
        let waivers = waived.map(|waiver| {
            let text = |key: &str| waiver[key].as_str().unwrap_or_default().to_owned();
            Waiver {
                rule: text("rule"),
                reason: text("reason"),
            }
        });
        Resource {
            kind: kind.clone(),
            about: self.stacks[place.0].about,
            contract: own
                .iter()
                .map(|item| format!("{} {}: {}", item.what, item.slug, item.about))
                .collect(),
            referenced_by,
            exports: self.exports_of(place),
            refers_to: refers_to.into_iter().collect(),
            may: all
                .iter()
                .filter(|one| one.resources.contains(&name) && one.of != name)
                .cloned()
                .collect(),
            alarms: alarms.into_iter().collect(),
            properties: properties(&place.1, &kind, resource),
            stateful: is_stateful(&kind),
            deletion_policy: text("DeletionPolicy"),
            update_replace_policy: text("UpdateReplacePolicy"),
            waivers: waivers.collect(),
            statements: all
                .into_iter()
                .filter(|statement| statement.of == name)
                .collect(),
            left_out: self.left_out(place),
            name,
        }
    }

    fn reference(&self, from: &Place, path: &str) -> Reference {
        Reference {
            from: self.name(from),
            path: path.to_owned(),
        }
    }

    fn exports_of(&self, place: &Place) -> Vec<Export> {
        let mut exports: Vec<Export> = Vec::new();
        for (name, _) in self
            .exports
            .iter()
            .filter(|(_, places)| places.contains(place))
        {
            let imports = self
                .references
                .iter()
                .filter_map(|(from, path, target)| match target {
                    Target::Import(export) if export == name => Some(self.reference(from, path)),
                    _ => None,
                });
            exports.push(Export {
                name: name.clone(),
                imported_by: imports.collect(),
            });
        }
        exports.sort_by(|one, other| one.name.cmp(&other.name));
        exports
    }

    fn left_out(&self, (at, id): &Place) -> Vec<String> {
        let slug = self.stacks[*at].slug;
        let all = crate::left_out(self.environment);
        let own = all
            .iter()
            .filter(|left_out| left_out.stack == slug && left_out.resources.contains(id));
        own.map(|left_out| left_out.why.clone()).collect()
    }

    /// Returns every statement of every policy.
    fn statements(&self, items: &[(Item, Vec<Place>)]) -> Vec<Statement> {
        let mut all = Vec::new();
        for (place, resource) in self.all() {
            let mut found = Vec::new();
            statements_in(&resource["Properties"], &mut found);
            if found.is_empty() {
                continue;
            }
            let roles = self.roles_with(&place, items);
            let is_ours = resource["Type"] == kind::IAM_MANAGED_POLICY && !roles.is_empty();
            for statement in found {
                let sid = statement["Sid"].as_str().unwrap_or_default().to_owned();
                let texts = |value: &Value| list(value).iter().map(bare).collect::<Vec<_>>();
                let resources = list(&statement["Resource"])
                    .iter()
                    .flat_map(|arn| self.meant(&place, arn));
                all.push(Statement {
                    of: self.name(&place),
                    effect: bare(&statement["Effect"]),
                    actions: texts(&statement["Action"]),
                    resources: resources.collect(),
                    edge: if is_ours { roles::demand(&sid) } else { None },
                    roles: roles.clone(),
                    sid,
                });
            }
        }
        all
    }

    /// Returns the roles of the contract whose task or service uses a policy.
    fn roles_with(&self, policy: &Place, items: &[(Item, Vec<Place>)]) -> Vec<String> {
        let of_type = |place: &&Place, kinds: &[Kind]| {
            kinds
                .iter()
                .any(|kind| self.resource(place)["Type"] == *kind)
        };
        let holders = self
            .referrers(policy)
            .into_iter()
            .filter(|place| of_type(place, &[kind::IAM_ROLE]));
        let users = holders.flat_map(|holder| self.referrers(holder));
        let users: Vec<&Place> = users
            .filter(|place| of_type(place, &[kind::ECS_TASK_DEFINITION, kind::ECS_SERVICE]))
            .collect();
        let runs = |(item, places): &&(Item, Vec<Place>)| {
            item.what == "role" && users.iter().any(|user| places.contains(user))
        };
        items
            .iter()
            .filter(runs)
            .map(|(item, _)| item.slug.clone())
            .collect()
    }

    /// Returns our own resources as `stack/LogicalId`, and any other ARN as written.
    fn meant(&self, policy: &Place, arn: &Value) -> Vec<String> {
        let mut found = Vec::new();
        targets(arn, "", &mut found);
        let mut ours: Vec<Place> = found
            .iter()
            .flat_map(|(_, target)| self.reached(policy, target))
            .collect();
        ours.extend(
            self.all()
                .filter(|(_, resource)| is_named_in(arn, resource))
                .map(|(place, _)| place),
        );
        if ours.is_empty() {
            vec![bare(arn)]
        } else {
            ours.iter().map(|place| self.name(place)).collect()
        }
    }

    fn miss(&self, name: &str, items: &[(Item, Vec<Place>)]) -> Miss {
        let id = name.rsplit('/').next().unwrap_or_default();
        let left_out = crate::left_out(self.environment);
        let left_out = left_out
            .iter()
            .find(|left_out| left_out.resources.iter().any(|known| known == id));
        let hint = left_out
            .map(|left_out| format!("it is left out there: {}", left_out.why))
            .or_else(|| {
                let mut known: BTreeSet<String> =
                    items.iter().map(|(item, _)| item.slug.clone()).collect();
                for (place, _) in self.all() {
                    known.extend([self.name(&place), place.1]);
                }
                known.extend(
                    self.statements(items)
                        .into_iter()
                        .map(|statement| statement.sid),
                );
                nearest(name, known.iter().map(String::as_str))
                    .map(|near| format!("did you mean {near}?"))
            });
        Miss {
            name: name.to_owned(),
            environment: self.environment.name.clone(),
            hint,
        }
    }
}

fn resources(stack: &Stack) -> impl Iterator<Item = (&String, &Value)> {
    stack.template["Resources"]
        .as_object()
        .into_iter()
        .flatten()
}

/// Collects everything to which a value refers, with the paths.
fn targets(value: &Value, path: &str, found: &mut Vec<(String, Target)>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                let here = || path.to_owned();
                let resource = |id: &str| (here(), Target::Resource(id.to_owned()));
                match (name.as_str(), inner) {
                    ("Ref", Value::String(id)) if !id.starts_with("AWS::") => {
                        found.push(resource(id))
                    }
                    ("Fn::GetAtt", Value::Array(parts)) => {
                        found.extend(parts.first().and_then(Value::as_str).map(resource));
                    }
                    ("Fn::ImportValue", Value::String(export)) => {
                        found.push((here(), Target::Import(export.clone())))
                    }
                    ("Fn::Sub", Value::String(text)) => {
                        found.extend(substituted(text).map(resource))
                    }
                    ("Fn::Sub", Value::Array(parts)) => {
                        let given = parts.get(1).unwrap_or(&Value::Null);
                        let text = parts.first().and_then(Value::as_str).unwrap_or_default();
                        found.extend(
                            substituted(text)
                                .filter(|id| given.get(*id).is_none())
                                .map(resource),
                        );
                        targets(given, path, found);
                    }
                    (name, inner) if name.starts_with("Fn::") => targets(inner, path, found),
                    (name, inner) => targets(inner, &format!("{path}.{name}"), found),
                }
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                targets(value, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Returns the ids in a text: `${Queue.Arn}` has `Queue`.
fn substituted(text: &str) -> impl Iterator<Item = &str> {
    let names = text
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split(['}', '.']).next());
    names.filter(|name| !name.starts_with('!') && !name.starts_with("AWS::"))
}

/// Collects the policy statements anywhere in a value.
fn statements_in<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(object)
            if object.contains_key("Effect") && object.contains_key("Resource") =>
        {
            found.push(value)
        }
        Value::Object(object) => object
            .values()
            .for_each(|value| statements_in(value, found)),
        Value::Array(values) => values.iter().for_each(|value| statements_in(value, found)),
        _ => {}
    }
}

/// Returns the consequence of a change of each property, as `consequence::diff` computes it for a
/// plan.
fn properties(id: &str, kind: &str, resource: &Value) -> Vec<Property> {
    let mut paths = Vec::new();
    let known = schema::of(kind);
    for (name, value) in resource["Properties"].as_object().into_iter().flatten() {
        leaves(known, value, vec![name.clone()], &mut paths);
    }
    let before = json!({ "Resources": { id: resource } });
    let effect = |steps: Vec<String>| {
        let mut after = before.clone();
        let mut inner = &mut after["Resources"][id]["Properties"];
        for step in &steps {
            inner = &mut inner[step];
        }
        *inner = json!("another value");
        let change = consequence::diff(&before, &after).into_iter().next()?;
        let (rung, consequence) = (change.rung, change.consequence);
        Some(Property {
            path: steps.join("."),
            rung,
            consequence,
        })
    };
    let mut properties: Vec<Property> = paths.into_iter().filter_map(effect).collect();
    properties.sort_by(|one, other| {
        other
            .rung
            .cmp(&one.rung)
            .then_with(|| one.path.cmp(&other.path))
    });
    properties
}

/// Collects a property as a whole, or its parts if only some of them replace the resource.
fn leaves(
    known: Option<&schema::Schema>,
    value: &Value,
    steps: Vec<String>,
    paths: &mut Vec<Vec<String>>,
) {
    let effect = known.map_or(Effect::InPlace, |known| known.effect(&steps.join(".")));
    match value.as_object().filter(|object| {
        !object
            .keys()
            .any(|key| key == "Ref" || key.starts_with("Fn::"))
    }) {
        Some(object) if effect != Effect::InPlace => {
            for (name, inner) in object {
                let steps = steps.iter().chain([name]).cloned().collect();
                leaves(known, inner, steps, paths);
            }
        }
        _ => paths.push(steps),
    }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
