//! Delivery addresses. Each [`DeliveryAddress`] from [`DeliveryAddress::parse`] has been validated.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::FieldError;
use crate::text::line;

/// Maximum length of an address line, in characters.
pub const LINE_MAX: usize = 100;
/// Maximum length of the name of a city, in characters. The longest name in use has 85.
pub const CITY_MAX: usize = 90;
/// Maximum length of a postal code, in characters. The longest in use has 10 with its separator.
pub const POSTAL_CODE_MAX: usize = 12;
/// Maximum length of the note to the rider, in characters.
pub const NOTE_MAX: usize = 200;

/// A validated delivery address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAddress {
    /// Street and number.
    pub line1: String,
    /// Apartment or floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    pub city: String,
    pub postal_code: String,
    /// A note to the rider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The fields of an address as the customer typed them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written<'a> {
    pub line1: &'a str,
    pub line2: &'a str,
    pub city: &'a str,
    pub postal_code: &'a str,
    pub note: &'a str,
}

impl Written<'_> {
    /// Returns whether every field is blank.
    pub fn is_empty(&self) -> bool {
        [
            self.line1,
            self.line2,
            self.city,
            self.postal_code,
            self.note,
        ]
        .iter()
        .all(|text| text.trim().is_empty())
    }
}

impl DeliveryAddress {
    /// Validates and trims an address. The shop's delivery area is not checked.
    ///
    /// # Errors
    /// One error for each invalid field, with the path of the field in the API.
    pub fn parse(written: Written<'_>) -> Result<DeliveryAddress, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut keep =
            |parsed: Result<String, FieldError>| parsed.map_err(|error| errors.push(error)).ok();
        let field = |name: &str| format!("delivery_address.{name}");
        let line1 = keep(line(&field("line1"), written.line1, LINE_MAX));
        let city = keep(line(&field("city"), written.city, CITY_MAX));
        let postal_code = keep(parse_postal_code(
            &field("postal_code"),
            written.postal_code,
        ));
        let mut optional = |name: &str, text: &str, max| {
            if text.trim().is_empty() {
                Some(None)
            } else {
                keep(line(&field(name), text, max)).map(Some)
            }
        };
        let line2 = optional("line2", written.line2, LINE_MAX);
        let note = optional("note", written.note, NOTE_MAX);
        match (line1, line2, city, postal_code, note) {
            (Some(line1), Some(line2), Some(city), Some(postal_code), Some(note)) => {
                Ok(DeliveryAddress {
                    line1,
                    line2,
                    city,
                    postal_code,
                    note,
                })
            }
            _ => Err(errors),
        }
    }

    /// Returns the address in one line, without the note.
    pub fn one_line(&self) -> String {
        let DeliveryAddress {
            line1,
            line2,
            city,
            postal_code,
            ..
        } = self;
        let street = line2
            .as_ref()
            .map_or(line1.clone(), |line2| format!("{line1}, {line2}"));
        format!("{street}, {city} {postal_code}")
    }
}

/// Returns a postal code: ASCII letters, digits, dashes and spaces, with at least three letters or
/// digits.
fn parse_postal_code(field: &str, text: &str) -> Result<String, FieldError> {
    let text = line(field, text, POSTAL_CODE_MAX)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ' ';
    if text.chars().all(legal) && text.chars().filter(char::is_ascii_alphanumeric).count() >= 3 {
        return Ok(text);
    }
    Err(FieldError::new(
        field,
        "must be a postal code, such as 10001",
    ))
}

// Addresses are personal data, which must not reach the logs.
impl fmt::Debug for DeliveryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliveryAddress(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Written<'_> = Written {
        line1: " 12 Main Street ",
        line2: "",
        city: "New York",
        postal_code: "10001",
        note: "Ring twice",
    };

    #[test]
    fn an_address_is_trimmed_and_optional_fields_may_be_missing() {
        let home = DeliveryAddress::parse(HOME).expect("an address");
        assert_eq!(home.one_line(), "12 Main Street, New York 10001");
        assert_eq!(
            (home.line2.as_deref(), home.note.as_deref()),
            (None, Some("Ring twice"))
        );
        let flat = DeliveryAddress::parse(Written {
            line2: "Apt 4",
            ..HOME
        })
        .expect("an address");
        assert_eq!(flat.one_line(), "12 Main Street, Apt 4, New York 10001");
        assert_eq!(format!("{flat:?}"), "DeliveryAddress(***)");
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let wrong = Written {
            postal_code: "!",
            note: "a\0b",
            ..Written::default()
        };
        let errors = DeliveryAddress::parse(wrong).expect_err("all are wrong");
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        let all =
            ["line1", "city", "postal_code", "note"].map(|name| format!("delivery_address.{name}"));
        assert_eq!(fields, all);
        assert!(Written::default().is_empty() && !wrong.is_empty());
    }
}
