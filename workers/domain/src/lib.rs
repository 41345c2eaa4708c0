//! The business rules of the coffee shop: money, stock, orders, and the saga of an order.
//!
//! Functions in this crate read no clock, draw no random numbers and open no connections. The
//! current time and ids are arguments. The infrastructure that carries out the rules is in the
//! crates `contract` (queues, tables) and `app` (use cases and ports).

pub mod access;
pub mod address;
pub mod card;
pub mod cart;
pub mod channel;
pub mod customer;
pub mod defang;
pub mod email;
pub mod gsm;
pub mod hours;
pub mod ids;
pub mod menu;
pub mod money;
pub mod order;
pub mod phone;
pub mod reorder;
pub mod saga;
mod status;
pub mod stock;
pub mod text;

/// Adds the list of variants (`ALL`) and the conversions to and from their names (`code`,
/// `from_code`) to enums. The enums derive `EnumString`, `IntoStaticStr` (with `const_into_str`) and
/// `VariantArray` of strum, which define the names.
#[macro_export]
macro_rules! named_variants {
    ($($enum:ident),+) => {$(
        impl $enum {
            /// Every variant, in the order of their declaration.
            pub const ALL: [$enum; <$enum as ::strum::VariantArray>::VARIANTS.len()] =
                $crate::array_of(<$enum as ::strum::VariantArray>::VARIANTS);

            /// Returns the name of the variant in JSON, databases, messages and metrics.
            pub const fn code(self) -> &'static str {
                self.into_str()
            }

            /// Returns the variant with this name.
            pub fn from_code(code: &str) -> Option<$enum> {
                code.parse().ok()
            }
        }
    )+};
}

/// Copies a slice into an array, for constants.
///
/// # Panics
/// When the slice has fewer than `N` elements; in a constant, that does not compile.
pub const fn array_of<T: Copy, const N: usize>(slice: &[T]) -> [T; N] {
    *slice.first_chunk().expect("a slice of N elements")
}

/// An instant in UTC.
pub type Timestamp = time::OffsetDateTime;

/// A rejected input field, with a message that states what is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The path of the field as the caller wrote it, such as `items[2].quantity`.
    pub field: String,
    /// The error or the valid values, as the end of a sentence that starts with the field.
    pub message: String,
}

impl FieldError {
    /// Creates an error for a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}
