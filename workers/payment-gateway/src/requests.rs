//! Parses and validates requests. A body that is not JSON gets 400. Invalid JSON content gets 422
//! with *all* invalid fields, unknown ones included.

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use crate::books::{ChargeRequest, RefundRequest};
use crate::card::contains_card_number;
use crate::problem::{FieldError, Problem};

/// Maximum amount in minor units: twelve digits, as in card messages (ISO 8583, field 4).
const AMOUNT_MINOR_MAX: i64 = 999_999_999_999;
/// Maximum bytes of a text: enough for any id or hash, and short enough for a ledger line.
const TEXT_BYTES_MAX: usize = 255;

/// The header with the idempotency key.
pub const KEY_HEADER: &str = "Idempotency-Key";

const NO_CARD: &str = "must not contain a card number: none is ever kept here";

/// Returns the idempotency key of a charge or a refund.
///
/// # Errors
/// Returns 400 for a missing or unusable key, and 422 for a key that contains a card number.
pub fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        let detail = format!("send one {KEY_HEADER} header");
        return Err(Problem::key_missing().detailed(detail));
    };
    let key = usable_key(value.to_str().unwrap_or_default())?;
    if contains_card_number(&key) {
        return Err(Problem::invalid(vec![FieldError::new(KEY_HEADER, NO_CARD)]));
    }
    Ok(key)
}

/// Checks that a key has 1 to 255 visible ASCII characters.
///
/// # Errors
/// Returns 400 for any other key.
pub fn usable_key(key: &str) -> Result<String, Problem> {
    if key.is_empty()
        || key.len() > TEXT_BYTES_MAX
        || !key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        let detail = format!("a key is 1 to {TEXT_BYTES_MAX} visible ASCII characters");
        return Err(Problem::key_missing().detailed(detail));
    }
    Ok(key.to_owned())
}

/// Parses a charge request.
///
/// # Errors
/// Returns 400 for a body that is not a JSON object, and 422 with all invalid fields.
pub fn charge(body: &[u8]) -> Result<ChargeRequest, Problem> {
    let mut form = Form::parse(body)?;
    let request = ChargeRequest {
        amount_minor: form.amount("amount_minor"),
        currency: form.currency("currency"),
        token: form.recorded_text("token"),
        reference: form.recorded_text("reference"),
    };
    form.finish(request)
}

/// Parses a refund request.
///
/// # Errors
/// Returns 400 for a body that is not a JSON object, and 422 with all invalid fields.
pub fn refund(body: &[u8]) -> Result<RefundRequest, Problem> {
    let mut form = Form::parse(body)?;
    let request = RefundRequest {
        charge_id: form.text("charge_id"),
        amount_minor: form.amount("amount_minor"),
    };
    form.finish(request)
}

/// A JSON object that is read field by field. An invalid field gets a placeholder and an error, so
/// that [`Form::finish`] reports all errors together.
struct Form {
    fields: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Form {
    fn parse(body: &[u8]) -> Result<Form, Problem> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Form {
                fields,
                errors: Vec::new(),
            }),
            Ok(_) => Err(Problem::malformed().detailed("the body must be a JSON object")),
            Err(_) => Err(Problem::malformed().detailed("the body must be JSON")),
        }
    }

    fn amount(&mut self, field: &str) -> i64 {
        let rule = format!("must be an integer from 1 to {AMOUNT_MINOR_MAX}, in minor units");
        self.read(field, &rule, |value| {
            value
                .as_i64()
                .filter(|amount| (1..=AMOUNT_MINOR_MAX).contains(amount))
        })
    }

    fn currency(&mut self, field: &str) -> String {
        self.read(
            field,
            "must be three upper-case letters (ISO 4217)",
            |value| {
                let code = value.as_str()?;
                (code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()))
                    .then(|| code.to_owned())
            },
        )
    }

    fn text(&mut self, field: &str) -> String {
        let rule =
            format!("must be text of 1 to {TEXT_BYTES_MAX} bytes without control characters");
        self.read(field, &rule, |value| {
            let text = value.as_str()?;
            let usable = !text.is_empty()
                && text.len() <= TEXT_BYTES_MAX
                && !text.contains(char::is_control);
            usable.then(|| text.to_owned())
        })
    }

    /// Reads a text that is stored in the ledger as it was sent.
    fn recorded_text(&mut self, field: &str) -> String {
        let text = self.text(field);
        if contains_card_number(&text) {
            self.errors.push(FieldError::new(field, NO_CARD));
        }
        text
    }

    fn read<T: Default>(
        &mut self,
        field: &str,
        rule: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> T {
        let message = match self.fields.remove(field) {
            None => "is required",
            Some(value) => match parse(&value) {
                Some(parsed) => return parsed,
                None => rule,
            },
        };
        self.errors.push(FieldError::new(field, message));
        T::default()
    }

    fn finish<T>(mut self, request: T) -> Result<T, Problem> {
        let unknown = self.fields.into_iter();
        self.errors
            .extend(unknown.map(|(field, _)| FieldError::new(field, "is unknown")));
        if self.errors.is_empty() {
            Ok(request)
        } else {
            Err(Problem::invalid(self.errors))
        }
    }
}
