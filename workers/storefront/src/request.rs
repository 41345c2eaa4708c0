//! Strict reading of JSON bodies and queries. All invalid fields are reported together, each by its
//! path in the client's request.

use std::collections::HashMap;
use std::ops::ControlFlow;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, Value, ValueKind,
    ValuePointerRef,
};
use domain::cart::Quantity;
use domain::ids::{LocationId, OrderId, ProductId};
use domain::order::Status;
use domain::text::line;
use domain::{FieldError, Timestamp};
use time::format_description::well_known::Rfc3339;

use crate::problem::{Kind, Problem};
use crate::text::header_text;

/// Parses the body as one JSON object.
///
/// # Errors
/// Returns 415 for another content type, 400 for a body that is not a JSON object, and 422 with all
/// invalid fields.
pub fn body<T: Deserr<Invalid>>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    let kind = header_text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            Kind::MediaType,
            "Send the body as Content-Type: application/json.",
        )
        .naming([FieldError::new("Content-Type", "must be application/json")]));
    }
    match serde_json::from_slice(body) {
        Ok(object @ serde_json::Value::Object(_)) => {
            let parsed = deserr::deserialize::<T, _, Invalid>(object);
            parsed.map_err(|invalid| Problem::fields(invalid.into_fields()))
        }
        Ok(_) => Err(Problem::malformed("body", "must be a JSON object")),
        Err(error) => Err(Problem::malformed("body", format!("is not JSON: {error}"))),
    }
}

/// Reads every parameter of a query with `read`, which returns `None` for an unknown name or an
/// invalid value. `rule` is the message for such a parameter.
///
/// # Errors
/// Returns 422 with all invalid parameters.
pub fn query(
    query: &HashMap<String, String>,
    rule: &str,
    mut read: impl FnMut(&str, &str) -> Option<()>,
) -> Result<(), Problem> {
    let errors: Vec<_> = query
        .iter()
        .filter(|(name, value)| read(name, value).is_none())
        .map(|(name, _)| FieldError::new(name, rule))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::fields(errors))
    }
}

/// Parses a number of a query from 1 to `most`.
pub fn number(text: &str, most: u32) -> Option<u32> {
    let number = text.parse().ok()?;
    (1..=most).contains(&number).then_some(number)
}

/// The invalid fields of a body.
#[derive(Debug, Default)]
pub struct Invalid {
    fields: Vec<FieldError>,
    /// Fields that do not exist, reported last. A client that sends `price`, for example, believes
    /// that the value has an effect.
    unknown: Vec<FieldError>,
}

impl Invalid {
    /// Returns the error of a field that does not exist.
    pub fn unknown(location: ValuePointerRef) -> FieldError {
        FieldError::new(path(location), "is not a known field")
    }

    /// Returns all errors, those of unknown fields last.
    pub fn into_fields(self) -> Vec<FieldError> {
        self.fields.into_iter().chain(self.unknown).collect()
    }

    /// Creates the error of one value.
    pub fn of(message: impl Into<String>, location: ValuePointerRef) -> Invalid {
        Invalid {
            fields: vec![FieldError::new(path(location), message)],
            unknown: Vec::new(),
        }
    }
}

/// For types of the domain that report fields with their whole path.
impl From<Vec<FieldError>> for Invalid {
    fn from(fields: Vec<FieldError>) -> Invalid {
        Invalid {
            fields,
            unknown: Vec::new(),
        }
    }
}

impl MergeWithError<Invalid> for Invalid {
    fn merge(
        self_: Option<Invalid>,
        other: Invalid,
        _: ValuePointerRef,
    ) -> ControlFlow<Invalid, Invalid> {
        let mut all = self_.unwrap_or_default();
        all.fields.extend(other.fields);
        all.unknown.extend(other.unknown);
        ControlFlow::Continue(all)
    }
}

/// For `try_from` of a field.
impl MergeWithError<Rule> for Invalid {
    fn merge(
        self_: Option<Invalid>,
        Rule(rule): Rule,
        location: ValuePointerRef,
    ) -> ControlFlow<Invalid, Invalid> {
        Invalid::merge(self_, Invalid::of(rule, location), location)
    }
}

impl DeserializeError for Invalid {
    fn error<V: IntoValue>(
        self_: Option<Invalid>,
        error: ErrorKind<V>,
        location: ValuePointerRef,
    ) -> ControlFlow<Invalid, Invalid> {
        let invalid = match error {
            ErrorKind::MissingField { field } => {
                Invalid::of("is required", location.push_key(field))
            }
            ErrorKind::UnknownKey { key, .. } => Invalid {
                fields: Vec::new(),
                unknown: vec![Invalid::unknown(location.push_key(key))],
            },
            ErrorKind::IncorrectValueKind { accepted, .. } => {
                Invalid::of(must_be(accepted), location)
            }
            ErrorKind::UnknownValue { accepted, .. } => {
                Invalid::of(format!("must be one of {}", accepted.join(", ")), location)
            }
            ErrorKind::BadSequenceLen { expected, .. } => {
                Invalid::of(format!("must have {expected} entries"), location)
            }
            ErrorKind::Unexpected { msg } => Invalid::of(msg, location),
        };
        Invalid::merge(self_, invalid, location)
    }
}

/// Returns the message for a value of another type.
fn must_be(accepted: &[ValueKind]) -> &'static str {
    match accepted.first() {
        Some(ValueKind::Boolean) => "must be true or false",
        Some(ValueKind::Integer | ValueKind::NegativeInteger) => "must be a whole number",
        Some(ValueKind::Float) => "must be a number",
        Some(ValueKind::Sequence) => "must be a list",
        Some(ValueKind::Map) => "must be an object",
        Some(ValueKind::String | ValueKind::Null) | None => "must be text",
    }
}

/// Returns the path of a value, such as `items[0].quantity`.
fn path(location: ValuePointerRef) -> String {
    match location {
        ValuePointerRef::Origin => String::new(),
        ValuePointerRef::Key { key, prev } => match path(*prev) {
            above if above.is_empty() => key.to_owned(),
            above => format!("{above}.{key}"),
        },
        ValuePointerRef::Index { index, prev } => format!("{}[{index}]", path(*prev)),
    }
}

/// A text without NUL, which PostgreSQL cannot store.
#[derive(Debug, Default)]
pub struct Text(pub String);

impl Deserr<Invalid> for Text {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef,
    ) -> Result<Text, Invalid> {
        let text = <String as Deserr<Invalid>>::deserialize_from_value(value, location)?;
        if text.contains('\0') {
            return Err(Invalid::of("must not contain NUL", location));
        }
        Ok(Text(text))
    }
}

/// A value that is written as text.
#[derive(Debug)]
pub struct Parsed<T>(pub T);

/// A type that is parsed from a text.
pub trait Parse: Sized {
    /// Parses the text.
    ///
    /// # Errors
    /// Returns the rule that the text breaks.
    fn parse(text: &str) -> Result<Self, Rule>;
}

/// The rule that a text breaks, such as "must be a number". Continues the name of its field.
#[derive(Debug)]
pub struct Rule(pub String);

impl From<FieldError> for Rule {
    fn from(error: FieldError) -> Rule {
        Rule(error.message)
    }
}

impl<T: Parse> Deserr<Invalid> for Parsed<T> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef,
    ) -> Result<Parsed<T>, Invalid> {
        let Text(text) = Text::deserialize_from_value(value, location)?;
        T::parse(&text)
            .map(Parsed)
            .map_err(|Rule(rule)| Invalid::of(rule, location))
    }
}

impl Parse for ProductId {
    fn parse(text: &str) -> Result<ProductId, Rule> {
        Ok(ProductId::parse(text)?)
    }
}

impl Parse for LocationId {
    fn parse(text: &str) -> Result<LocationId, Rule> {
        Ok(LocationId::parse(text)?)
    }
}

impl Parse for OrderId {
    fn parse(text: &str) -> Result<OrderId, Rule> {
        text.parse()
            .map_err(|_| Rule("must be the id of an order".to_owned()))
    }
}

impl Parse for Status {
    fn parse(text: &str) -> Result<Status, Rule> {
        Status::from_code(text).ok_or_else(|| {
            let legal = Status::ALL.map(Status::code).join(", ");
            Rule(format!("must be one of {legal}"))
        })
    }
}

impl Parse for Timestamp {
    fn parse(text: &str) -> Result<Timestamp, Rule> {
        Timestamp::parse(text, &Rfc3339)
            .map_err(|_| Rule("must be a time such as 2026-11-21T08:30:00Z".to_owned()))
    }
}

/// Maximum length of a reason or note, in characters.
pub const NOTE_MAX: usize = 300;

/// A reason or note of staff: one line.
#[derive(Debug)]
pub struct Note(pub String);

impl Parse for Note {
    fn parse(text: &str) -> Result<Note, Rule> {
        Ok(Note(line("note", text, NOTE_MAX)?))
    }
}

/// A quantity from 1 to 99.
#[derive(Debug)]
pub struct Units(pub Quantity);

impl Deserr<Invalid> for Units {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef,
    ) -> Result<Units, Invalid> {
        let units = match value {
            Value::Integer(units) => u32::try_from(units).ok().and_then(Quantity::new),
            Value::Null
            | Value::Boolean(_)
            | Value::NegativeInteger(_)
            | Value::Float(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Map(_) => None,
        };
        units
            .map(Units)
            .ok_or_else(|| Invalid::of("must be a whole number from 1 to 99", location))
    }
}
