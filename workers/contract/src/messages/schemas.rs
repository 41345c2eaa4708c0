//! Generates the published JSON Schemas of whole messages, one for each kind and version.

use serde_json::{Map, Value, json};

use super::{Envelope, EventKind};

impl Envelope {
    /// Returns the file name and the JSON Schema of every kind in the version that producers write.
    /// The files of older versions do not change after their release.
    pub fn schemas() -> Vec<(String, Value)> {
        let all = serde_json::to_value(schemars::schema_for!(Envelope)).unwrap_or_default();
        EventKind::ALL
            .map(|kind| {
                (
                    format!("{}.v{}.json", kind.name(), kind.schema()),
                    schema_of(kind, &all),
                )
            })
            .into()
    }
}

/// Returns the part of the schema of all messages that describes one kind.
fn schema_of(kind: EventKind, all: &Value) -> Value {
    let mut schema = all.clone();
    let bodies = schema["oneOf"].take();
    let bodies = bodies.as_array().map(Vec::as_slice).unwrap_or_default();
    let body = bodies
        .iter()
        .find(|body| body["properties"]["type"]["const"] == kind.name());
    let body = body.cloned().unwrap_or_default();
    schema["properties"]["type"] = body["properties"]["type"].clone();
    schema["properties"]["data"] = body["properties"]["data"].clone();
    schema["properties"]["schema"]["const"] = json!(kind.schema());
    schema["title"] = json!(format!("{}, version {}", kind.name(), kind.schema()));
    if let Some(about) = body.get("description") {
        schema["properties"]["data"]["description"] = about.clone();
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend([json!("type"), json!("data")]);
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("oneOf");
        leave_out_unused(schema);
    }
    // Some crates enable the feature of `serde_json` that keeps insertion order. Sorting makes the
    // file independent of the other crates in the build.
    schema.sort_all_objects();
    schema
}

/// Removes definitions that the schema does not refer to.
fn leave_out_unused(schema: &mut Map<String, Value>) {
    let Some(Value::Object(mut definitions)) = schema.remove("$defs") else {
        return;
    };
    // A definition that is kept can refer to another one, so the search starts again after each.
    let mut text = Value::Object(schema.clone()).to_string();
    while let Some(name) = definitions
        .keys()
        .find(|name| text.contains(&format!("\"#/$defs/{name}\"")))
        .cloned()
    {
        text.push_str(&definitions[&name].to_string());
        let definition = definitions.remove(&name).unwrap_or_default();
        schema.entry("$defs").or_insert_with(|| json!({}))[&name] = definition;
    }
}
