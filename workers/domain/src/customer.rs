//! Who ordered, and how to reach them. A value of these types has been checked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::FieldError;
use crate::card::refuse_card_number;
use crate::channel::Preferences;

/// Longest name, in characters.
pub const NAME_MAX: usize = 100;
/// Longest note to the barista, in characters.
pub const INSTRUCTIONS_MAX: usize = 500;
/// RFC 5321 section 4.5.3.1.3: a path is at most 256 octets, angle brackets included.
pub const EMAIL_MAX: usize = 254;

/// How to call and reach the customer of one order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub name: String,
    pub phone: String,
    pub email: String,
    /// By which channels they want to hear of their order.
    #[serde(default)]
    pub notify: Preferences,
}

impl Customer {
    /// Checks and trims the three fields, reporting every wrong one.
    pub fn parse(name: &str, phone: &str, email: &str) -> Result<Customer, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut keep = |parsed: Result<String, FieldError>| match parsed {
            Ok(text) => text,
            Err(error) => {
                errors.push(error);
                String::new()
            }
        };
        let customer = Customer {
            name: keep(line("customer.name", name, NAME_MAX)),
            phone: keep(parse_phone(phone)),
            email: keep(parse_email(email)),
            notify: Preferences::default(),
        };
        if errors.is_empty() { Ok(customer) } else { Err(errors) }
    }

    /// The same customer with wishes of their own.
    ///
    /// # Errors
    /// When texts are wanted and the phone number does not say in which country it is.
    pub fn told_by(self, notify: Preferences) -> Result<Customer, FieldError> {
        if notify.sms && self.text_number().is_none() {
            let message = "must begin with + and the country's code to be texted, such as +1 555 010 0123";
            return Err(FieldError::new("customer.phone", message));
        }
        Ok(Customer { notify, ..self })
    }

    /// The phone number as networks dial it (ITU-T E.164: `+` and at most fifteen digits), if it says its country.
    pub fn text_number(&self) -> Option<String> {
        let digits: String = self.phone.chars().filter(char::is_ascii_digit).collect();
        // A country's code never begins with 0, and no number of a mobile phone is shorter than eight digits with it.
        let whole = self.phone.starts_with('+') && !digits.starts_with('0') && (8..=15).contains(&digits.len());
        whole.then(|| format!("+{digits}"))
    }
}

// Personal data does not belong in logs.
impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Customer(***)")
    }
}

/// A note to the barista: may be empty, may have line breaks.
pub fn parse_instructions(text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    if text.chars().count() > INSTRUCTIONS_MAX {
        return Err(FieldError::new("special_instructions", format!("must be at most {INSTRUCTIONS_MAX} characters")));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(FieldError::new("special_instructions", "must not contain control characters"));
    }
    refuse_card_number("special_instructions", text)?;
    Ok(text.to_owned())
}

/// One line of free text, 1 to `max` characters, without control characters (a line break would reach mail headers) and
/// without a card number.
pub fn line(field: &str, text: &str, max: usize) -> Result<String, FieldError> {
    let text = any_line(field, text, max)?;
    refuse_card_number(field, &text)?;
    Ok(text)
}

/// As [`line`], for a phone number: its digits may pass the Luhn check by chance.
fn any_line(field: &str, text: &str, max: usize) -> Result<String, FieldError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(FieldError::new(field, "is required"));
    }
    if text.chars().count() > max {
        return Err(FieldError::new(field, format!("must be at most {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::new(field, "must not contain control characters"));
    }
    Ok(text.to_owned())
}

fn parse_phone(text: &str) -> Result<String, FieldError> {
    let text = any_line("customer.phone", text, 30)?;
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let legal = |c: char| c.is_ascii_digit() || "+-. ()/".contains(c);
    // ITU-T E.164: at most fifteen digits.
    if !(5..=15).contains(&digits) || !text.chars().all(legal) {
        return Err(FieldError::new("customer.phone", "must be a phone number, such as +1 555 010 0123"));
    }
    Ok(text)
}

fn parse_email(text: &str) -> Result<String, FieldError> {
    let wrong = || FieldError::new("customer.email", "must be an e-mail address, such as ana@example.com");
    let text = line("customer.email", text, EMAIL_MAX)?;
    let (user, host) = text.rsplit_once('@').ok_or_else(wrong)?;
    let host_is_legal = host.contains('.')
        && host
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    let user_is_legal = !user.is_empty()
        && user.len() <= 64
        && user.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c));
    if host_is_legal && user_is_legal { Ok(text) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let errors = Customer::parse(" ", "call me", "nobody").expect_err("all three are wrong");
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["customer.name", "customer.phone", "customer.email"]);
    }

    #[test]
    fn text_that_would_break_a_mail_header_or_a_database_is_refused() {
        for name in ["a\0b", "a\r\nBcc: all@example.com", "\u{7}"] {
            assert!(Customer::parse(name, "+1 555 010 0123", "a@example.com").is_err(), "{name:?}");
        }
        assert!(parse_instructions("oat milk,\nplease").is_ok());
        assert!(parse_instructions("a\0b").is_err());
    }

    #[test]
    fn a_name_is_measured_in_characters() {
        let hundred = "é".repeat(100);
        assert!(Customer::parse(&hundred, "5550100", "a@example.com").is_ok());
        assert!(Customer::parse(&format!("{hundred}é"), "5550100", "a@example.com").is_err());
    }

    #[test]
    fn texts_go_to_a_number_that_says_its_country() {
        let texts = Preferences { email: true, sms: true };
        let ana = |phone: &str| Customer::parse("Ana", phone, "ana@example.com").expect("valid");
        let told = ana("+1 (555) 010-0123").told_by(texts).expect("a whole number");
        assert_eq!(told.text_number().as_deref(), Some("+15550100123"));
        for phone in ["555 010 0123", "+0 555 010 0123", "+1 555 01"] {
            let error = ana(phone).told_by(texts).expect_err(phone);
            assert_eq!(error.field, "customer.phone");
            assert!(ana(phone).told_by(Preferences::default()).is_ok(), "{phone} is good enough to be called");
        }
    }

    #[test]
    fn a_log_line_never_shows_a_customer() {
        let customer = Customer::parse("Ana", "5550100", "ana@example.com").expect("valid");
        assert_eq!(format!("{customer:?}"), "Customer(***)");
    }
}
