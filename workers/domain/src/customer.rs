//! Name and contact data of the customer of an order. [`Customer::parse`] validates them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::channel::Preferences;
use crate::phone::{Country, Phone};
use crate::text::{line, paragraph};
use crate::{FieldError, email};

/// Maximum length of a name, in characters.
pub const NAME_MAX: usize = 100;
/// Maximum length of the note to the barista, in characters.
pub const INSTRUCTIONS_MAX: usize = 500;

/// Name and contact data of the customer of one order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub name: String,
    /// The phone number in E.164, such as `+12125550123`. Orders from before release 0.1.0 have the
    /// number as it was typed.
    pub phone: String,
    /// Digits to dial after the call is answered.
    #[serde(default)]
    pub phone_extension: Option<String>,
    /// The e-mail address. An internationalized host is in Punycode.
    pub email: String,
    /// The channels on which the customer wants notifications about the order.
    #[serde(default)]
    pub notify: Preferences,
}

impl Customer {
    /// Validates the three fields and converts them to their stored form. A phone number without a
    /// country code belongs to `country`.
    ///
    /// # Errors
    /// One error for each invalid field.
    pub fn parse(
        name: &str,
        phone: &str,
        email: &str,
        country: Country,
    ) -> Result<Customer, Vec<FieldError>> {
        let name = line("customer.name", name, NAME_MAX);
        let phone = Phone::parse(phone, country);
        match (name, phone, email::parse("customer.email", email)) {
            (Ok(name), Ok(Phone { number, extension }), Ok(email)) => Ok(Customer {
                name,
                phone: number,
                phone_extension: extension,
                email,
                notify: Preferences::default(),
            }),
            (name, phone, email) => Err([name.err(), phone.err(), email.err()]
                .into_iter()
                .flatten()
                .collect()),
        }
    }

    /// Returns the customer with these notification preferences.
    ///
    /// # Errors
    /// A field error when texts are wanted and [`Customer::text_number`] returns `None`, for
    /// example because the number has an extension. A telephone switchboard cannot receive texts.
    pub fn told_by(self, notify: Preferences) -> Result<Customer, FieldError> {
        if notify.sms && self.text_number().is_none() {
            let message =
                "must be a number without an extension for text messages, such as +1 212 555 0123";
            return Err(FieldError::new("customer.phone", message));
        }
        Ok(Customer { notify, ..self })
    }

    /// Returns the number to send texts to, in E.164. `None` when the number has an extension, or
    /// when it was stored before numbers were normalized and has no country code.
    pub fn text_number(&self) -> Option<String> {
        let digits: String = self.phone.chars().filter(char::is_ascii_digit).collect();
        // A country code never starts with 0, and no mobile number has fewer than eight digits
        // including its country code.
        let whole = self.phone_extension.is_none()
            && self.phone.starts_with('+')
            && !digits.starts_with('0')
            && (8..=15).contains(&digits.len());
        whole.then(|| format!("+{digits}"))
    }
}

// Contact data must not reach the logs.
impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Customer(***)")
    }
}

/// Validates a note to the barista. The note may be empty and may have line breaks.
///
/// # Errors
/// A field error when the note is too long, or has other control characters or a card number.
pub fn parse_instructions(text: &str) -> Result<String, FieldError> {
    paragraph("special_instructions", text, INSTRUCTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(name: &str, phone: &str, email: &str) -> Result<Customer, Vec<FieldError>> {
        Customer::parse(name, phone, email, Country::US)
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let errors = customer(" ", "call me", "nobody").expect_err("all three are wrong");
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            ["customer.name", "customer.phone", "customer.email"]
        );
    }

    #[test]
    fn text_that_would_break_a_mail_header_or_a_database_is_refused() {
        for name in ["a\0b", "a\r\nBcc: all@example.com", "\u{7}"] {
            assert!(
                customer(name, "+1 555 010 0123", "a@example.com").is_err(),
                "{name:?}"
            );
        }
        assert_eq!(
            parse_instructions("oat milk,\r\nplease").as_deref(),
            Ok("oat milk,\nplease")
        );
        assert!(parse_instructions("a\0b").is_err());
    }

    #[test]
    fn a_name_is_measured_in_characters() {
        let hundred = "é".repeat(100);
        assert!(customer(&hundred, "+1 555 010 0123", "a@example.com").is_ok());
        assert!(customer(&format!("{hundred}é"), "+1 555 010 0123", "a@example.com").is_err());
    }

    #[test]
    fn text_messages_are_sent_to_complete_numbers_without_extension() {
        let texts = Preferences {
            email: true,
            sms: true,
        };
        let ana = |phone: &str| customer("Ana", phone, "ana@example.com").expect("valid");
        for phone in ["+1 (555) 010-0123", "555 010 0123"] {
            let told = ana(phone).told_by(texts).expect("a whole number");
            assert_eq!(told.text_number().as_deref(), Some("+15550100123"));
        }
        let error = ana("+1 212 555 0123 x12")
            .told_by(texts)
            .expect_err("an extension");
        assert_eq!(error.field, "customer.phone");
        assert!(
            ana("+1 212 555 0123 x12")
                .told_by(Preferences::default())
                .is_ok(),
            "it is good enough to be called"
        );
        let stored = |phone: &str| Customer {
            phone: phone.to_owned(),
            ..ana("+1 555 010 0123")
        };
        assert_eq!(
            stored("+1 555 010 0123").text_number().as_deref(),
            Some("+15550100123"),
            "as it was typed once"
        );
        assert_eq!(stored("555 010 0123").text_number(), None, "which country?");
    }

    #[test]
    fn a_log_line_never_shows_a_customer() {
        let customer = customer("Ana", "+1 555 010 0123", "ana@example.com").expect("valid");
        assert_eq!(format!("{customer:?}"), "Customer(***)");
    }
}
