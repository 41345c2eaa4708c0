//! Compares the structure of a dead letter with a valid message of the same kind.

use serde::Serialize;
use serde_json::Value;

/// A field, by its path such as `data.items[0].quantity`, and its problem.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub field: String,
    pub problem: String,
}

impl Difference {
    fn new(field: &str, problem: impl Into<String>) -> Difference {
        Difference {
            field: field.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Fields whose value must be equal too, because it identifies the kind of the message.
const TELLING: [&str; 2] = ["type", "schema"];
/// Fields that a valid message may lack.
const OPTIONAL: [&str; 4] = [
    "metadata.traceparent",
    "order_id",
    "data.reason",
    "data.from",
];

/// Returns the differences in the order of the valid message's fields. Fields that only the dead
/// letter has come last. A dead letter that is not JSON has one difference, in `body`.
pub fn differences(good: &Value, bad: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    match bad {
        Some(bad) => compare("", good, bad, &mut found),
        None => found.push(Difference::new("body", "is not JSON")),
    }
    found
}

fn compare(path: &str, good: &Value, bad: &Value, found: &mut Vec<Difference>) {
    match (good, bad) {
        (Value::Object(good), Value::Object(bad)) => {
            let below = |name: &str| {
                if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                }
            };
            for (name, good) in good {
                let field = below(name);
                match bad.get(name) {
                    Some(bad) => compare(&field, good, bad, found),
                    None if OPTIONAL.contains(&field.as_str()) => {}
                    None => found.push(Difference::new(&field, "is missing")),
                }
            }
            for name in bad.keys().filter(|name| !good.contains_key(*name)) {
                let field = below(name);
                if !OPTIONAL.contains(&field.as_str()) {
                    found.push(Difference::new(&field, "is not in a valid message"));
                }
            }
        }
        (Value::Array(good), Value::Array(bad)) => {
            let Some(good) = good.first() else { return };
            for (index, bad) in bad.iter().enumerate() {
                compare(&format!("{path}[{index}]"), good, bad, found);
            }
        }
        (good, bad) if kind(good) != kind(bad) => {
            let problem = format!("is {}, in a valid message {}", kind(bad), kind(good));
            found.push(Difference::new(path, problem));
        }
        (good, bad) if good != bad && TELLING.contains(&path) => {
            let problem = format!("is {bad}, in a valid message {good}");
            found.push(Difference::new(path, problem));
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_whose_form_differs_is_named() {
        let good = json!({ "type": "OrderCreated", "schema": 1, "order_id": "x", "data": { "total_minor": 450,
            "items": [{ "product_id": "espresso", "quantity": 1 }] }, "metadata": { "source": "storefront" } });
        let bad = json!({ "type": "OrderCreated", "schema": 9, "data": { "total_minor": "450", "vip": true,
            "items": [{ "product_id": "latte", "quantity": 2 }, { "product_id": "mocha", "quantity": 1.5 }] } });
        let found = differences(&good, Some(&bad));
        let mut shown: Vec<String> = found
            .iter()
            .map(|it| format!("{} {}", it.field, it.problem))
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "data.items[1].quantity is a fraction, in a valid message a whole number",
                "data.total_minor is text, in a valid message a whole number",
                "data.vip is not in a valid message",
                "metadata is missing",
                "schema is 9, in a valid message 1",
            ]
        );
        assert!(differences(&good, Some(&good)).is_empty());
        assert_eq!(differences(&good, None)[0].field, "body");
    }
}
