//! Messages: one envelope, and one versioned body for each kind.
//!
//! The JSON Schemas in `workers/contract/schemas/` are generated from these types, one file for
//! each kind and version. A test keeps the files up to date. A body may gain optional fields within
//! a version. Any other change needs a new version of the kind ([`EventKind::schema`]), and
//! consumers then read both ([`versions`]).

use domain::ids::{EventId, OrderId};
use domain::stock::Availability;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumDiscriminants, EnumString, IntoStaticStr, VariantArray};
use time::OffsetDateTime;
use time::serde::rfc3339;

pub mod samples;
mod schemas;
mod versions;

pub use versions::Undecodable;

/// What travels. `event_id` is the idempotency key: it survives redelivery, redrive, and every hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    #[schemars(with = "uuid_schema::Uuid")]
    pub event_id: EventId,
    #[serde(flatten)]
    pub message: Message,
    /// The version of the body: [`EventKind::schema`] of its kind.
    pub schema: u16,
    #[serde(with = "rfc3339")]
    #[schemars(with = "uuid_schema::DateTime")]
    pub occurred_at: OffsetDateTime,
    /// The order it is about; absent for messages about stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<uuid_schema::Uuid>")]
    pub order_id: Option<OrderId>,
    pub metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The role that made it.
    pub source: String,
    /// The version of the program that made it.
    pub version: String,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// The body, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, EnumDiscriminants)]
#[serde(tag = "type", content = "data")]
#[strum_discriminants(
    name(EventKind),
    derive(Hash, EnumString, IntoStaticStr, VariantArray),
    strum(const_into_str),
    doc = "Every kind of message. Its name is the `type` of the envelope."
)]
pub enum Message {
    /// Reserve the stock of the order.
    ReserveStock {},
    /// Give back what is held or sold for the order.
    ReleaseStock {},
    /// Charge the order's card, or learn whether it was charged, and answer with the outcome.
    ChargeCard { amount_minor: i64, currency: String },
    /// Give the money back, if any was taken, and answer with `PaymentRefunded`.
    RefundCard { amount_minor: i64, currency: String },
    OrderCreated {
        order_number: String,
        tenant_id: String,
        location_id: String,
        order_type: String,
        items: Vec<PricedItem>,
        total_minor: i64,
        currency: String,
    },
    InventoryReserved {
        reservation_id: String,
        items: Vec<ReservedItem>,
        #[serde(with = "rfc3339")]
        #[schemars(with = "uuid_schema::DateTime")]
        expires_at: OffsetDateTime,
    },
    PaymentCompleted {
        payment_id: String,
        amount_minor: i64,
        currency: String,
        status: String,
    },
    /// Nothing is kept of the customer's money. Version 1 had no `cause`.
    PaymentFailed {
        reason: String,
        cause: PaymentFailure,
    },
    /// `amount_minor` is zero when nothing had been taken.
    PaymentRefunded {
        payment_id: String,
        amount_minor: i64,
        currency: String,
    },
    OrderStatusChanged {
        order_number: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        to: String,
        step: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The parcel is on its way.
    OrderShipped {
        order_number: String,
        tracking_number: String,
        location_id: String,
    },
    /// Somebody should have done something about an order by now. Said once for each status.
    OrderOverdue {
        order_number: String,
        /// The status that the order waits in.
        status: String,
        /// Who is to hear of it: `staff` or `customer`.
        #[schemars(with = "String")]
        tell: Audience,
        #[serde(with = "rfc3339")]
        #[schemars(with = "uuid_schema::DateTime")]
        since: OffsetDateTime,
    },
    /// A product fell to its threshold (`low`) or to nothing (`out`). Said once a crossing.
    StockLevelReached {
        product_id: String,
        name: String,
        #[schemars(with = "String")]
        level: Availability,
        available: i64,
        low_stock_threshold: i64,
    },
}

/// The people who are notified of an overdue order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    Staff,
    Customer,
}

/// Why a card was not charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentFailure {
    /// A charge was made, and ended without the money: another card may do.
    Declined,
    /// The gateway refused the request itself: no card will do until somebody has looked.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PricedItem {
    pub product_id: String,
    pub quantity: u32,
    pub unit_price_minor: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservedItem {
    pub product_id: String,
    pub quantity: u32,
}

impl Message {
    /// Returns the kind of the message.
    pub fn kind(&self) -> EventKind {
        self.into()
    }
}

impl Envelope {
    /// Serializes the message as JSON.
    pub fn encode(&self) -> String {
        // Serialization cannot fail: the types contain only structs, integers and text.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Types that define the JSON Schema of types from other crates.
mod uuid_schema {
    use schemars::JsonSchema;

    #[derive(JsonSchema)]
    #[schemars(inline, extend("format" = "uuid"))]
    pub struct Uuid(#[allow(dead_code, reason = "only its schema is used")] String);

    #[derive(JsonSchema)]
    #[schemars(inline, extend("format" = "date-time"))]
    pub struct DateTime(#[allow(dead_code, reason = "only its schema is used")] String);
}

#[cfg(test)]
mod tests;
