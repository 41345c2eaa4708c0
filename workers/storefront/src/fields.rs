//! Reading a JSON object strictly: every wrong field is named at once, by the path under which the
//! client wrote it.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use domain::cart::Quantity;
use domain::{FieldError, Timestamp};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;

use crate::problem::Problem;

/// Parses the body as one JSON object.
///
/// # Errors
/// 415 for another content type, 400 for what is no JSON object.
pub fn object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem {
            errors: vec![FieldError::new("Content-Type", "must be application/json")],
            ..Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "Not JSON",
                "Send the body as Content-Type: application/json.",
            )
        });
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::malformed("body", "must be a JSON object")),
        Err(error) => Err(Problem::malformed("body", format!("is not JSON: {error}"))),
    }
}

/// The fields of one object, taken out one by one.
pub struct Fields<'e> {
    object: Map<String, Value>,
    path: String,
    errors: &'e mut Vec<FieldError>,
}

impl<'e> Fields<'e> {
    pub fn new(
        object: Map<String, Value>,
        path: impl Into<String>,
        errors: &'e mut Vec<FieldError>,
    ) -> Fields<'e> {
        Fields {
            object,
            path: path.into(),
            errors,
        }
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    pub fn wrong(&mut self, field: &str, message: impl Into<String>) {
        let error = FieldError::new(self.name(field), message);
        self.errors.push(error);
    }

    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    pub fn optional_text(&mut self, field: &str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) if text.contains('\0') => {
                self.wrong(field, "must not contain NUL");
                None
            }
            Value::String(text) => Some(text),
            _ => {
                self.wrong(field, "must be text");
                None
            }
        }
    }

    /// Empty, and told, when it is not there.
    pub fn text(&mut self, field: &str) -> String {
        if !self.object.contains_key(field) {
            self.wrong(field, "is required");
            return String::new();
        }
        self.optional_text(field).unwrap_or_default()
    }

    pub fn flag(&mut self, field: &str) -> Option<bool> {
        match self.take(field)? {
            Value::Bool(flag) => Some(flag),
            _ => {
                self.wrong(field, "must be true or false");
                None
            }
        }
    }

    pub fn integer(&mut self, field: &str) -> Option<i64> {
        match self.take(field) {
            Some(Value::Number(number)) if number.is_i64() => number.as_i64(),
            Some(_) => {
                self.wrong(field, "must be a whole number");
                None
            }
            None => {
                self.wrong(field, "is required");
                None
            }
        }
    }

    pub fn optional_integer(&mut self, field: &str) -> Option<i64> {
        self.object.get(field).filter(|value| !value.is_null())?;
        self.integer(field)
    }

    pub fn quantity(&mut self, field: &str) -> Option<Quantity> {
        let quantity = match self.take(field) {
            Some(Value::Number(number)) => number
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .and_then(Quantity::new),
            _ => None,
        };
        if quantity.is_none() {
            self.wrong(field, "must be a whole number from 1 to 99");
        }
        quantity
    }

    pub fn time(&mut self, field: &str) -> Option<Timestamp> {
        let text = self.optional_text(field)?;
        let time = Timestamp::parse(&text, &Rfc3339).ok();
        if time.is_none() {
            self.wrong(field, "must be a time such as 2026-11-21T08:30:00Z");
        }
        time
    }

    /// Empty, and told, when it is not there.
    pub fn object(&mut self, field: &str) -> Map<String, Value> {
        if self.object.get(field).is_none_or(Value::is_null) {
            self.wrong(field, "is required");
            return Map::new();
        }
        self.optional_object(field)
    }

    /// Empty when it is not there.
    pub fn optional_object(&mut self, field: &str) -> Map<String, Value> {
        match self.take(field) {
            Some(Value::Object(object)) => object,
            Some(_) => {
                self.wrong(field, "must be an object");
                Map::new()
            }
            None => Map::new(),
        }
    }

    /// Whatever was not asked for is refused: a client that sends `price` believes that it counts.
    pub fn finish(self) {
        let names: Vec<_> = self.object.keys().map(|field| self.name(field)).collect();
        self.errors.extend(
            names
                .into_iter()
                .map(|name| FieldError::new(name, "is not a known field")),
        );
    }
}
