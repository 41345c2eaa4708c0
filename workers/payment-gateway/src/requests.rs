//! From bytes to requests that make sense alone. Not JSON: 400. JSON of the wrong shape or content:
//! 422, with *all* fields that are wrong, unknown ones too.

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use crate::books::{ChargeRequest, RefundRequest};
use crate::card::contains_card_number;
use crate::problem::{FieldError, Problem};

/// Twelve digits: what a card message has for an amount (ISO 8583, field 4).
const AMOUNT_MINOR_MAX: i64 = 999_999_999_999;
/// Room for any id or hash a client may use; short enough for a ledger line.
const TEXT_BYTES_MAX: usize = 255;

pub const KEY_HEADER: &str = "Idempotency-Key";

const NO_CARD: &str = "must not contain a card number: none is ever kept here";

/// Reads the key that a charge or a refund is recorded under.
pub fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::key_missing(format!(
            "send one {KEY_HEADER} header"
        )));
    };
    let key = usable_key(value.to_str().unwrap_or_default())?;
    if contains_card_number(&key) {
        return Err(Problem::invalid(vec![FieldError {
            field: KEY_HEADER.to_owned(),
            message: NO_CARD.to_owned(),
        }]));
    }
    Ok(key)
}

/// A key of 1 to 255 visible ASCII characters.
pub fn usable_key(key: &str) -> Result<String, Problem> {
    if key.is_empty()
        || key.len() > TEXT_BYTES_MAX
        || !key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Problem::key_missing(format!(
            "a key is 1 to {TEXT_BYTES_MAX} visible ASCII characters"
        )));
    }
    Ok(key.to_owned())
}

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

pub fn refund(body: &[u8]) -> Result<RefundRequest, Problem> {
    let mut form = Form::parse(body)?;
    let request = RefundRequest {
        charge_id: form.text("charge_id"),
        amount_minor: form.amount("amount_minor"),
    };
    form.finish(request)
}

/// A JSON object being read field by field. A wrong field reads as a placeholder and is held
/// against the form, so that [`Form::finish`] can name them all at once.
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
            Ok(_) => Err(Problem::malformed("the body must be a JSON object")),
            Err(_) => Err(Problem::malformed("the body must be JSON")),
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

    /// Text that goes into the ledger as it was sent.
    fn recorded_text(&mut self, field: &str) -> String {
        let text = self.text(field);
        if contains_card_number(&text) {
            self.errors.push(FieldError {
                field: field.to_owned(),
                message: NO_CARD.to_owned(),
            });
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
        self.errors.push(FieldError {
            field: field.to_owned(),
            message: message.to_owned(),
        });
        T::default()
    }

    fn finish<T>(mut self, request: T) -> Result<T, Problem> {
        let unknown = self.fields.into_iter().map(|(field, _)| FieldError {
            field,
            message: "is unknown".into(),
        });
        self.errors.extend(unknown);
        if self.errors.is_empty() {
            Ok(request)
        } else {
            Err(Problem::invalid(self.errors))
        }
    }
}
