//! Validates e-mail addresses and converts them to the form that mail servers accept.

use email_address::{EmailAddress, Options};

use crate::FieldError;
use crate::card::refuse_card_number;
use crate::text::normalize;

/// Maximum length of an address, in octets. RFC 5321 section 4.5.3.1.3 limits a path to 256 octets
/// including the angle brackets.
pub const EMAIL_MAX: usize = 254;

/// Returns the address with its host in lower case. An internationalized host is converted to
/// Punycode (RFC 5891). The part before the `@` does not change, because only the host can
/// interpret it.
///
/// # Errors
/// A field error for `field` when the address is empty, too long, not valid for SES, or contains a
/// card number.
pub fn parse(field: &str, text: &str) -> Result<String, FieldError> {
    let wrong = || FieldError::new(field, "must be an e-mail address, such as ana@example.com");
    let text = normalize(text);
    if text.is_empty() {
        return Err(FieldError::new(field, "is required"));
    }
    refuse_card_number(field, &text)?;
    let (user, host) = text.rsplit_once('@').ok_or_else(wrong)?;
    // This conversion also rejects hyphens at the ends of labels, labels over 63 octets, and
    // underscores.
    let host = idna::domain_to_ascii_strict(host).map_err(|_| wrong())?;
    let address = format!("{user}@{host}");
    if address.len() > EMAIL_MAX {
        return Err(FieldError::new(
            field,
            format!("must be at most {EMAIL_MAX} characters"),
        ));
    }
    // Quoted local parts and letters outside ASCII need extensions (RFC 6531) that SES does not
    // support.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&byte);
    // A top-level domain is never all digits (RFC 3696 section 2). The check rejects IPv4
    // addresses.
    let numeric = host
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    let options = Options::default()
        .with_required_tld()
        .without_domain_literal()
        .without_display_text();
    let legal = user.bytes().all(plain)
        && !numeric
        && EmailAddress::parse_with_options(&address, options).is_ok();
    if legal { Ok(address) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, FieldError> {
        parse("customer.email", text)
    }

    #[test]
    fn an_internationalized_host_is_stored_as_punycode() {
        for (typed, stored) in [
            ("ana@example.com", "ana@example.com"),
            (
                " Ana.B+coffee@Example.COM\u{200b} ",
                "Ana.B+coffee@example.com",
            ),
            ("ana@b\u{fc}cher.example", "ana@xn--bcher-kva.example"),
            ("ana@bu\u{308}cher.example", "ana@xn--bcher-kva.example"),
            (
                "ana@\u{4f8b}\u{3048}.\u{30c6}\u{30b9}\u{30c8}",
                "ana@xn--r8jz45g.xn--zckzah",
            ),
            ("o'neill@sub.example.co.uk", "o'neill@sub.example.co.uk"),
        ] {
            assert_eq!(parsed(typed).as_deref(), Ok(stored), "{typed:?}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused_by_name() {
        let long = format!("ana@{}.example", "a".repeat(64));
        let user = format!("{}@example.com", "a".repeat(65));
        let whole = format!("a@{}", ["a".repeat(60).as_str(); 5].join("."));
        for wrong in [
            "",
            "nobody",
            "a..b@example.com",
            ".a@example.com",
            "a.@example.com",
            "@example.com",
            "a@",
            "a@-x",
            "a@-x.com",
            "a@x-.com",
            "a@1.2.3.4",
            "a@[1.2.3.4]",
            "a@example",
            "a@example..com",
            "a@.com",
            "a@example.com.",
            "a b@example.com",
            "\"a b\"@example.com",
            "a@exam_ple.com",
            "a@example.123",
            "Ana <ana@example.com>",
            "a@b@example.com",
            "a@b\r\nBcc: c@d.example",
            "zo\u{eb}@example.com",
            &long,
            &user,
            &whole,
        ] {
            assert_eq!(
                parsed(wrong).expect_err(wrong).field,
                "customer.email",
                "{wrong:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn accepted_addresses_are_ascii_and_parse_to_themselves(text in "\\PC{0,12}@?\\PC{0,12}|[a-z.@-]{3,20}|[a-z]{1,5}@[a-z\u{fc}]{1,5}\\.[a-z]{2,3}") {
            if let Ok(address) = parsed(&text) {
                prop_assert!(address.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert_eq!(parsed(&address), Ok(address));
            }
        }
    }
}
