//! Planting a weakness into a template.

use std::fmt;

use serde_json::{Value, json};

use crate::Stack;

/// A defect in a template, and the rule that must report it.
pub struct Weakness {
    /// Id of the rule.
    pub rule: &'static str,
    /// A resource type, optionally followed by a space and a part of the logical id.
    of: &'static str,
    steps: Vec<Step>,
    /// True to plant it in every matching resource of a stack instead of only the first.
    everywhere: bool,
}

enum Step {
    /// Sets a property. The path is a JSON pointer below `Properties`, or with a leading `/` below
    /// the resource. `Name=rate` selects the list element whose `Name` is `rate`, and `-` appends
    /// an element.
    Set(&'static str, Value),
    /// Removes a property.
    Take(&'static str),
    /// Removes the resource.
    Away,
    /// Adds another resource.
    Beside(&'static str, Value),
    /// Adds a key to the template.
    Template(&'static str, Value),
}

fn weakness(rule: &'static str, of: &'static str, step: Step) -> Weakness {
    Weakness {
        rule,
        of,
        steps: vec![step],
        everywhere: false,
    }
}

/// Creates a weakness that sets a property.
pub fn set(
    rule: &'static str,
    of: &'static str,
    path: &'static str,
    value: impl Into<Value>,
) -> Weakness {
    weakness(rule, of, Step::Set(path, value.into()))
}

/// Creates a weakness that removes a property.
pub fn take(rule: &'static str, of: &'static str, path: &'static str) -> Weakness {
    weakness(rule, of, Step::Take(path))
}

/// Creates a weakness that removes a resource.
pub fn away(rule: &'static str, of: &'static str) -> Weakness {
    weakness(rule, of, Step::Away)
}

/// Creates a weakness that adds another resource to the template.
pub fn beside(
    rule: &'static str,
    of: &'static str,
    kind: &'static str,
    properties: Value,
) -> Weakness {
    weakness(rule, of, Step::Beside(kind, properties))
}

/// Creates a weakness that adds a key to the template of the resource.
pub fn in_template(
    rule: &'static str,
    of: &'static str,
    key: &'static str,
    value: Value,
) -> Weakness {
    weakness(rule, of, Step::Template(key, value))
}

impl Weakness {
    /// Sets another property too.
    pub fn and_set(mut self, path: &'static str, value: impl Into<Value>) -> Weakness {
        self.steps.push(Step::Set(path, value.into()));
        self
    }

    /// Plants the weakness in every matching resource of a stack.
    pub fn everywhere(self) -> Weakness {
        Weakness {
            everywhere: true,
            ..self
        }
    }

    /// Returns the stacks with the weakness, and the index of the changed stack.
    ///
    /// # Errors
    /// Returns the reason when no resource fits.
    pub fn planted_in(&self, good: &[Stack]) -> Result<(usize, Vec<Stack>), String> {
        let mut misfit = "there is no such resource".to_owned();
        for (at, stack) in good.iter().enumerate() {
            let mut template = stack.template.clone();
            let mut planted = false;
            for id in self.candidates(stack) {
                let mut changed = template.clone();
                match self
                    .steps
                    .iter()
                    .try_for_each(|step| step.plant(&mut changed, id))
                {
                    Ok(()) => (template, planted) = (changed, true),
                    Err(error) => misfit = error,
                }
                if planted && !self.everywhere {
                    break;
                }
            }
            if planted {
                let mut bad = good.to_vec();
                bad[at].template = template;
                return Ok((at, bad));
            }
        }
        Err(misfit)
    }

    /// Returns the resources in which the weakness can be planted: those that do not waive the
    /// rule.
    fn candidates<'a>(&self, stack: &'a Stack) -> impl Iterator<Item = &'a str> {
        let (kind, within) = self.of.split_once(' ').unwrap_or((self.of, ""));
        let resources = stack.template["Resources"]
            .as_object()
            .into_iter()
            .flatten();
        let fits = move |(id, resource): &(&String, &Value)| {
            let waived = resource["Metadata"]["haven"]["waive"]
                .as_array()
                .into_iter()
                .flatten();
            resource["Type"] == kind
                && id.contains(within)
                && !waived.into_iter().any(|it| it["rule"] == self.rule)
        };
        resources
            .filter(fits)
            .map(|(id, _)| id.as_str())
            .collect::<Vec<_>>()
            .into_iter()
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rule, self.of)?;
        for step in &self.steps {
            match step {
                Step::Set(path, value) => write!(f, ", {path} is {value}")?,
                Step::Take(path) => write!(f, ", no {path}")?,
                Step::Away => write!(f, ", away")?,
                Step::Beside(kind, _) => write!(f, ", beside {kind}")?,
                Step::Template(key, _) => write!(f, ", with {key}")?,
            }
        }
        Ok(())
    }
}

impl Step {
    fn plant(&self, template: &mut Value, id: &str) -> Result<(), String> {
        let nowhere = |path: &str| format!("{id} has no {path}");
        match self {
            Step::Set(path, value) => {
                let (parent, last) = split(path);
                let parent =
                    find(&mut template["Resources"][id], &parent).ok_or_else(|| nowhere(path))?;
                if let Some(there) = child(parent, last) {
                    if there == value {
                        return Err(format!("{id} has {path} as it is"));
                    }
                    *there = value.clone();
                } else {
                    match parent {
                        Value::Object(object) => {
                            drop(object.insert(last.to_owned(), value.clone()))
                        }
                        Value::Array(list) if last == "-" => list.push(value.clone()),
                        _ => return Err(nowhere(path)),
                    }
                }
            }
            Step::Take(path) => {
                let (parent, last) = split(path);
                let parent =
                    find(&mut template["Resources"][id], &parent).ok_or_else(|| nowhere(path))?;
                let place = parent.as_array().and_then(|list| place(list, last));
                match (parent, place) {
                    (Value::Array(list), Some(place)) => drop(list.remove(place)),
                    (Value::Object(object), _) => {
                        drop(object.remove(last).ok_or_else(|| nowhere(path))?)
                    }
                    _ => return Err(nowhere(path)),
                }
            }
            Step::Away => {
                template["Resources"]
                    .as_object_mut()
                    .and_then(|resources| resources.remove(id))
                    .ok_or("gone before")?;
            }
            Step::Beside(kind, properties) => {
                template["Resources"]["Planted"] =
                    json!({ "Type": kind, "Properties": properties });
            }
            Step::Template(key, value) => template[*key] = value.clone(),
        }
        Ok(())
    }
}

/// Returns the path of the parent, and the last step.
fn split(path: &str) -> (Vec<&str>, &str) {
    let mut parts: Vec<&str> = match path.strip_prefix('/') {
        Some(path) => path.split('/').collect(),
        None => std::iter::once("Properties")
            .chain(path.split('/'))
            .collect(),
    };
    let last = parts.pop().unwrap_or_default();
    (parts, last)
}

fn find<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter()
        .try_fold(value, |value, part| child(value, part))
}

fn child<'a>(value: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(object) => object.get_mut(part),
        Value::Array(list) => {
            let place = place(list, part)?;
            list.get_mut(place)
        }
        _ => None,
    }
}

fn place(list: &[Value], part: &str) -> Option<usize> {
    match part.split_once('=') {
        Some((key, wanted)) => list.iter().position(|element| element[key] == wanted),
        None => part.parse().ok().filter(|place| *place < list.len()),
    }
}
