//! Strict reading of a JSON object. All invalid fields are reported together, each by its path in
//! the client's request.

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
/// Returns 415 for another content type, and 400 for a body that is not a JSON object.
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

/// The fields of one object. Each method removes a field and reports an invalid value.
pub struct Fields<'e> {
    object: Map<String, Value>,
    path: String,
    errors: &'e mut Vec<FieldError>,
}

impl<'e> Fields<'e> {
    /// Creates a reader of the object at `path`, which is empty for the body itself.
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

    /// Reports an invalid field.
    pub fn wrong(&mut self, field: &str, message: impl Into<String>) {
        let error = FieldError::new(self.name(field), message);
        self.errors.push(error);
    }

    /// Removes a field. Returns `None` for a missing field or `null`.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    /// Removes a text field. Reports another type, and a text with NUL.
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

    /// Removes a required text field. Returns an empty text and reports the field when it is
    /// missing.
    pub fn text(&mut self, field: &str) -> String {
        if !self.object.contains_key(field) {
            self.wrong(field, "is required");
            return String::new();
        }
        self.optional_text(field).unwrap_or_default()
    }

    /// Removes an optional Boolean field.
    pub fn flag(&mut self, field: &str) -> Option<bool> {
        match self.take(field)? {
            Value::Bool(flag) => Some(flag),
            _ => {
                self.wrong(field, "must be true or false");
                None
            }
        }
    }

    /// Removes a required integer field.
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

    /// Removes an optional integer field.
    pub fn optional_integer(&mut self, field: &str) -> Option<i64> {
        self.object.get(field).filter(|value| !value.is_null())?;
        self.integer(field)
    }

    /// Removes a required quantity, from 1 to 99.
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

    /// Removes an optional time in RFC 3339.
    pub fn time(&mut self, field: &str) -> Option<Timestamp> {
        let text = self.optional_text(field)?;
        let time = Timestamp::parse(&text, &Rfc3339).ok();
        if time.is_none() {
            self.wrong(field, "must be a time such as 2026-11-21T08:30:00Z");
        }
        time
    }

    /// Removes a required object. Returns an empty object and reports the field when it is missing.
    pub fn object(&mut self, field: &str) -> Map<String, Value> {
        if self.object.get(field).is_none_or(Value::is_null) {
            self.wrong(field, "is required");
            return Map::new();
        }
        self.optional_object(field)
    }

    /// Removes an optional object. Returns an empty object when it is missing.
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

    /// Reports every field that was not read. A client that sends `price`, for example, believes
    /// that the value has an effect.
    pub fn finish(self) {
        let names: Vec<_> = self.object.keys().map(|field| self.name(field)).collect();
        self.errors.extend(
            names
                .into_iter()
                .map(|name| FieldError::new(name, "is not a known field")),
        );
    }
}
