//! Detects card numbers in free text. A card number must never be stored or logged, so text that
//! contains one is rejected.

use uuid::{Uuid, Variant};

use crate::FieldError;

/// Minimum number of digits of a card number. ISO/IEC 7812-1 allows 8 to 19; the card schemes issue
/// numbers of 13 to 19.
const DIGITS_MIN: usize = 13;
/// Maximum number of digits of a card number.
const DIGITS_MAX: usize = 19;

/// Rejects text that contains a card number. The error message never repeats the text.
///
/// # Errors
/// A field error for `field` when [`contains_card_number`] returns true.
pub fn refuse_card_number(field: &str, text: &str) -> Result<(), FieldError> {
    if contains_card_number(text) {
        return Err(FieldError::new(
            field,
            "must not contain a card number; we never ask for a card number or store one",
        ));
    }
    Ok(())
}

/// Returns whether the text contains 13 to 19 consecutive digits that pass the Luhn check.
///
/// Spaces, dashes and invisible characters between digits are ignored. A card number can follow
/// other digits, as in `2 x 4111 1111 1111 1111`. Therefore every run of adjacent digit groups is
/// tried.
///
/// The digits of a UUID do not count, because some random ids pass the Luhn check by chance. An
/// address or a note may contain an id. Only UUIDs of the versions 4, 5 and 7, with at least one
/// letter, are skipped. Otherwise a card number with letters beside it could pass as a UUID.
pub fn contains_card_number(text: &str) -> bool {
    holds_a_card(text) && holds_a_card(&without_uuids(text))
}

/// Returns the text with every UUID, with or without dashes, replaced by one underscore.
fn without_uuids(text: &str) -> String {
    let uuid_at = |at: usize, length: usize| {
        text.get(at..at + length)
            .filter(|part| part.bytes().any(|b| b.is_ascii_alphabetic()))
            .and_then(|part| Uuid::try_parse(part).ok())
            .is_some_and(|id| {
                id.get_variant() == Variant::RFC4122 && matches!(id.get_version_num(), 4 | 5 | 7)
            })
    };
    let (mut kept, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(letter) = text[at..].chars().next() {
        match [36, 32].into_iter().find(|length| uuid_at(at, *length)) {
            Some(length) => {
                kept.push('_');
                at += length;
            }
            None => {
                kept.push(letter);
                at += letter.len_utf8();
            }
        }
    }
    kept
}

/// Returns whether a run of digit groups in the text contains a card number.
fn holds_a_card(text: &str) -> bool {
    let mut run: Vec<Vec<u8>> = Vec::new();
    let mut joined = false;
    for letter in text.chars() {
        match digit(letter) {
            Some(digit) => match run.last_mut() {
                Some(group) if joined => group.push(digit),
                _ => run.push(vec![digit]),
            },
            None if is_separator(letter) => {}
            None => {
                if run_holds_a_card(&run) {
                    return true;
                }
                run.clear();
            }
        }
        joined = digit(letter).is_some();
    }
    run_holds_a_card(&run)
}

/// Tries every sequence of adjacent groups that has as many digits as a card number.
fn run_holds_a_card(groups: &[Vec<u8>]) -> bool {
    (0..groups.len()).any(|first| {
        let mut digits = Vec::with_capacity(DIGITS_MAX);
        for group in &groups[first..] {
            digits.extend_from_slice(group);
            if digits.len() > DIGITS_MAX {
                return false;
            }
            if digits.len() >= DIGITS_MIN && passes_luhn(&digits) {
                return true;
            }
        }
        false
    })
}

/// Returns whether the digits pass the Luhn check (ISO/IEC 7812-1, annex B) and are not all zero.
/// From the right, every second digit is doubled; the sum of all digits must be a multiple of ten.
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| luhn_value(index, *digit))
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// Returns the contribution of a digit to the sum. `index` counts from the right, starting at 0.
fn luhn_value(index: usize, digit: u8) -> u32 {
    let value = u32::from(digit) << (index % 2);
    if value > 9 { value - 9 } else { value }
}

/// Returns the value of a decimal digit: ASCII, full-width, Arabic-Indic, Persian or Devanagari.
/// Keyboards for other scripts type these digits.
fn digit(letter: char) -> Option<u8> {
    let zero = match letter {
        '0'..='9' => '0',
        '\u{ff10}'..='\u{ff19}' => '\u{ff10}',
        '\u{660}'..='\u{669}' => '\u{660}',
        '\u{6f0}'..='\u{6f9}' => '\u{6f0}',
        '\u{966}'..='\u{96f}' => '\u{966}',
        _ => return None,
    };
    u8::try_from(u32::from(letter) - u32::from(zero)).ok()
}

/// Returns whether the character is a space, a dash or an invisible character.
fn is_separator(letter: char) -> bool {
    letter.is_whitespace()
        || matches!(
            letter,
            '-' | '\u{ad}' | '\u{2010}'
                ..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
        )
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published test numbers of the card schemes, with 13 to 19 digits.
    const CARDS: [&str; 6] = [
        "4222222222222",
        "378282246310005",
        "4111111111111111",
        "5555555555554444",
        "6304000000000000",
        "6362970000457013",
    ];

    #[test]
    fn the_digits_of_a_uuid_are_no_card_number_and_a_card_number_beside_it_is() {
        let (dashed, simple) = (
            "0a424242-4242-4242-a000-00000000b0c0",
            "0a42424242424242a00000000000b0c0",
        );
        assert!(holds_a_card(dashed) && holds_a_card(simple));
        for text in [
            format!("ana-{dashed}@example.com"),
            format!("{simple}@example.com"),
        ] {
            assert!(!contains_card_number(&text), "{text}");
            assert!(
                contains_card_number(&format!("{text} 4242 4242 4242 4242")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_card_that_parses_as_a_uuid_of_no_version_in_use_is_a_card() {
        for text in [
            "4111111111111111a000000000000000",
            "41111111-1111-1111-a000-00000000000a",
            "please: 4111111111111111deadbeefdeadbeef",
        ] {
            assert!(
                Uuid::try_parse(text.rsplit(' ').next().unwrap_or_default()).is_ok(),
                "{text}"
            );
            assert!(contains_card_number(text), "{text}");
        }
    }

    #[test]
    fn a_card_number_is_found_with_any_spacing_and_at_any_position() {
        for card in CARDS {
            assert!(contains_card_number(card), "{card}");
        }
        for text in [
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111\u{a0}1111\u{2011}1111\u{2013}1111",
            "41\u{200b}11111111111111",
            "my card is 4111 1111 1111 1111, exp 12/29",
            "2 4111111111111111 123",
            "call 555 then 4111 1111 1111 1111",
            "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            "\u{ff14}111111111111111",
            "tok_4111111111111111",
            "4111\r\n1111\r\n1111\r\n1111",
            "6304000000000000000 or so",
        ] {
            assert!(contains_card_number(text), "{text:?}");
        }
    }

    #[test]
    fn other_digits_are_no_card() {
        for text in [
            "",
            "oat milk, 2 sugars",
            "4111111111111112",
            "411111111111",
            "41111111111111111111",
            "4111 a 1111 b 1111 c 1111",
            "0000 0000 0000 0000",
            "delivery 2026-11-29 08:30",
            "+1 555 010 0123",
        ] {
            assert!(!contains_card_number(text), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_field_and_not_the_number() {
        let error = refuse_card_number("note", "4111 1111 1111 1111").expect_err("a card");
        assert_eq!(error.field, "note");
        assert!(!error.message.contains("4111"), "{error}");
    }
}
