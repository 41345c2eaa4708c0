//! Reads templates: resources, exports, references and plain values.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::kind::Kind;

/// The target of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'v> {
    /// A resource of the same template or a pseudo parameter, and the attribute of a `Fn::GetAtt`.
    Own(&'v str, Option<&'v str>),
    /// An export of another stack.
    Import(&'v str),
}

/// The path of a value. It is formatted only when it is needed.
#[derive(Clone, Copy)]
pub enum Path<'p> {
    Root(&'p str),
    Field(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(name) => f.write_str(name),
            Path::Field(outer, name) => write!(f, "{outer}.{name}"),
            Path::Item(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

/// Calls `found` for each reference in a value, with the path of the value that is a reference.
/// Names of functions are not part of the path.
pub fn visit<'v>(value: &'v Value, path: &Path<'_>, found: &mut dyn FnMut(&Path<'_>, Target<'v>)) {
    match value {
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                visit(value, &Path::Item(path, index), found);
            }
        }
        Value::Object(object) => {
            for (name, inner) in object {
                match (name.as_str(), inner) {
                    ("Ref", Value::String(id)) => found(path, Target::Own(id, None)),
                    ("Fn::GetAtt", Value::Array(parts)) => {
                        let part = |at| parts.get(at).and_then(Value::as_str).unwrap_or_default();
                        found(path, Target::Own(part(0), Some(part(1))));
                    }
                    ("Fn::GetAtt", Value::String(text)) => found(path, named(text)),
                    ("Fn::ImportValue", Value::String(export)) => {
                        found(path, Target::Import(export));
                    }
                    ("Fn::Sub", Value::String(text)) => {
                        substituted(text).for_each(|target| found(path, target));
                    }
                    ("Fn::Sub", Value::Array(parts)) => {
                        let text = parts.first().and_then(Value::as_str).unwrap_or_default();
                        let given = parts.get(1).unwrap_or(&Value::Null);
                        substituted(text)
                            .filter(|target| !is_given(given, target))
                            .for_each(|target| found(path, target));
                        visit(given, path, found);
                    }
                    (name, inner) if name.starts_with("Fn::") => visit(inner, path, found),
                    (name, inner) => visit(inner, &Path::Field(path, name), found),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the target of `Queue` or `Queue.Arn`.
fn named(text: &str) -> Target<'_> {
    match text.split_once('.') {
        Some((id, attribute)) => Target::Own(id, Some(attribute)),
        None => Target::Own(text, None),
    }
}

/// Returns the targets in the text of a `Fn::Sub`. `${!Literal}` is none.
fn substituted(text: &str) -> impl Iterator<Item = Target<'_>> {
    let names = text
        .split("${")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('}')?.0));
    names.filter(|name| !name.starts_with('!')).map(named)
}

/// Returns true if the variables of a `Fn::Sub` define the target.
fn is_given(variables: &Value, target: &Target<'_>) -> bool {
    match target {
        Target::Own(id, None) => variables.get(id).is_some(),
        Target::Own(_, Some(_)) | Target::Import(_) => false,
    }
}

/// Returns the logical ids and pseudo parameters to which a value refers.
pub fn referred(value: &Value) -> BTreeSet<&str> {
    let mut ids = BTreeSet::new();
    visit(value, &Path::Root(""), &mut |_, target| match target {
        Target::Own(id, _) => {
            ids.insert(id);
        }
        Target::Import(_) => {}
    });
    ids
}

/// Returns the exports that a value imports.
pub fn imports(value: &Value) -> BTreeSet<&str> {
    let mut exports = BTreeSet::new();
    visit(value, &Path::Root(""), &mut |_, target| match target {
        Target::Import(export) => {
            exports.insert(export);
        }
        Target::Own(..) => {}
    });
    exports
}

/// Returns the name and the value of each export of a template.
pub fn exports(template: &Value) -> impl Iterator<Item = (&str, &Value)> {
    entries(&template["Outputs"])
        .filter_map(|(_, output)| Some((output["Export"]["Name"].as_str()?, &output["Value"])))
}

/// Returns the logical id and the body of each resource of a template.
pub fn resources(template: &Value) -> impl Iterator<Item = (&str, &Value)> {
    entries(&template["Resources"])
}

/// Returns the resources of one type.
pub fn of_type(template: &Value, kind: Kind) -> impl Iterator<Item = (&str, &Value)> {
    resources(template).filter(move |(_, resource)| resource["Type"] == kind)
}

/// Returns the entries of an object; none if the value is no object.
pub fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.as_str(), value))
}

/// Returns the items of a list. A single value counts as a list of one.
pub fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

/// Returns a text without quotes, and any other value as JSON.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns a number, which templates may write as text.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// Returns true for an intrinsic function, whose value is known only at deployment.
pub fn is_function(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        object.len() == 1
            && object
                .keys()
                .all(|name| name == "Ref" || name.starts_with("Fn::"))
    })
}
