//! Phone numbers as people type and paste them, stored as networks dial them.

use std::fmt;

use phonenumber::country::Id;
use phonenumber::metadata::DATABASE;
use unicode_normalization::UnicodeNormalization as _;

use crate::FieldError;
use crate::text::normalise;

/// Longest number as typed, in characters.
pub const PHONE_MAX: usize = 40;
/// RFC 3966 sets no limit; private exchanges have at most this many digits.
const EXTENSION_MAX: usize = 7;
/// ITU-T E.164: at most fifteen digits with the country's code. No country has shorter ones than this, special services
/// aside.
const E164_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
const FIELD: &str = "customer.phone";

/// A country by its ISO 3166-1 code: how its people write a number without a country code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Country(Id);

impl Country {
    pub const US: Country = Country(Id::US);

    /// # Errors
    /// When it is not two capital letters that name a country with a phone network.
    pub fn parse(code: &str) -> Result<Country, FieldError> {
        let message = format!("{code:?} is not the two-letter code of a country, such as US (ISO 3166-1)");
        code.parse().map(Country).map_err(|_| FieldError::new("country", message))
    }

    pub fn code(&self) -> &str {
        self.0.as_ref()
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A number that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    /// ITU-T E.164, such as `+12125550123`.
    pub number: String,
    /// Digits to dial once the number has answered.
    pub extension: Option<String>,
}

impl Phone {
    /// Reads a number; one without a country code is of `country`. Accepted: digits of any script that people paste,
    /// every dash and space, and an extension behind it (`x12`, `ext. 12`, `;ext=12`, `#12`).
    ///
    /// # Errors
    /// When no network could dial it. The error names `customer.phone`.
    pub fn parse(text: &str, country: Country) -> Result<Phone, FieldError> {
        let text = plain(text);
        if text.is_empty() {
            return Err(FieldError::new(FIELD, "is required"));
        }
        if text.chars().count() > PHONE_MAX {
            return Err(FieldError::new(FIELD, format!("must be at most {PHONE_MAX} characters")));
        }
        let legal = |letter: char| letter.is_ascii_digit() || "+-. ()/".contains(letter);
        let end = text.find(|letter| !legal(letter)).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let extension = extension(rest)?;
        let number = dialled(number.trim_end_matches(['(', ' ', '-', '.', '/']), country)?;
        Ok(Phone { number, extension })
    }
}

/// ASCII digits, dashes and spaces for those of other scripts and widths. Contacts are full of them: no-break spaces
/// and hyphens, invisible marks of direction, full-width digits.
fn plain(text: &str) -> String {
    let letters = normalise(&text.nfkc().collect::<String>());
    let letters = letters.strip_prefix("tel:").unwrap_or(&letters).trim();
    letters
        .chars()
        .map(|letter| match letter {
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30fc}' => '-',
            '\t' => ' ',
            _ if letter.is_whitespace() && letter != '\n' => ' ',
            _ => digit(letter).unwrap_or(letter),
        })
        .collect()
}

/// The ASCII digit for an Arabic-Indic, Persian or Devanagari one.
fn digit(letter: char) -> Option<char> {
    const ZEROS: [u32; 3] = [0x660, 0x6f0, 0x966];
    let value = ZEROS.iter().find_map(|zero| u32::from(letter).checked_sub(*zero).filter(|value| *value < 10))?;
    char::from_digit(value, 10)
}

/// What stands behind the number.
fn extension(rest: &str) -> Result<Option<String>, FieldError> {
    const MARKS: [&str; 6] = ["extension", "ext", "x", "#", ",", ";"];
    let wrong = || FieldError::new(FIELD, "must be a phone number, with an extension as in +1 212 555 0123 x12");
    if rest.is_empty() {
        return Ok(None);
    }
    let lower = rest.to_ascii_lowercase();
    let mut digits = lower.trim_start_matches([';', ',', ' ']);
    if let Some(behind) = MARKS.iter().find_map(|mark| digits.strip_prefix(mark)) {
        digits = behind;
    }
    let digits = digits.trim_start_matches(['.', ':', '=', ' ']).trim_end_matches([')', ' ', '#']);
    let legal = (1..=EXTENSION_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if legal { Ok(Some(digits.to_owned())) } else { Err(wrong()) }
}

/// The number in E.164. Whether it is in service is not asked: numbers for fiction and new ranges are legal.
fn dialled(number: &str, country: Country) -> Result<String, FieldError> {
    const NORTH_AMERICA: u16 = 1;
    let wrong = || {
        let message = "must be a whole phone number with its area code, such as +1 212 555 0123; begin with + and the \
            country code for another country";
        FieldError::new(FIELD, message)
    };
    let parsed = phonenumber::parse(Some(country.0), number).map_err(|_| wrong())?;
    let (code, national) = (parsed.code().value(), parsed.national().to_string());
    let known = DATABASE.by_code(&code).unwrap_or_default();
    let fits = known.iter().any(|country| country.descriptors().general().is_match(&national));
    let e164 = format!("+{code}{national}");
    let whole = E164_DIGITS.contains(&(e164.len() - 1)) && (code != NORTH_AMERICA || national.len() == 10);
    if fits && whole { Ok(e164) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (String, Option<String>) {
        let phone = Phone::parse(text, Country::US).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        (phone.number, phone.extension)
    }

    #[test]
    fn a_number_pasted_from_contacts_is_stored_as_networks_dial_it() {
        for text in [
            "+1 212 555 0123",
            "(212) 555-0123",
            "212.555.0123",
            "1/212/555/0123",
            "\u{200e}+1\u{a0}212\u{2011}555\u{2011}0123\u{200e}",
            "\u{202a}+1 (212)\u{2009}555\u{2013}0123\u{202c}",
            "\u{ff0b}\u{ff11} \u{ff12}\u{ff11}\u{ff12} \u{ff15}\u{ff15}\u{ff15} \u{ff10}\u{ff11}\u{ff12}\u{ff13}",
            "\u{662}\u{661}\u{662} \u{665}\u{665}\u{665} \u{660}\u{661}\u{662}\u{663}",
            "tel:+1-212-555-0123",
            "011 1 212 555 0123",
        ] {
            assert_eq!(parsed(text), ("+12125550123".to_owned(), None), "{text:?}");
        }
        assert_eq!(parsed("+1 555 010 0123").0, "+15550100123", "a number for fiction");
        assert_eq!(parsed("+44 20 7946 0958").0, "+442079460958");
        assert_eq!(parsed("+39 06 1234 5678").0, "+390612345678", "Italy keeps its zero");
    }

    #[test]
    fn an_extension_is_kept_beside_the_number() {
        for text in [
            "212 555 0123 x12",
            "212 555 0123 ext. 12",
            "212-555-0123 EXT 12",
            "+1 212 555 0123;ext=12",
            "212 555 0123 #12",
            "212 555 0123,12",
            "(212) 555-0123 (ext 12)",
            "212 555 0123 extension 12",
            "+1 212 555 0123 \u{ff58}12",
        ] {
            assert_eq!(parsed(text), ("+12125550123".to_owned(), Some("12".to_owned())), "{text:?}");
        }
    }

    #[test]
    fn the_country_of_the_shop_decides_what_a_number_without_one_means() {
        let number = |text: &str, country: &str| {
            Phone::parse(text, Country::parse(country).expect("a country")).map(|phone| phone.number)
        };
        assert_eq!(number("020 7946 0958", "GB").as_deref(), Ok("+442079460958"));
        assert_eq!(number("030 123456", "DE").as_deref(), Ok("+4930123456"));
        assert!(number("020 7946 0958", "US").is_err());
        for wrong in ["us", "XX", "", "USA"] {
            assert!(Country::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_no_network_dials_is_refused_by_name() {
        for wrong in [
            "",
            " ",
            "call me",
            "1-800-FLOWERS",
            "555 0123",
            "12345",
            "911",
            "+0 555 010 0123",
            "+1 555 01",
            "+999 123 4567",
            "+1212555012345678",
            "00 44 20 7946 0958",
            "212 555 0123 x",
            "212 555 0123 x123456789",
            "212 555 0123\n212 555 0124",
            "+",
            "++1 212 555 0123 or 4",
            "4111 1111 1111 1111",
        ] {
            let error = Phone::parse(wrong, Country::US).expect_err(wrong);
            assert_eq!(error.field, FIELD, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_e164_and_reads_the_same_again(text in "\\PC{0,20}|[+0-9 ().x\u{2011}-]{5,20}") {
            if let Ok(phone) = Phone::parse(&text, Country::US) {
                prop_assert!(phone.number.starts_with('+'));
                prop_assert!(E164_DIGITS.contains(&(phone.number.len() - 1)));
                prop_assert!(phone.number[1..].bytes().all(|byte| byte.is_ascii_digit()));
                let again = Phone::parse(&phone.number, Country::US);
                prop_assert_eq!(again.map(|again| again.number), Ok(phone.number));
            }
        }
    }
}
