//! Detects card numbers in tokens, references and keys. A card number must never be stored or
//! logged, so a request with one is refused.
//!
//! The shop has the same check. This module repeats a short version, because the gateway imports no
//! code of the shop.

use uuid::{Uuid, Variant};

/// Length of the card numbers that card schemes issue (ISO/IEC 7812-1 allows 8 to 19).
const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// Returns true if the text contains 13 to 19 digits in a row that pass the Luhn check. Spaces and
/// dashes between digits are ignored. Random UUIDs do not count, because references and keys
/// (`charge:<order id>`) consist of them.
pub fn contains_card_number(text: &str) -> bool {
    text.split(':')
        .filter(|part| !is_random_uuid(part))
        .any(holds_a_card)
}

fn is_random_uuid(text: &str) -> bool {
    let made = |id: Uuid| {
        id.get_variant() == Variant::RFC4122 && matches!(id.get_version_num(), 4 | 5 | 7)
    };
    Uuid::try_parse(text).is_ok_and(made)
}

fn holds_a_card(text: &str) -> bool {
    let is_separator = |letter: char| {
        letter.is_whitespace()
            || matches!(letter, '-' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2010}'..='\u{2015}')
    };
    let is_other = |letter: char| !letter.is_ascii_digit() && !is_separator(letter);
    text.split(is_other).any(|run| {
        let groups: Vec<&str> = run
            .split(is_separator)
            .filter(|group| !group.is_empty())
            .collect();
        // A card number may be next to other digits, so every sequence of whole groups is checked.
        (0..groups.len())
            .any(|first| (first..groups.len()).any(|last| is_card(&groups[first..=last].concat())))
    })
}

/// Returns true if the digits pass the Luhn check (ISO/IEC 7812-1, annex B). From the right, every
/// second digit is doubled; the sum of all digits must be a multiple of ten.
fn is_card(digits: &str) -> bool {
    let value = |(index, digit): (usize, u8)| {
        let value = u32::from(digit - b'0') << (index % 2);
        if value > 9 { value - 9 } else { value }
    };
    (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().any(|digit| digit != b'0')
        && digits
            .bytes()
            .rev()
            .enumerate()
            .map(value)
            .sum::<u32>()
            .is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_found_and_an_id_is_none() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "tok_4111-1111-1111-1111",
            "order 2 378282246310005 x",
            "charge:4222222222222",
            // Digits that parse as a UUID of a version that no generator produces.
            "4111111111111111a000000000000000",
        ] {
            assert!(contains_card_number(card), "{card}");
        }
        for fine in [
            "tok_ok",
            "4111111111111112",
            "",
            "0000 0000 0000 0000",
            "0a424242-4242-4242-a000-00000000b0c0",
            "charge:0a424242-4242-4242-a000-00000000b0c0",
        ] {
            assert!(!contains_card_number(fine), "{fine}");
        }
    }
}
