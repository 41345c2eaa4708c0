//! Identifiers. One type each, so that an order's id cannot be passed as an event's.

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
    /// An order; UUIDv7, made by the storefront. It sorts by time, so it is no secret: see `TrackingToken`.
    OrderId;
    /// One message or event, whatever road it takes. Consumers recognise a repeat by it.
    EventId;
}

macro_rules! slug_ids {
    ($($(#[$doc:meta])* $name:ident = $field:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// When the text is not 1 to 40 characters of `a-z`, `0-9` and `-`.
            pub fn parse(text: &str) -> Result<Self, FieldError> {
                let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                if text.is_empty() || text.len() > 40 || !text.bytes().all(legal) {
                    return Err(FieldError::new($field, "must be 1 to 40 characters of a-z, 0-9 and -"));
                }
                Ok(Self(text.to_owned()))
            }

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
    /// A business that runs shops.
    TenantId = "tenant_id";
    /// One shop of a tenant.
    LocationId = "location_id";
}

/// The number called at the counter, such as `A-047`: a letter and three digits that come round after 26,000 orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderNumber(u32);

impl OrderNumber {
    /// The number of the shop's `sequence`th order, counted from zero.
    pub const fn of(sequence: u64) -> Self {
        Self((sequence % 26_000) as u32)
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = char::from(b'A' + (self.0 / 1_000) as u8);
        write!(f, "{letter}-{:03}", self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_id_is_a_short_slug() {
        assert!(ProductId::parse("flat-white").is_ok());
        for wrong in ["", "Flat White", "flat_white", "caf\u{e9}", "a\0b", &"x".repeat(41)] {
            assert!(ProductId::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn order_numbers_start_at_a_000_and_come_round() {
        let numbers = [0, 47, 999, 1_000, 25_999, 26_000].map(|sequence| OrderNumber::of(sequence).to_string());
        assert_eq!(numbers, ["A-000", "A-047", "A-999", "B-000", "Z-999", "A-000"]);
    }
}
