//! The published JSON Schemas: one file for each kind and version, whole messages.

use serde_json::{Map, Value, json};

use super::Envelope;
use crate::event::EventKind;

impl Envelope {
    /// The JSON Schema of every kind as it is written today, by file name. Those of older versions
    /// stay as they were published.
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

/// Of the schema of all messages what is about one kind.
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
    // The same file whatever else is built: some crates make serde_json keep the order of writing.
    schema.sort_all_objects();
    schema
}

fn leave_out_unused(schema: &mut Map<String, Value>) {
    let Some(Value::Object(mut definitions)) = schema.remove("$defs") else {
        return;
    };
    // A definition may need another, so that one look is not enough.
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
