//! Everything there is to say of one resource, one role or one statement.

use std::collections::BTreeSet;

use blueprint::Environment;
use blueprint::consequence::{Rung, at_least, is_stateful};
use blueprint::schema::Effect;
use contract::alarm::Alarm;
use contract::role::{ROLES, Role};
use serde::Serialize;
use serde_json::Value;

use super::contract::{Item, alarm, alarms_of, items, role_of};
use super::platform::{Place, Platform};

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// As a plan names it, such as `data/Database`.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub stack: String,
    pub stack_about: &'static str,
    /// The items of the contract that it is made for.
    pub because: Vec<String>,
    pub stateful: bool,
    pub deletion_policy: String,
    pub update_replace_policy: String,
    pub used_by: Vec<User>,
    pub uses: Vec<String>,
    pub permissions: Vec<Permission>,
    pub alarms: Vec<Watch>,
    pub changes: Vec<Changing>,
}

/// Who refers to a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Through this export, if from another stack.
    pub export: Option<String>,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// Roles of the contract; else the IAM roles that have the policy.
    pub roles: Vec<String>,
    pub policy: String,
    pub sid: String,
    pub effect: String,
    pub because: String,
    /// Whether the contract itself says so; else it follows from what does, or from how roles run.
    pub of_the_contract: bool,
    pub actions: Vec<String>,
    pub on: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watch {
    pub alarm: &'static str,
    pub impact: &'static str,
    pub runbook: &'static str,
}

/// What a change of a property would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changing {
    pub property: String,
    pub effect: &'static str,
}

/// One role of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleTold {
    pub role: &'static str,
    pub about: &'static str,
    pub resources: Vec<String>,
    pub permissions: Vec<Permission>,
    pub alarms: Vec<Watch>,
}

pub struct Explainer<'a> {
    pub platform: Platform<'a>,
    pub environment: &'a Environment,
    pub items: Vec<Item<'a>>,
}

impl<'a> Explainer<'a> {
    pub fn new(platform: Platform<'a>, environment: &'a Environment) -> Explainer<'a> {
        let items = items(&platform, environment);
        Explainer { platform, environment, items }
    }

    pub fn resource(&self, place: Place<'a>) -> Resource {
        let platform = &self.platform;
        let (stack, resource, kind) = (platform.stack(place), platform.resource(place), platform.kind(place));
        let policy = |name: &str| resource[name].as_str().unwrap_or("Delete").to_owned();
        let users = platform.users(place).into_iter().map(|(user, export)| User {
            name: platform.name(user),
            kind: platform.kind(user).to_owned(),
            export,
        });
        let uses = platform.means(place.0, &resource["Properties"]);
        let mut changes = Vec::new();
        for (property, value) in resource["Properties"].as_object().into_iter().flatten() {
            changing(kind, property.clone(), value, &mut changes);
        }
        Resource {
            name: platform.name(place),
            kind: kind.to_owned(),
            stack: stack.name.clone(),
            stack_about: stack.about,
            because: self.because(place, &uses),
            stateful: is_stateful(kind),
            deletion_policy: policy("DeletionPolicy"),
            update_replace_policy: policy("UpdateReplacePolicy"),
            used_by: users.collect(),
            uses: uses.iter().map(|used| platform.name(*used)).collect(),
            permissions: self.permissions(|permission_on| permission_on.is(self, place)),
            alarms: self.alarms(place),
            changes,
        }
    }

    pub fn role(&self, role: &'static Role) -> RoleTold {
        let own = self.platform.all().map(|(place, _)| place);
        let own = own.filter(|(_, id)| role_of(id).is_some_and(|known| known.slug == role.slug));
        RoleTold {
            role: role.slug,
            about: role.about,
            resources: own.map(|place| self.platform.name(place)).collect(),
            permissions: self.permissions(|on| self.holders(on.policy).iter().any(|holder| holder == role.slug)),
            alarms: alarms_of(role).map(watch).collect(),
        }
    }

    /// Under a Sid, in whatever policies have it.
    pub fn statements(&self, sid: &str) -> Vec<Permission> {
        self.permissions(|on| on.statement["Sid"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(sid)))
    }

    pub fn sids(&self) -> BTreeSet<&'a str> {
        self.all_statements().filter_map(|on| on.statement["Sid"].as_str()).collect()
    }

    /// The items that it is; else those that it serves, for it refers to them.
    fn because(&self, place: Place<'a>, uses: &BTreeSet<Place<'a>>) -> Vec<String> {
        let said = |item: &Item<'_>| format!("{} {}: {}", item.what, item.slug, item.about);
        let mut because: Vec<String> = self.items.iter().filter(|item| item.place == place).map(said).collect();
        if let Some(role) = role_of(place.1) {
            because.push(format!("role {}: {}", role.slug, role.about));
        }
        if because.is_empty() {
            let served = self.items.iter().filter(|item| uses.contains(&item.place));
            because.extend(served.map(|item| format!("serves the {} {}: {}", item.what, item.slug, item.about)));
        }
        because
    }

    fn alarms(&self, place: Place<'a>) -> Vec<Watch> {
        let platform = &self.platform;
        let mut watches = Vec::new();
        for (at, resource) in platform.all().filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm") {
            let properties = &resource["Properties"];
            // Where it tells of itself is not what it watches.
            let watched = [&properties["Dimensions"], &properties["Metrics"]];
            let watches_it = watched.into_iter().any(|value| platform.means(at.0, value).contains(&place));
            if let (true, Some(known)) = (watches_it || at == place, properties["AlarmName"].as_str()) {
                watches.extend(alarm(self.environment, known).map(watch));
            }
        }
        if let (Some(role), "AWS::ECS::Service" | "AWS::ECS::TaskDefinition") = (role_of(place.1), platform.kind(place))
        {
            let more: Vec<Watch> = alarms_of(role).map(watch).filter(|more| !watches.contains(more)).collect();
            watches.extend(more);
        }
        watches
    }

    fn permissions(&self, wanted: impl Fn(&On<'a>) -> bool) -> Vec<Permission> {
        self.all_statements().filter(|on| wanted(on)).map(|on| self.permission(&on)).collect()
    }

    fn all_statements(&self) -> impl Iterator<Item = On<'a>> {
        let policies = self.platform.all().filter(|(_, resource)| resource["Type"] == "AWS::IAM::ManagedPolicy");
        policies.flat_map(|(policy, resource)| {
            let statements = resource["Properties"]["PolicyDocument"]["Statement"].as_array();
            statements.into_iter().flatten().map(move |statement| On { policy, statement })
        })
    }

    fn permission(&self, on: &On<'a>) -> Permission {
        let sid = on.statement["Sid"].as_str().unwrap_or_default();
        let roles = self.holders(on.policy);
        let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let edges = ROLES.iter().filter(|role| roles.iter().any(|slug| slug == role.slug));
        let mut edges = edges.flat_map(|role| blueprint::statements(role, self.environment));
        let edge = edges.find(|edge| plain(&edge.because) == plain(sid));
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut places: BTreeSet<String> = BTreeSet::new();
        for value in list(&on.statement["Resource"]) {
            let meant = self.platform.means(on.policy.0, value);
            match meant.is_empty() {
                true => places.insert(text(value.get("Fn::Sub").unwrap_or(value))),
                false => {
                    places.extend(meant.into_iter().map(|place| self.platform.name(place)));
                    true
                }
            };
        }
        Permission {
            roles,
            policy: self.platform.name(on.policy),
            sid: sid.to_owned(),
            effect: text(&on.statement["Effect"]),
            of_the_contract: edge.is_some(),
            because: edge.map_or_else(|| words(sid), |edge| edge.because),
            actions: list(&on.statement["Action"]).iter().map(text).collect(),
            on: places.into_iter().collect(),
        }
    }

    /// Roles of the contract whose tasks run or start with a policy; else the IAM roles that have it.
    fn holders(&self, policy: Place<'a>) -> Vec<String> {
        let platform = &self.platform;
        let users = |place| platform.users(place).into_iter().map(|(user, _)| user);
        let iam = users(policy).filter(|user| platform.kind(*user) == "AWS::IAM::Role").collect::<Vec<_>>();
        let tasks = iam.iter().flat_map(|role| users(*role));
        let tasks = tasks.filter(|user| platform.kind(*user) == "AWS::ECS::TaskDefinition");
        let slugs: BTreeSet<&str> = tasks.filter_map(|(_, id)| role_of(id)).map(|role| role.slug).collect();
        match slugs.is_empty() {
            false => slugs.into_iter().map(str::to_owned).collect(),
            true => iam.into_iter().map(|role| platform.name(role)).collect(),
        }
    }
}

/// A statement, and the policy that it stands in.
struct On<'a> {
    policy: Place<'a>,
    statement: &'a Value,
}

impl<'a> On<'a> {
    /// Whether it is about a resource, by reference or by the name that its template gives it.
    fn is(&self, explainer: &Explainer<'a>, place: Place<'a>) -> bool {
        let platform = &explainer.platform;
        let names = given_names(platform.resource(place));
        list(&self.statement["Resource"]).iter().any(|value| {
            let text = value.get("Fn::Sub").unwrap_or(value).as_str();
            let by_name = |text: &str| names.iter().any(|name| ends_with_name(text, name));
            platform.means(self.policy.0, value).contains(&place) || text.is_some_and(by_name)
        })
    }
}

/// Names that a template gives a resource outright.
pub fn given_names(resource: &Value) -> Vec<&str> {
    let properties = resource["Properties"].as_object().into_iter().flatten();
    let names = properties.filter(|(key, _)| {
        ["Name", "Identifier", "Family"].iter().any(|end| key.ends_with(end)) || *key == "EmailIdentity"
    });
    names.filter_map(|(_, value)| value.as_str()).collect()
}

/// Whether an ARN is that of a name; Secrets Manager adds a dash and six characters.
fn ends_with_name(arn: &str, name: &str) -> bool {
    arn.strip_suffix("-??????")
        .unwrap_or(arn)
        .strip_suffix(name)
        .is_some_and(|before| before.is_empty() || name.starts_with('/') || before.ends_with(['/', ':']))
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

const fn watch(alarm: &'static Alarm) -> Watch {
    Watch { alarm: alarm.slug, impact: alarm.impact, runbook: alarm.runbook }
}

/// `OpensTheMessagesKey` as words.
fn words(sid: &str) -> String {
    let mut words = String::new();
    for letter in sid.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// What a change of a property does; parts of it for themselves where they differ.
fn changing(kind: &str, path: String, value: &Value, changes: &mut Vec<Changing>) {
    let mut parts = Vec::new();
    let is_plain = |key: &String| key != "Ref" && !key.starts_with("Fn::");
    for (name, value) in value.as_object().into_iter().flatten().filter(|(key, _)| is_plain(key)) {
        changing(kind, format!("{path}.{name}"), value, &mut parts);
    }
    match parts.iter().any(|part| part.effect != parts[0].effect) {
        true => changes.append(&mut parts),
        false => {
            // Of a part AWS may know more than of the whole.
            let effect = parts.first().map_or_else(|| effect(at_least(kind, &path)), |part| part.effect);
            changes.push(Changing { property: path, effect });
        }
    }
}

const fn effect((effect, rung): (Effect, Rung)) -> &'static str {
    match effect {
        Effect::Fails => "is refused: it must be made anew under another name",
        Effect::Replaces => "replaces it",
        Effect::MayReplace => "may replace it",
        Effect::InPlace => rung.title(),
    }
}
