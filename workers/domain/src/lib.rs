//! The coffee shop's own rules: money, stock, orders, and what may follow what.
//!
//! Nothing here knows what time it is, draws a random number, or opens a connection: `now` and ids
//! are arguments. What a rule needs to be carried out (queues, tables, gateways) is not here
//! either; see `contract` and `app`.

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
pub mod stock;
pub mod text;

/// An instant, always in UTC.
pub type Timestamp = time::OffsetDateTime;

/// A rejected input: which field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The path of the field as the caller wrote it, such as `items[2].quantity`.
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}
