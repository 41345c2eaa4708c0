//! Explains a resource: the item of the contract behind it, references to it, permissions on it,
//! alarms on it, and the consequences of a change. The explanation is computed from the templates
//! and the contract alone.

mod item;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use crate::consequence::{self, Rung, is_stateful};
use crate::environment::Environment;
use crate::graph::{Graph, Place};
use crate::kind::{self, Kind};
use crate::references::{Path, Target, is_function, list, text, visit};
use crate::schema::{self, Effect};
use crate::spelling::nearest;
use crate::stack::Stack;
use crate::stacks::{left_out, stacks};
use crate::{policy, roles};
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
    /// The parts that the local AWS omits, with the reasons.
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
    let explainer = Explainer::new(environment, &stacks);
    let items = items(environment, &explainer.graph);
    let places = explainer.named(name);
    if !places.is_empty() {
        let resources = places
            .into_iter()
            .map(|place| explainer.explain(place, &items))
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
                .map(|place| explainer.explain(*place, &items)),
        );
        answer.also.extend(
            places[told..]
                .iter()
                .map(|place| explainer.graph.name(*place)),
        );
        if item.what == "role" {
            let has = |statement: &Statement| statement.roles.contains(&item.slug);
            answer
                .statements
                .extend(explainer.statements(&items).into_iter().filter(has));
        }
    }
    if !found {
        answer.statements = explainer
            .statements(&items)
            .into_iter()
            .filter(|statement| statement.sid == name)
            .collect();
        found = !answer.statements.is_empty();
    }
    if found {
        Ok(answer)
    } else {
        Err(explainer.miss(name, &items))
    }
}

/// The stacks of an environment with all references between their resources.
struct Explainer<'a> {
    environment: &'a Environment,
    graph: Graph<'a>,
    /// References as (from, path, target).
    references: Vec<(Place<'a>, String, Target<'a>)>,
}

impl<'a> Explainer<'a> {
    fn new(environment: &'a Environment, stacks: &'a [Stack]) -> Explainer<'a> {
        let graph = Graph::new(stacks);
        let mut references = Vec::new();
        for resource in graph.resources() {
            let mut add = |path: String, target| references.push((resource.place, path, target));
            visit(
                resource.properties,
                &Path::Root("Properties"),
                &mut |path, target| match target {
                    Target::Own(id, _) if id.starts_with("AWS::") => {}
                    Target::Own(..) | Target::Import(_) => add(path.to_string(), target),
                },
            );
            for other in list(&resource.body["DependsOn"])
                .iter()
                .filter_map(Value::as_str)
            {
                add("DependsOn".to_owned(), Target::Own(other, None));
            }
        }
        Explainer {
            environment,
            graph,
            references,
        }
    }

    /// Finds resources by logical id or `stack/LogicalId`. Ignores case only when there is no exact
    /// match.
    fn named(&self, name: &str) -> Vec<Place<'a>> {
        let find = |same: fn(&str, &str) -> bool| {
            self.graph
                .find(|it| same(it.id, name) || same(&self.graph.name(it.place), name))
        };
        let exact = find(|one, other| one == other);
        if exact.is_empty() {
            find(|one, other| one.eq_ignore_ascii_case(other))
        } else {
            exact
        }
    }

    /// Returns the resources that refer to a resource, directly or by an export.
    fn referrers(&self, to: Place<'a>) -> Vec<Place<'a>> {
        self.references
            .iter()
            .filter(|(from, _, target)| self.graph.reached(from.0, *target).contains(&to))
            .map(|(from, _, _)| *from)
            .collect()
    }

    fn explain(&self, place: Place<'a>, items: &[(Item, Vec<Place<'a>>)]) -> Resource {
        let resource = self.graph.body(place);
        let kind = resource["Type"].as_str().unwrap_or_default().to_owned();
        let policy = |key: &str| resource[key].as_str().unwrap_or("Delete").to_owned();
        let own: Vec<&Item> = items
            .iter()
            .filter(|(_, places)| places.contains(&place))
            .map(|(item, _)| item)
            .collect();
        let all = self.statements(items);
        let name = self.graph.name(place);
        let direct = self
            .references
            .iter()
            .filter_map(|(from, path, target)| match target {
                Target::Own(id, _) if (from.0, *id) == place => Some(self.reference(*from, path)),
                Target::Own(..) | Target::Import(_) => None,
            });
        let mut referenced_by: Vec<Reference> = direct.collect();
        referenced_by.dedup();
        let refers_to: BTreeSet<String> = self
            .references
            .iter()
            .filter(|(from, _, _)| *from == place)
            .flat_map(|(from, _, target)| self.graph.reached(from.0, *target))
            .map(|to| self.graph.name(to))
            .collect();
        // The template shows which alarms watch the resource. Alarms of a role or a secret are
        // known from the contract only.
        let looking = self
            .referrers(place)
            .into_iter()
            .filter_map(|(_, id)| alarm_of(id));
        let mut alarms: BTreeSet<Watch> = looking.map(Watch::of).collect();
        let is_itself = |(_, places): &&(Item, Vec<Place<'a>>)| places.first() == Some(&place);
        alarms.extend(
            items
                .iter()
                .filter(is_itself)
                .flat_map(|(item, _)| item.alarms.iter().cloned()),
        );
        let template = &self.graph.stack(place.0).template;
        let waivers = policy::waivers(template, place.1).map(|(rule, reason)| Waiver {
            rule: rule.to_owned(),
            reason: reason.to_owned(),
        });
        Resource {
            kind: kind.clone(),
            about: self.graph.stack(place.0).about,
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
            properties: properties(place.1, &kind, resource),
            stateful: is_stateful(&kind),
            deletion_policy: policy("DeletionPolicy"),
            update_replace_policy: policy("UpdateReplacePolicy"),
            waivers: waivers.collect(),
            statements: all
                .into_iter()
                .filter(|statement| statement.of == name)
                .collect(),
            left_out: self.left_out(place),
            name,
        }
    }

    fn reference(&self, from: Place<'a>, path: &str) -> Reference {
        Reference {
            from: self.graph.name(from),
            path: path.to_owned(),
        }
    }

    fn exports_of(&self, place: Place<'a>) -> Vec<Export> {
        let own = self
            .graph
            .exports()
            .filter(|name| self.graph.behind_export(name).contains(&place));
        let export = |name: &'a str| {
            let imports = self
                .references
                .iter()
                .filter(|(_, _, target)| *target == Target::Import(name))
                .map(|(from, path, _)| self.reference(*from, path));
            Export {
                name: name.to_owned(),
                imported_by: imports.collect(),
            }
        };
        own.map(export).collect()
    }

    fn left_out(&self, (at, id): Place<'_>) -> Vec<String> {
        let slug = self.graph.stack(at).slug;
        let all = left_out(self.environment);
        let own = all.iter().filter(|left_out| {
            left_out.stack == slug && left_out.resources.iter().any(|known| known == id)
        });
        own.map(|left_out| left_out.why.clone()).collect()
    }

    /// Returns every statement of every policy.
    fn statements(&self, items: &[(Item, Vec<Place<'a>>)]) -> Vec<Statement> {
        let mut all = Vec::new();
        for resource in self.graph.resources() {
            let mut found = Vec::new();
            statements_in(resource.properties, &mut found);
            if found.is_empty() {
                continue;
            }
            let roles = self.roles_with(resource.place, items);
            let is_ours = resource.kind == kind::IAM_MANAGED_POLICY && !roles.is_empty();
            for statement in found {
                let sid = statement["Sid"].as_str().unwrap_or_default().to_owned();
                let texts = |value: &Value| list(value).iter().map(text).collect::<Vec<_>>();
                let resources = list(&statement["Resource"])
                    .iter()
                    .flat_map(|arn| self.meant(resource.place.0, arn));
                all.push(Statement {
                    of: self.graph.name(resource.place),
                    effect: text(&statement["Effect"]),
                    actions: texts(&statement["Action"]),
                    resources: resources.collect(),
                    edge: is_ours
                        .then(|| roles::demand(self.environment, &sid))
                        .flatten(),
                    roles: roles.clone(),
                    sid,
                });
            }
        }
        all
    }

    /// Returns the roles of the contract whose task or service uses a policy.
    fn roles_with(&self, policy: Place<'a>, items: &[(Item, Vec<Place<'a>>)]) -> Vec<String> {
        let is_one_of = |place: &Place<'a>, kinds: &[Kind]| {
            kinds
                .iter()
                .any(|kind| self.graph.body(*place)["Type"] == *kind)
        };
        let holders = self
            .referrers(policy)
            .into_iter()
            .filter(|place| is_one_of(place, &[kind::IAM_ROLE]));
        let users: Vec<Place<'a>> = holders
            .flat_map(|holder| self.referrers(holder))
            .filter(|place| is_one_of(place, &[kind::ECS_TASK_DEFINITION, kind::ECS_SERVICE]))
            .collect();
        let runs = |(item, places): &&(Item, Vec<Place<'a>>)| {
            item.what == "role" && users.iter().any(|user| places.contains(user))
        };
        items
            .iter()
            .filter(runs)
            .map(|(item, _)| item.slug.clone())
            .collect()
    }

    /// Returns our own resources as `stack/LogicalId`, and any other ARN as written. `at` is the
    /// index of the policy's stack.
    fn meant(&self, at: usize, arn: &'a Value) -> Vec<String> {
        let mut ours: Vec<Place<'a>> = self.graph.places(at, arn).into_iter().collect();
        ours.extend(self.graph.find(|it| is_named_in(arn, it.body)));
        if ours.is_empty() {
            vec![text(arn)]
        } else {
            ours.iter().map(|place| self.graph.name(*place)).collect()
        }
    }

    fn miss(&self, name: &str, items: &[(Item, Vec<Place<'a>>)]) -> Miss {
        let id = name.rsplit('/').next().unwrap_or_default();
        let left_out = left_out(self.environment);
        let left_out = left_out
            .iter()
            .find(|left_out| left_out.resources.iter().any(|known| known == id));
        let hint = left_out
            .map(|left_out| format!("it is left out: {}", left_out.why))
            .or_else(|| {
                let mut known: BTreeSet<String> =
                    items.iter().map(|(item, _)| item.slug.clone()).collect();
                for it in self.graph.resources() {
                    known.extend([self.graph.name(it.place), it.id.to_owned()]);
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
    match value.as_object().filter(|_| !is_function(value)) {
        Some(object) if effect != Effect::InPlace => {
            for (name, inner) in object {
                let steps = steps.iter().chain([name]).cloned().collect();
                leaves(known, inner, steps, paths);
            }
        }
        _ => paths.push(steps),
    }
}
