//! The schemas of CloudFormation's resource types, and a check of templates against them. The check
//! runs offline in milliseconds.
//!
//! The data is in `infra/blueprint/schema/table.json`, generated from AWS's resource provider
//! schemas. A general JSON Schema validator would report intrinsic functions and numbers in quotes,
//! which CloudFormation accepts, and cannot suggest a name for a misspelled property.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::references::{Path, Target, is_function, list, number, text, visit};
use crate::spelling::nearest;

const TABLE: &str = include_str!("../schema/table.json");

/// A problem of a template.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The logical id; empty for the template itself.
    pub resource: String,
    /// The path of the value, such as `Properties.RedrivePolicy.maxReceiveCount`.
    pub path: String,
    /// The problem, and the valid values.
    pub message: String,
}

/// The schema of one resource type.
#[derive(Debug)]
pub struct Schema {
    shape: Shape,
    facts: Facts,
}

/// Facts about a resource type besides its properties. Names borrow from the table.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Facts {
    #[serde(borrow)]
    definitions: BTreeMap<&'static str, Unread>,
    #[serde(borrow)]
    get_att: BTreeSet<&'static str>,
    #[serde(borrow)]
    read_only: BTreeSet<&'static str>,
    #[serde(borrow)]
    create_only: Vec<&'static str>,
    #[serde(borrow)]
    conditional_create_only: Vec<&'static str>,
    #[serde(borrow)]
    update_fails: Vec<&'static str>,
    /// The property that takes tags.
    tags: Option<&'static str>,
    stack_tags: bool,
    #[serde(borrow)]
    permissions: Option<&'static RawValue>,
}

/// A named shape, parsed on first use. A template uses few of a type's properties and definitions.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Unread {
    #[serde(borrow)]
    text: &'static RawValue,
    /// Boxed, because a B-tree node allocates space for eleven entries.
    #[serde(skip)]
    read: OnceLock<Box<Shape>>,
}

impl Unread {
    /// Returns the parsed shape.
    ///
    /// # Panics
    /// Panics when the table is invalid. The test that reads the whole table finds this defect.
    fn shape(&self) -> &Shape {
        self.read
            .get_or_init(|| serde_json::from_str(self.text.get()).expect("a shape"))
    }
}

/// The valid values of a property.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shape {
    #[serde(rename = "type")]
    kind: Option<OneOrMore>,
    #[serde(rename = "ref")]
    reference: Option<&'static str>,
    #[serde(borrow)]
    properties: BTreeMap<&'static str, Unread>,
    /// Only whether there are any matters.
    pattern_properties: BTreeMap<String, IgnoredAny>,
    #[serde(borrow)]
    required: Vec<&'static str>,
    /// True if properties without a name in the schema are allowed.
    open: bool,
    items: Option<Box<Shape>>,
    #[serde(rename = "enum")]
    values: Option<Vec<Value>>,
    #[serde(rename = "enumCaseInsensitive")]
    values_in_any_case: Option<Vec<Value>>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    #[serde(borrow)]
    dependent_required: BTreeMap<&'static str, Vec<&'static str>>,
    #[serde(borrow)]
    dependent_excluded: BTreeMap<&'static str, Vec<&'static str>>,
    /// Exactly one of these properties is required.
    #[serde(borrow)]
    required_xor: Vec<&'static str>,
    /// At least one of these properties is required.
    #[serde(borrow)]
    required_or: Vec<&'static str>,
    any_of: Vec<Shape>,
    one_of: Vec<Shape>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(&'static str),
    #[serde(borrow)]
    More(Vec<&'static str>),
}

/// The effect of a property change on its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The resource is updated in place.
    InPlace,
    /// The effect depends on the value, or AWS's sources disagree.
    MayReplace,
    /// The resource is replaced.
    Replaces,
    /// CloudFormation refuses the update: the resource needs another logical id.
    Fails,
}

/// Returns the schema of a resource type, or `None` if the table lacks it.
pub fn of(name: &str) -> Option<&'static Schema> {
    /// The text of a type's schema, parsed on first use.
    type Line = (&'static str, OnceLock<Option<Schema>>);
    static KINDS: OnceLock<BTreeMap<&'static str, Line>> = OnceLock::new();
    // The table has one type per line, so that only the types in use are parsed.
    let kinds = KINDS.get_or_init(|| {
        let lines = TABLE.lines().filter_map(|line| {
            let (name, facts) = line.strip_prefix('"')?.split_once("\":")?;
            let facts = facts.trim_end_matches(',');
            name.starts_with("AWS::")
                .then_some((name, (facts, OnceLock::new())))
        });
        lines.collect()
    });
    let (facts, read) = kinds.get(name)?;
    read.get_or_init(|| Schema::read(facts).ok()).as_ref()
}

impl Schema {
    fn read(text: &'static str) -> serde_json::Result<Schema> {
        // Each deserializer reads its own fields and ignores the others.
        Ok(Schema {
            shape: serde_json::from_str(text)?,
            facts: serde_json::from_str(text)?,
        })
    }

    /// Returns the effect of a change of the property at `path`, such as `Name` or
    /// `Budget.BudgetName`.
    pub fn effect(&self, path: &str) -> Effect {
        let listed = |list: &[&str]| {
            list.iter().any(|known| {
                // A property inside or around a listed one counts too, because a diff may be
                // coarser or finer than the list.
                let covers = |outer: &str, inner: &str| {
                    inner == outer
                        || inner
                            .strip_prefix(outer)
                            .is_some_and(|rest| rest.starts_with('.'))
                };
                covers(known, path) || covers(path, known)
            })
        };
        if listed(&self.facts.update_fails) {
            Effect::Fails
        } else if listed(&self.facts.create_only) {
            Effect::Replaces
        } else if listed(&self.facts.conditional_create_only) {
            Effect::MayReplace
        } else {
            Effect::InPlace
        }
    }

    /// Returns the property that takes tags.
    pub fn tags(&self) -> Option<&str> {
        self.facts.tags
    }

    /// Returns true if CloudFormation passes the tags of the stack to the resource.
    pub fn takes_stack_tags(&self) -> bool {
        self.facts.stack_tags
    }

    /// Returns the actions that the deploying principal needs, by handler: `create`, `read`,
    /// `update`, `delete` and `tag`.
    ///
    /// # Panics
    /// Panics when the table is invalid. Any test that reads the table finds this defect.
    pub fn permissions(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        let text = self.facts.permissions.map(RawValue::get);
        text.map_or_else(BTreeMap::new, |text| {
            serde_json::from_str(text).expect("actions by verb")
        })
    }
}

/// Returns every problem for which CloudFormation's schemas would refuse the template.
pub fn check(template: &Value) -> Vec<Violation> {
    let empty = Map::new();
    let resources = template["Resources"].as_object().unwrap_or(&empty);
    let mut checker = Checker {
        resources,
        resource: "",
        kind: None,
        violations: Vec::new(),
    };
    for (id, resource) in resources {
        checker.resource = id;
        checker.resource(resource);
    }
    checker.resource = "";
    checker.kind = None;
    checker.references(&template["Outputs"], &Path::Root("Outputs"));
    checker.violations
}

/// The attributes of a resource.
const ATTRIBUTES: [&str; 8] = [
    "Type",
    "Properties",
    "DependsOn",
    "Condition",
    "Metadata",
    "DeletionPolicy",
    "UpdateReplacePolicy",
    "UpdatePolicy",
];
/// `RetainExceptOnCreate` is valid as a deletion policy only.
const DELETION_POLICIES: [&str; 4] = ["Delete", "Retain", "RetainExceptOnCreate", "Snapshot"];
const REPLACE_POLICIES: [&str; 3] = ["Delete", "Retain", "Snapshot"];
const PSEUDO_PARAMETERS: [&str; 8] = [
    "AWS::AccountId",
    "AWS::NotificationARNs",
    "AWS::NoValue",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

struct Checker<'a> {
    resources: &'a Map<String, Value>,
    resource: &'a str,
    kind: Option<&'static Schema>,
    violations: Vec<Violation>,
}

impl<'a> Checker<'a> {
    fn wrong(&mut self, path: impl fmt::Display, message: impl Into<String>) {
        let resource = self.resource.to_owned();
        self.violations.push(Violation {
            resource,
            path: path.to_string(),
            message: message.into(),
        });
    }

    fn resource(&mut self, resource: &'a Value) {
        let Some(object) = resource.as_object() else {
            return self.wrong("", "must be an object");
        };
        for name in object
            .keys()
            .filter(|name| !ATTRIBUTES.contains(&name.as_str()))
        {
            self.wrong(
                name,
                format!(
                    "is not an attribute of a resource; use one of {}",
                    ATTRIBUTES.join(", ")
                ),
            );
        }
        for (name, legal) in [
            ("DeletionPolicy", &DELETION_POLICIES[..]),
            ("UpdateReplacePolicy", &REPLACE_POLICIES),
        ] {
            if let Some(policy) = object.get(name)
                && !policy
                    .as_str()
                    .is_some_and(|policy| legal.contains(&policy))
            {
                self.wrong(name, format!("must be one of {}", legal.join(", ")));
            }
        }
        for other in list(&resource["DependsOn"])
            .iter()
            .filter_map(Value::as_str)
        {
            if !self.resources.contains_key(other) {
                self.wrong("DependsOn", format!("there is no resource {other}"));
            }
        }
        let name = object
            .get("Type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some(known) = of(name) else {
            return self.wrong(
                "Type",
                format!("{name:?} is not in the schema table; add it to schema/types.txt"),
            );
        };
        self.kind = Some(known);
        let nothing = Value::Object(Map::new());
        let properties = object.get("Properties").unwrap_or(&nothing);
        for property in properties.as_object().into_iter().flat_map(Map::keys) {
            if known.facts.read_only.contains(property.as_str()) {
                self.wrong(
                    format!("Properties.{property}"),
                    "is assigned by AWS and cannot be set",
                );
            }
        }
        self.object(&known.shape, properties, &Path::Root("Properties"));
        self.references(&resource["Properties"], &Path::Root("Properties"));
    }

    fn value(&mut self, shape: &Shape, value: &Value, path: &Path<'_>) {
        if let Some(name) = shape.reference
            && let Some(defined) = self
                .kind
                .and_then(|kind| kind.facts.definitions.get(name))
                .map(Unread::shape)
        {
            self.value(defined, value, path);
        }
        // The value of an intrinsic function is known only at deployment.
        if is_function(value) {
            return;
        }
        if let Some(kind) = &shape.kind {
            let kinds: &[&str] = match kind {
                OneOrMore::One(kind) => std::slice::from_ref(kind),
                OneOrMore::More(kinds) => kinds,
            };
            if !kinds.iter().any(|kind| is(kind, value)) {
                return self.wrong(
                    path,
                    format!("must be {}, is {}", kinds.join(" or "), shown(value)),
                );
            }
        }
        let in_any_case = |legal: &Value| text(legal).eq_ignore_ascii_case(&text(value));
        let exactly = shape.values.as_ref();
        let exactly = exactly.filter(|values| !values.iter().any(|legal| same(legal, value)));
        let loosely = shape.values_in_any_case.as_ref();
        let loosely = loosely.filter(|values| !values.iter().any(in_any_case));
        if let Some(values) = exactly.or(loosely) {
            let legal: Vec<String> = values.iter().map(shown).collect();
            return self.wrong(
                path,
                format!("must be one of {}, is {}", legal.join(", "), shown(value)),
            );
        }
        if let Some(number) = number(value)
            && is_numeric(shape)
            && (shape.minimum.is_some_and(|least| number < least)
                || shape.maximum.is_some_and(|most| number > most))
        {
            let bound =
                |bound: Option<f64>| bound.map_or("any".to_owned(), |bound| bound.to_string());
            let range = format!("{} to {}", bound(shape.minimum), bound(shape.maximum));
            self.wrong(path, format!("must be in {range}, is {number}"));
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count();
            if let Some(bounds) = exceeded(length, shape.min_length, shape.max_length) {
                self.wrong(path, format!("is {length} characters long; {bounds}"));
            }
        }
        if let Some(values) = value.as_array() {
            let length = values.len();
            if let Some(bounds) = exceeded(length, shape.min_items, shape.max_items) {
                self.wrong(path, format!("has {length} items; {bounds}"));
            }
            if let Some(items) = &shape.items {
                for (index, value) in values.iter().enumerate() {
                    self.value(items, value, &Path::Item(path, index));
                }
            }
        }
        if value.is_object() && shape.reference.is_none() {
            self.object(shape, value, path);
        }
        for (parts, exactly) in [(&shape.any_of, false), (&shape.one_of, true)] {
            if !parts.is_empty() {
                self.alternatives(parts, exactly, value, path);
            }
        }
    }

    /// Checks alternative shapes. Reports the problems of the first one only when none fits.
    fn alternatives(&mut self, parts: &[Shape], exactly: bool, value: &Value, path: &Path<'_>) {
        let before = self.violations.len();
        let mut fitting = 0;
        let mut first = Vec::new();
        for part in parts {
            self.value(part, value, path);
            let wrong = self.violations.split_off(before);
            if wrong.is_empty() {
                fitting += 1;
            } else if first.is_empty() {
                first = wrong;
            }
        }
        if fitting == 0 {
            self.violations.extend(first);
        } else if exactly && fitting > 1 && parts.iter().all(|part| !part.required.is_empty()) {
            let choices: Vec<String> = parts
                .iter()
                .map(|part| part.required.join(" and "))
                .collect();
            self.wrong(
                path,
                format!("must have exactly one of {}", choices.join("; ")),
            );
        }
    }

    fn object(&mut self, shape: &Shape, value: &Value, path: &Path<'_>) {
        let Some(object) = value.as_object().filter(|_| !is_function(value)) else {
            return;
        };
        let has = |name: &&&str| object.contains_key(**name);
        for name in shape.required.iter().filter(|name| !has(name)) {
            self.wrong(path, format!("{name} is required"));
        }
        let (xor, or) = (&shape.required_xor, &shape.required_or);
        if !xor.is_empty() && xor.iter().filter(has).count() != 1 {
            self.wrong(
                path,
                format!("exactly one of {} is required", xor.join(", ")),
            );
        }
        if !or.is_empty() && !or.iter().any(|name| has(&name)) {
            self.wrong(path, format!("one of {} is required", or.join(", ")));
        }
        for (name, others) in &shape.dependent_required {
            for other in others.iter().filter(|other| has(&name) && !has(other)) {
                self.wrong(path, format!("{name} requires {other}"));
            }
        }
        for (name, others) in &shape.dependent_excluded {
            for other in others.iter().filter(|other| has(&name) && has(other)) {
                self.wrong(path, format!("{name} and {other} exclude each other"));
            }
        }
        // An alternative that only lists required properties allows other properties.
        let names_all = !shape.open && (shape.kind.is_some() || !shape.properties.is_empty());
        for (name, value) in object {
            let path = Path::Field(path, name);
            match shape.properties.get(name.as_str()) {
                Some(known) => self.value(known.shape(), value, &path),
                None if names_all && shape.pattern_properties.is_empty() => {
                    let hint = hint(name, shape.properties.keys().copied());
                    self.wrong(path, format!("is not a known property{hint}"));
                }
                None => {}
            }
        }
    }

    /// Checks that references are to existing resources and attributes.
    fn references(&mut self, value: &'a Value, path: &Path<'_>) {
        visit(value, path, &mut |path, target| match target {
            Target::Own(id, attribute) => self.reference(id, attribute, path),
            Target::Import(_) => {}
        });
    }

    fn reference(&mut self, id: &str, attribute: Option<&str>, path: &Path<'_>) {
        let resource = self.resources.get(id);
        let is_pseudo = attribute.is_none() && PSEUDO_PARAMETERS.contains(&id);
        if resource.is_none() && !is_pseudo {
            let message = format!("refers to {id}, which is not in the template");
            return self.wrong(path, message);
        }
        let Some((resource, attribute)) = resource.zip(attribute) else {
            return;
        };
        let name = resource["Type"].as_str().unwrap_or_default();
        let Some(known) = of(name) else { return };
        if !known.facts.get_att.contains(attribute) {
            let hint = hint(attribute, known.facts.get_att.iter().copied());
            self.wrong(path, format!("{name} has no attribute {attribute}{hint}"));
        }
    }
}

/// Returns true if a value has a type. CloudFormation converts between text and numbers or
/// Booleans.
fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string() || value.is_number() || value.is_boolean(),
        "integer" => number(value).is_some_and(|number| number.fract() == 0.0),
        "number" => number(value).is_some(),
        "boolean" => value.is_boolean() || matches!(value.as_str(), Some("true" | "false")),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn is_numeric(shape: &Shape) -> bool {
    matches!(&shape.kind, Some(OneOrMore::One("integer" | "number")))
}

fn same(legal: &Value, value: &Value) -> bool {
    legal == value || (!legal.is_object() && !value.is_object() && text(legal) == text(value))
}

fn shown(value: &Value) -> String {
    let text = text(value);
    if text.chars().count() > 60 {
        text.chars().take(57).chain("...".chars()).collect()
    } else {
        text
    }
}

/// Returns the allowed sizes if a size is outside of them.
fn exceeded(size: usize, least: Option<usize>, most: Option<usize>) -> Option<String> {
    let fits = least.is_none_or(|least| size >= least) && most.is_none_or(|most| size <= most);
    match (least, most) {
        _ if fits => None,
        (Some(least), Some(most)) => Some(format!("{least} to {most} are allowed")),
        (Some(least), None) => Some(format!("at least {least} is required")),
        (None, Some(most)) => Some(format!("at most {most} are allowed")),
        (None, None) => None,
    }
}

/// Returns the end of a message about an unknown name: the name that was probably meant, if any.
fn hint<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn queue(properties: Value) -> Value {
        json!({ "Resources": { "Queue": { "Type": "AWS::SQS::Queue", "Properties": properties } } })
    }

    fn told(template: &Value) -> Vec<(String, String)> {
        check(template)
            .into_iter()
            .map(|violation| (violation.path, violation.message))
            .collect()
    }

    /// Parses a shape and everything in it; panics at an invalid one.
    fn read_all(shape: &Shape) {
        let inner = shape
            .properties
            .values()
            .map(Unread::shape)
            .chain(shape.items.as_deref());
        inner
            .chain(&shape.any_of)
            .chain(&shape.one_of)
            .for_each(read_all);
    }

    #[test]
    fn every_line_of_the_table_can_be_read() {
        let types = include_str!("../schema/types.txt").lines();
        let mut count = 0;
        for name in types.filter(|name| !name.is_empty()) {
            let kind = of(name).unwrap_or_else(|| panic!("{name} cannot be read"));
            read_all(&kind.shape);
            kind.facts
                .definitions
                .values()
                .for_each(|definition| read_all(definition.shape()));
            assert!(
                kind.permissions()
                    .values()
                    .all(|actions| !actions.is_empty()),
                "{name}"
            );
            count += 1;
        }
        assert!(count > 80);
        assert!(of("AWS::Lambda::Function").is_none(), "we emit none");
    }

    #[test]
    fn valid_properties_have_no_violation() {
        let properties = json!({
            "FifoQueue": true, "VisibilityTimeout": "300", "RedrivePolicy": { "maxReceiveCount": 5 },
            "KmsMasterKeyId": { "Fn::ImportValue": "key" }, "Tags": [{ "Key": "a", "Value": { "Ref": "AWS::Region" } }],
        });
        assert_eq!(told(&queue(properties)), []);
    }

    #[test]
    fn each_kind_of_violation_is_reported_with_path_and_valid_values() {
        let cases = [
            (
                json!({ "VisibilityTimeuot": 1 }),
                "Properties.VisibilityTimeuot",
                "did you mean VisibilityTimeout?",
            ),
            (
                json!({ "FifoQueue": "yes" }),
                "Properties.FifoQueue",
                "must be boolean",
            ),
            (
                json!({ "Tags": [{ "Key": "a" }] }),
                "Properties.Tags[0]",
                "Value is required",
            ),
            (
                json!({ "Tags": { "a": "b" } }),
                "Properties.Tags",
                "must be array",
            ),
            (json!({ "Arn": "arn" }), "Properties.Arn", "assigned by AWS"),
            (
                json!({ "QueueName": { "Ref": "Nowhere" } }),
                "Properties.QueueName",
                "not in the template",
            ),
            (
                json!({ "QueueName": { "Fn::GetAtt": ["Queue", "Arm"] } }),
                "Properties.QueueName",
                "did you mean Arn?",
            ),
            (
                json!({ "QueueName": { "Fn::Sub": "${Nowhere}-${AWS::Region}-${!x}" } }),
                "Properties.QueueName",
                "Nowhere",
            ),
        ];
        for (properties, path, message) in cases {
            let told = told(&queue(properties.clone()));
            assert!(
                told.len() == 1 && told[0].0 == path && told[0].1.contains(message),
                "{properties}: {told:?}"
            );
        }
        let table = json!({ "Resources": { "Table": { "Type": "AWS::DynamoDB::Table", "Properties": {
            "BillingMode": "FREE", "KeySchema": [{ "AttributeName": "a", "KeyType": "HASH" }] } } } });
        assert!(
            told(&table)
                .iter()
                .any(|(path, message)| path == "Properties.BillingMode"
                    && message.contains("PAY_PER_REQUEST")),
            "{:?}",
            told(&table)
        );
        let unknown = json!({ "Resources": { "A": { "Type": "AWS::Nothing::AtAll" }, "B": { "Type": "AWS::SQS::Queue",
            "DeletionPolicy": "Keep", "DependsOn": ["C"], "Propertys": {} } } });
        let paths: Vec<String> = told(&unknown).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["Type", "Propertys", "DeletionPolicy", "DependsOn"]);
    }

    #[test]
    fn the_effect_of_a_property_change_is_known() {
        let effect = |name: &str, path: &str| of(name).expect("a known type").effect(path);
        assert_eq!(
            effect("AWS::SQS::Queue", "VisibilityTimeout"),
            Effect::InPlace
        );
        assert_eq!(effect("AWS::SQS::Queue", "FifoQueue"), Effect::Replaces);
        assert_eq!(
            effect("AWS::RDS::DBInstance", "StorageEncrypted"),
            Effect::Replaces
        );
        assert_eq!(
            effect("AWS::RDS::DBInstance", "DBInstanceClass"),
            Effect::InPlace
        );
        assert_eq!(effect("AWS::KMS::Key", "KeySpec"), Effect::Fails);
    }
}
