//! Identifiers. Each has its own type, so an order id cannot be passed as an event id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::FieldError;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

uuid_ids! {
    /// The id of an order, a UUIDv7 that the storefront creates. A UUIDv7 contains the time and can
    /// be guessed in part, so the id is not a secret: the tracking token protects an order.
    OrderId;
    /// The id of one message, on every queue, topic and bus. Consumers use it to recognize
    /// duplicates.
    EventId;
}

macro_rules! slug_ids {
    ($($(#[$doc:meta])* $name:ident = $field:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the id for a slug.
            ///
            /// # Errors
            /// A field error when the text is not 1 to 40 characters of `a-z`, `0-9` and `-`.
            pub fn parse(text: &str) -> Result<Self, FieldError> {
                let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                if text.is_empty() || text.len() > 40 || !text.bytes().all(legal) {
                    return Err(FieldError::new($field, "must be 1 to 40 characters of a-z, 0-9 and -"));
                }
                Ok(Self(text.to_owned()))
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = FieldError;

            fn try_from(text: String) -> Result<Self, FieldError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    )*};
}

slug_ids! {
    /// A product on the menu, such as `flat-white`.
    ProductId = "product_id";
    /// The owner of one or more locations.
    TenantId = "tenant_id";
    /// A shop of a tenant.
    LocationId = "location_id";
}

/// The number that a shop calls out, such as `A-047`: letters and three digits.
///
/// The first 26,000 orders of a day at a location have one letter, and later orders have two
/// (`AA-000`). No number is used twice on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderNumber(u64);

impl OrderNumber {
    /// Returns the number of the order at position `sequence` of a location's day, counted from 0.
    pub const fn of(sequence: u64) -> Self {
        Self(sequence)
    }

    /// Parses a number as people type it: in upper or lower case, with or without the dash and
    /// leading zeros.
    pub fn parse(text: &str) -> Option<OrderNumber> {
        let text = text.trim().to_ascii_uppercase();
        let at = text
            .find(|letter: char| !letter.is_ascii_uppercase())
            .filter(|at| (1..=4).contains(at))?;
        let (letters, digits) = text.split_at(at);
        let digits = digits.trim_start_matches(['-', ' ']);
        if digits.is_empty()
            || digits.len() > 3
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let block = letters
            .bytes()
            .fold(0, |block, letter| block * 26 + u64::from(letter - b'A') + 1);
        Some(OrderNumber(
            (block - 1) * 1_000 + digits.parse::<u64>().ok()?,
        ))
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut block = self.0 / 1_000 + 1;
        let mut letters = Vec::new();
        while block > 0 {
            letters.push(b'A' + ((block - 1) % 26) as u8);
            block = (block - 1) / 26;
        }
        for letter in letters.iter().rev() {
            write!(f, "{}", char::from(*letter))?;
        }
        write!(f, "-{:03}", self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_id_is_a_short_slug() {
        assert!(ProductId::parse("flat-white").is_ok());
        for wrong in [
            "",
            "Flat White",
            "flat_white",
            "caf\u{e9}",
            "a\0b",
            &"x".repeat(41),
        ] {
            assert!(ProductId::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn order_numbers_start_at_a_000_and_never_come_round() {
        let counted = [0, 47, 999, 1_000, 25_999, 26_000, 27_047, 701_999, 702_000];
        let numbers = counted.map(|sequence| OrderNumber::of(sequence).to_string());
        assert_eq!(
            numbers,
            [
                "A-000", "A-047", "A-999", "B-000", "Z-999", "AA-000", "AB-047", "ZZ-999",
                "AAA-000"
            ]
        );
        for sequence in counted {
            let number = OrderNumber::of(sequence);
            assert_eq!(OrderNumber::parse(&number.to_string()), Some(number));
        }
    }

    #[test]
    fn a_number_is_read_as_people_say_it() {
        for said in ["A-047", "a-47", " a 47 ", "A47"] {
            assert_eq!(
                OrderNumber::parse(said),
                Some(OrderNumber::of(47)),
                "{said:?}"
            );
        }
        for wrong in [
            "",
            "47",
            "A",
            "A-",
            "A-0470",
            "A-4x",
            "-47",
            "\u{c4}-047",
            "ABCDE-001",
        ] {
            assert_eq!(OrderNumber::parse(wrong), None, "{wrong:?}");
        }
    }
}
