//! The JSON Schemas of everything that `haven` prints with `--json`. The files are in
//! `docs/schemas`.

/// The schema of a document.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The name of the file. The field `schema` of a document has this name and a version, such as
    /// `haven.status/1`.
    pub name: &'static str,
    /// The commands that print the document, without `haven`.
    pub commands: &'static [&'static str],
    /// JSON Schema, draft 2020-12.
    pub text: &'static str,
}

macro_rules! schemas {
    ($($name:literal: $($command:literal),*;)*) => {
        &[$(Schema {
            name: $name,
            commands: &[$($command),*],
            text: include_str!(concat!("../../../docs/schemas/", $name, ".json")),
        }),*]
    };
}

/// All schemas, by name. `promote` makes a plan, and `outputs` of one name prints `output`.
pub const SCHEMAS: &[Schema] = schemas! {
    "apply": "apply";
    "bootstrap": "bootstrap";
    "check": "check";
    "completions": "completions";
    "config": "config explain";
    "cost": "cost";
    "deploy": "deploy";
    "destroy": "destroy";
    "diff": "diff";
    "dlq-list": "dlq list";
    "dlq-redrive": "dlq redrive";
    "dlq-show": "dlq show";
    "doctor": "doctor";
    "down": "down";
    "drift": "drift";
    "env": "env";
    "error":;
    "load": "load";
    "logs": "logs";
    "migrate": "migrate";
    "notifications": "notify list";
    "open": "open";
    "order": "orders show";
    "orders": "orders list";
    "output": "outputs";
    "outputs": "outputs";
    "plan": "plan", "promote";
    "previews": "notify preview";
    "reconcile": "reconcile";
    "rehearse": "rehearse";
    "reproject": "orders reproject";
    "runbook-list": "runbook list";
    "runbook-show": "runbook show";
    "seed": "seed";
    "smoke": "smoke";
    "staff-revoke": "staff revoke";
    "staff-token": "staff token";
    "staff-tokens": "staff tokens";
    "status": "status";
    "synth": "synth";
    "up": "up";
    "why": "why";
};

#[cfg(test)]
pub mod testing {
    use serde_json::Value;

    use super::SCHEMAS;

    /// Returns the schema with this name.
    pub fn schema(name: &str) -> Value {
        let schema = SCHEMAS.iter().find(|schema| schema.name == name);
        let schema = schema.unwrap_or_else(|| panic!("no schema {name}"));
        serde_json::from_str(schema.text).expect("JSON")
    }

    /// Asserts that a document is valid by a schema.
    #[track_caller]
    pub fn assert_valid_by(schema: &Value, document: &Value) {
        let validator = jsonschema::validator_for(schema).expect("a legal schema");
        let errors = validator.iter_errors(document);
        let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?} in {document:#}");
    }

    /// Asserts that a document is valid by the schema that it names. Returns the document.
    #[track_caller]
    pub fn valid(document: Value) -> Value {
        let name = document["schema"].as_str().unwrap_or_default();
        let name = name
            .strip_prefix("haven.")
            .and_then(|name| name.strip_suffix("/1"));
        assert_valid_by(&schema(name.expect("a name and a version")), &document);
        document
    }

    /// Returns the numbers in a text, without those in names such as `p95`.
    fn numbers(text: &str) -> Vec<f64> {
        let is_part = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | ',');
        let mut numbers = Vec::new();
        let (mut before, mut rest) = (' ', text);
        while let Some(first) = rest.chars().next() {
            let is_number = first.is_ascii_digit() && !before.is_alphanumeric() && before != '-';
            let end = match is_number {
                true => rest
                    .find(|letter: char| !is_part(letter))
                    .unwrap_or(rest.len()),
                false => first.len_utf8(),
            };
            let (word, after) = rest.split_at(end);
            if is_number {
                numbers.extend(
                    word.trim_end_matches(['.', ','])
                        .replace(',', "")
                        .parse::<f64>(),
                );
            }
            before = word.chars().last().unwrap_or(' ');
            rest = after;
        }
        numbers
    }

    /// Returns the numbers of a document, with those in its texts and the lengths of its lists.
    fn all_numbers(document: &Value) -> Vec<f64> {
        match document {
            Value::Number(number) => number.as_f64().into_iter().collect(),
            Value::String(text) => numbers(text),
            Value::Array(items) => {
                let below = items.iter().flat_map(all_numbers);
                below.chain([items.len() as f64]).collect()
            }
            Value::Object(fields) => fields.values().flat_map(all_numbers).collect(),
            Value::Null | Value::Bool(_) => Vec::new(),
        }
    }

    /// Asserts that a document has each number of the text for people.
    #[track_caller]
    pub fn assert_has_numbers(document: &Value, text: &str) {
        let known = all_numbers(document);
        let is_missing = |number: &f64| !known.iter().any(|one| (one - number).abs() < 1e-9);
        let missing: Vec<f64> = numbers(text).into_iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "{missing:?} of {text} in {document:#}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use haven_console::verdict::Verdict;
    use provision::deploy::destroy::Destroyed;
    use provision::deploy::{Deployed, Outcome, StackOutcome};
    use serde_json::{Value, json};

    use super::testing::{assert_has_numbers, assert_valid_by, schema, valid};
    use super::*;

    const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

    /// Returns the paths of properties that are not described.
    fn not_described(path: &str, schema: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for (name, below) in schema.as_object().into_iter().flatten() {
            if name == "properties" {
                for (name, property) in below.as_object().into_iter().flatten() {
                    let path = format!("{path}/{name}");
                    if ["description", "const", "$ref"]
                        .iter()
                        .all(|key| property.get(key).is_none())
                    {
                        found.push(path.clone());
                    }
                    found.extend(not_described(&path, property));
                }
            } else if name != "const" {
                found.extend(not_described(&format!("{path}/{name}"), below));
            }
        }
        found
    }

    #[test]
    fn every_schema_is_legal_and_describes_its_fields() {
        for Schema { name, .. } in SCHEMAS {
            let schema = schema(name);
            jsonschema::validator_for(&schema).expect(name);
            assert_eq!(schema["$schema"], DRAFT, "{name}");
            assert_eq!(not_described(name, &schema), Vec::<String>::new());
            let required = schema["required"].as_array().expect(name);
            let has_head = ["schema", "ok", "verdict"]
                .iter()
                .all(|field| required.contains(&json!(field)));
            // A map of variables, and an error, which is no result.
            let is_other = matches!(*name, "env" | "error");
            assert_ne!(has_head, is_other, "{name}");
            if has_head {
                let id = &schema["properties"]["schema"]["const"];
                assert_eq!(id, &json!(format!("haven.{name}/1")));
            }
            assert_eq!(
                schema["additionalProperties"] == true,
                *name != "env",
                "{name}"
            );
        }
    }

    #[test]
    fn every_file_is_in_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
        let files = std::fs::read_dir(folder).expect("docs/schemas").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let files: BTreeSet<String> = names.collect();
        let table = SCHEMAS.iter().map(|schema| format!("{}.json", schema.name));
        assert_eq!(table.collect::<BTreeSet<_>>(), files);
        assert!(SCHEMAS.is_sorted_by_key(|schema| schema.name));
    }

    #[test]
    fn the_lines_of_a_deployment_are_valid() {
        let step = json!({ "stack": "brew-haven-dev-data", "event": "begin", "text": "Tables" });
        for name in ["apply", "deploy", "destroy"] {
            assert_valid_by(&schema(name)["$defs"]["line"], &step);
        }
        let deployed = Deployed {
            stacks: vec![StackOutcome {
                name: "brew-haven-dev-data".to_owned(),
                outcome: Outcome::Created,
                seconds: 21.5,
            }],
            left_out: Vec::new(),
        };
        let destroyed = Destroyed {
            removed: vec!["brew-haven-dev-data".to_owned()],
            retained: vec!["orders".to_owned()],
        };
        let verdict = Verdict::good("Done.");
        for (name, fields) in [
            ("apply", json!(deployed)),
            ("apply", json!({})),
            ("deploy", json!(deployed)),
            ("deploy", json!({})),
            ("destroy", json!(destroyed)),
            ("destroy", json!({})),
        ] {
            let mut line = verdict.document(&format!("haven.{name}/1"), fields);
            line["event"] = "result".into();
            valid(line);
        }
    }

    #[test]
    #[should_panic(expected = "[3.0]")]
    fn a_number_that_only_people_get_is_found() {
        let document = json!({ "p95_ms": 17.5, "verdict": "1,204 orders.", "list": [[], 0] });
        assert_has_numbers(&document, "p95 17.5 ms, 1,204 orders, 2 lists, 0 lost");
        assert_has_numbers(&document, "3 lost");
    }
}
