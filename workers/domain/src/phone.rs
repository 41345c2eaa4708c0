//! Parses phone numbers as people type and paste them, and converts them to E.164.

use std::{fmt, iter};

use phonenumber::Metadata;
use phonenumber::country::Id;
use phonenumber::metadata::{DATABASE, Descriptor};
use regex::RegexBuilder;
use unicode_normalization::UnicodeNormalization as _;

use crate::FieldError;
use crate::text::normalize;

/// Maximum length of a number as typed, in characters.
pub const PHONE_MAX: usize = 40;
/// Maximum length of an extension, in digits. RFC 3966 sets no limit; private exchanges use at most
/// seven.
const EXTENSION_MAX: usize = 7;
/// Number of digits of a phone number including its country code. ITU-T E.164 allows at most 15.
/// Only special services have fewer than 8.
const E164_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
const FIELD: &str = "customer.phone";

/// A country by its ISO 3166-1 code. Numbers without a country code follow the rules of a country.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Country(Id);

impl Country {
    /// The United States.
    pub const US: Country = Country(Id::US);

    /// Returns the country with this code.
    ///
    /// # Errors
    /// A field error when the code is not two capital letters of a country with a phone network.
    pub fn parse(code: &str) -> Result<Country, FieldError> {
        let message =
            format!("{code:?} is not the two-letter code of a country, such as US (ISO 3166-1)");
        code.parse()
            .map(Country)
            .map_err(|_| FieldError::new("country", message))
    }

    /// Returns the two-letter code.
    pub fn code(&self) -> &str {
        self.0.as_ref()
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A validated phone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    /// The number in E.164, such as `+12125550123`.
    pub number: String,
    /// Digits to dial after the call is answered.
    pub extension: Option<String>,
}

impl Phone {
    /// Loads the numbering rules of all countries into memory. Otherwise the first call of
    /// [`Phone::parse`] takes about 0.2 seconds longer.
    pub fn prepare() {
        // Every lookup makes the crate load its tables.
        let _ = DATABASE.by_id(Country::US.code());
    }

    /// Parses a number. A number without a country code belongs to `country`.
    ///
    /// Digits of other scripts, every kind of dash and space, and an extension at the end (`x12`,
    /// `ext. 12`, `;ext=12`, `#12`) are accepted.
    ///
    /// # Errors
    /// A field error for `customer.phone` when the number cannot be dialed.
    pub fn parse(text: &str, country: Country) -> Result<Phone, FieldError> {
        let text = plain(text);
        if text.is_empty() {
            return Err(FieldError::new(FIELD, "is required"));
        }
        if text.chars().count() > PHONE_MAX {
            return Err(FieldError::new(
                FIELD,
                format!("must be at most {PHONE_MAX} characters"),
            ));
        }
        let legal = |letter: char| letter.is_ascii_digit() || "+-. ()/".contains(letter);
        let end = text.find(|letter| !legal(letter)).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let extension = extension(rest)?;
        let number = dialed(number.trim_end_matches(['(', ' ', '-', '.', '/']), country)?;
        Ok(Phone { number, extension })
    }
}

/// Returns the text with ASCII digits, dashes and spaces instead of those of other scripts and
/// widths. Address books contain no-break spaces and hyphens, invisible direction marks and
/// full-width digits.
fn plain(text: &str) -> String {
    let letters = normalize(&text.nfkc().collect::<String>());
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

/// Returns the ASCII digit for an Arabic-Indic, Persian or Devanagari digit.
fn digit(letter: char) -> Option<char> {
    const ZEROS: [u32; 3] = [0x660, 0x6f0, 0x966];
    let value = ZEROS.iter().find_map(|zero| {
        u32::from(letter)
            .checked_sub(*zero)
            .filter(|value| *value < 10)
    })?;
    char::from_digit(value, 10)
}

/// Returns the extension in the text after the number.
fn extension(rest: &str) -> Result<Option<String>, FieldError> {
    const MARKS: [&str; 6] = ["extension", "ext", "x", "#", ",", ";"];
    let wrong = || {
        FieldError::new(
            FIELD,
            "must be a phone number, with an extension as in +1 212 555 0123 x12",
        )
    };
    if rest.is_empty() {
        return Ok(None);
    }
    let lower = rest.to_ascii_lowercase();
    let mut digits = lower.trim_start_matches([';', ',', ' ']);
    if let Some(behind) = MARKS.iter().find_map(|mark| digits.strip_prefix(mark)) {
        digits = behind;
    }
    let digits = digits
        .trim_start_matches(['.', ':', '=', ' '])
        .trim_end_matches([')', ' ', '#']);
    let legal = (1..=EXTENSION_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if legal {
        Ok(Some(digits.to_owned()))
    } else {
        Err(wrong())
    }
}

/// Returns the number in E.164. The function does not check whether the number is in service,
/// because numbers for fiction and new ranges are valid.
///
/// A number with a country code is parsed by the rules of that country alone. `phonenumber` would
/// also strip the trunk prefix of the default country. In a US shop, whose trunk prefix is 1, `+49
/// 151 …` would become `+49 51 …`.
fn dialed(number: &str, country: Country) -> Result<String, FieldError> {
    const NORTH_AMERICA: &str = "+1";
    let wrong = || {
        let message = "must be a whole phone number with its area code, such as +1 212 555 0123; begin with + and the \
            country code for another country";
        FieldError::new(FIELD, message)
    };
    let typed = number.trim_start_matches(['(', ' ']);
    let behind_plus = typed.trim_start_matches('+');
    let digits: String = behind_plus.chars().filter(char::is_ascii_digit).collect();
    let e164 = match behind_plus.contains('+') {
        true => None,
        false if typed.starts_with('+') => international(&digits),
        false => behind_exit_code(&digits, country).or_else(|| national(&digits, country)),
    };
    let is_whole = |e164: &String| {
        E164_DIGITS.contains(&(e164.len() - 1))
            && (!e164.starts_with(NORTH_AMERICA) || e164.len() == "+12125550123".len())
    };
    e164.filter(is_whole).ok_or_else(wrong)
}

/// Parses digits that start with the international call prefix of `country`, such as 00 or 011.
fn behind_exit_code(digits: &str, country: Country) -> Option<String> {
    let exit_code = DATABASE.by_id(country.code())?.international_prefix()?;
    let found = exit_code.find(digits).filter(|found| found.start() == 0)?;
    international(&digits[found.end()..])
}

/// Parses digits that start with a country code. A trunk prefix may follow the code, as in `+44
/// (0)20 …`.
fn international(digits: &str) -> Option<String> {
    const CODE_DIGITS_MAX: usize = 3;
    if digits.starts_with('0') {
        return None;
    }
    let (code, regions, national) = (1..=CODE_DIGITS_MAX).find_map(|length| {
        let (code, national) = digits.split_at_checked(length)?;
        let code: u16 = code.parse().ok()?;
        Some((code, DATABASE.by_code(&code)?, national))
    })?;
    let without_trunk = regions
        .iter()
        .filter_map(|region| national.strip_prefix(region.national_prefix()?));
    let national = iter::once(national)
        .chain(without_trunk)
        .find(|national| is_of(&regions, national))?;
    Some(format!("+{code}{national}"))
}

/// Parses digits as people dial them within the country.
fn national(digits: &str, country: Country) -> Option<String> {
    let home = DATABASE.by_id(country.code())?;
    let code = home.country_code();
    // Calls between countries with the same code, such as the US and Canada, are dialed like
    // domestic calls.
    let regions = DATABASE.by_code(&code)?;
    let without_code = digits.strip_prefix(&code.to_string());
    // In a country with a trunk prefix, digits that start with the country code include the code.
    // In a country without one, an area code may start with the same digits. The code of Italy is
    // 39, for example, and 393 is an Italian mobile network.
    let ways = match home.national_prefix() {
        Some(trunk) => [without_code, Some(digits), digits.strip_prefix(trunk)],
        None => [Some(digits), without_code, None],
    };
    let ways = || ways.into_iter().flatten();
    let number = ways().find(|national| is_known_to(&regions, national));
    let number = number
        .or_else(|| ways().find(|national| is_of(&regions, national)))
        .map(str::to_owned);
    // The crate implements rules of single countries, such as the prefix 15 of mobile phones in
    // Argentina.
    let number = number.or_else(|| {
        let parsed = phonenumber::parse(Some(country.0), digits).ok()?;
        Some(parsed.national().to_string())
            .filter(|national| parsed.code().value() == code && is_of(&regions, national))
    })?;
    Some(format!("+{code}{number}"))
}

/// Returns whether the number is valid in one of the regions.
fn is_of(regions: &[&Metadata], national: &str) -> bool {
    regions
        .iter()
        .any(|region| is_whole(region.descriptors().general(), national))
}

/// Returns whether the number is in a range for landlines or mobile phones in one of the regions.
fn is_known_to(regions: &[&Metadata], national: &str) -> bool {
    regions.iter().any(|region| {
        let kinds = [
            region.descriptors().fixed_line(),
            region.descriptors().mobile(),
        ];
        kinds
            .into_iter()
            .flatten()
            .any(|kind| is_whole(kind, national))
    })
}

/// Returns whether the pattern matches all of the digits. One search is not enough, because the
/// first alternative of a pattern that matches can be a shorter one.
fn is_whole(descriptor: &Descriptor, national: &str) -> bool {
    let pattern = descriptor.national_number();
    let Some(found) = pattern.find(national).filter(|found| found.start() == 0) else {
        return false;
    };
    let is_match = |pattern: &str| {
        let whole = RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
            .ignore_whitespace(true)
            .unicode(false)
            .build();
        whole.is_ok_and(|whole| whole.is_match(national))
    };
    found.end() == national.len() || is_match(pattern.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (String, Option<String>) {
        let phone =
            Phone::parse(text, Country::US).unwrap_or_else(|error| panic!("{text:?}: {error}"));
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
        assert_eq!(
            parsed("+1 555 010 0123").0,
            "+15550100123",
            "a number for fiction"
        );
        assert_eq!(parsed("+44 20 7946 0958").0, "+442079460958");
        assert_eq!(
            parsed("+39 06 1234 5678").0,
            "+390612345678",
            "Italy keeps its zero"
        );
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
            assert_eq!(
                parsed(text),
                ("+12125550123".to_owned(), Some("12".to_owned())),
                "{text:?}"
            );
        }
    }

    /// The digits after a country code may start like the trunk prefix of the shop's own country: 1
    /// in the US, 0 in Germany. None of these numbers belongs to the shop's country, so the result
    /// is the same in every shop.
    #[test]
    fn a_number_of_another_country_is_that_number_in_every_shop() {
        let numbers = [
            ("+49 151 23456789", "+4915123456789"),
            ("+49 (0)151 23456789", "+4915123456789"),
            ("+49 171 1234567", "+491711234567"),
            ("+86 138 1234 5678", "+8613812345678"),
            ("+86 0755 1234 5678", "+8675512345678"),
            ("+55 11 91234 5678", "+5511912345678"),
            ("+44 1865 270000", "+441865270000"),
            ("(+44) 1865 270000", "+441865270000"),
            ("+44 (0)1632 960001", "+441632960001"),
            ("+44 1632 960001", "+441632960001"),
            ("+353 1 679 6222", "+35316796222"),
            ("+880 1712 345678", "+8801712345678"),
            ("+33 1 42 68 53 00", "+33142685300"),
            ("+33 (0)1 42 68 53 00", "+33142685300"),
            ("+82 10 1234 5678", "+821012345678"),
            ("+82 010 1234 5678", "+821012345678"),
            ("+20 100 123 4567", "+201001234567"),
            ("+60 11 1234 5678", "+601112345678"),
            ("+39 06 1234 5678", "+390612345678"),
            ("+39 393 123 4567", "+393931234567"),
            ("+7 912 345 67 89", "+79123456789"),
            ("+7 8 912 345 67 89", "+79123456789"),
            ("+48 48 123 45 67", "+48481234567"),
            ("+358 50 1234567", "+358501234567"),
            ("+62 812 3456 7890", "+6281234567890"),
            ("+54 9 11 2345 6789", "+5491123456789"),
            ("+1 212 555 0123", "+12125550123"),
            ("+1 (1) 212 555 0123", "+12125550123"),
        ];
        for shop in ["US", "GB", "DE", "IT", "CN", "RU"] {
            let country = Country::parse(shop).expect("a country");
            for (typed, stored) in numbers {
                let phone = Phone::parse(typed, country).map(|phone| phone.number);
                assert_eq!(phone.as_deref(), Ok(stored), "{typed} in {shop}");
            }
        }
    }

    #[test]
    fn international_prefixes_are_read_as_a_plus() {
        for (shop, typed, stored) in [
            ("US", "011 49 151 23456789", "+4915123456789"),
            ("US", "011 44 1865 270000", "+441865270000"),
            ("US", "011 39 06 1234 5678", "+390612345678"),
            ("GB", "00 39 06 1234 5678", "+390612345678"),
            ("GB", "00 1 212 555 0123", "+12125550123"),
            ("DE", "0049 151 23456789", "+4915123456789"),
            ("DE", "00 86 138 1234 5678", "+8613812345678"),
        ] {
            let phone = Phone::parse(typed, Country::parse(shop).expect("a country"))
                .map(|phone| phone.number);
            assert_eq!(phone.as_deref(), Ok(stored), "{typed} in {shop}");
        }
    }

    #[test]
    fn the_country_of_the_shop_decides_what_a_number_without_one_means() {
        let number = |text: &str, country: &str| {
            Phone::parse(text, Country::parse(country).expect("a country"))
                .map(|phone| phone.number)
        };
        assert_eq!(
            number("020 7946 0958", "GB").as_deref(),
            Ok("+442079460958")
        );
        assert_eq!(number("030 123456", "DE").as_deref(), Ok("+4930123456"));
        assert!(number("020 7946 0958", "US").is_err());
        for (shop, typed, stored) in [
            ("US", "1 212 555 0123", "+12125550123"),
            ("GB", "01865 270000", "+441865270000"),
            ("GB", "44 7911 123456", "+447911123456"),
            ("DE", "0151 23456789", "+4915123456789"),
            ("DE", "49 151 23456789", "+4915123456789"),
            ("IT", "06 1234 5678", "+390612345678"),
            ("IT", "393 123 4567", "+393931234567"),
            ("RU", "8 912 345 67 89", "+79123456789"),
            ("RU", "8 800 123 45 67", "+78001234567"),
            ("BR", "(55) 91234-5678", "+5555912345678"),
            ("BR", "011 91234-5678", "+5511912345678"),
            ("PL", "48 123 45 67", "+48481234567"),
            ("IN", "91234 56789", "+919123456789"),
            ("CN", "138 1234 5678", "+8613812345678"),
            ("AR", "011 15 2345-6789", "+5491123456789"),
        ] {
            assert_eq!(
                number(typed, shop).as_deref(),
                Ok(stored),
                "{typed} in {shop}"
            );
        }
        for wrong in ["us", "XX", "", "USA"] {
            assert!(Country::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn invalid_numbers_are_refused_by_name() {
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
        fn accepted_numbers_are_e164_and_parse_to_themselves(text in "\\PC{0,20}|[+0-9 ().x\u{2011}-]{5,20}") {
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
