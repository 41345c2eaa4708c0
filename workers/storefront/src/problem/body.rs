//! The body of an error response.

use domain::FieldError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema;

/// An error response: what is wrong and how to correct it.
///
/// The members after `errors` belong to some kinds of problems only.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body {
    /// The kind of the problem.
    #[schema(pattern = "^https://brewhaven\\.example/problems/[a-z-]+$")]
    pub r#type: String,
    /// The reason phrase of the status.
    #[schema(min_length = 1)]
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened and what to do next.
    #[schema(min_length = 1)]
    pub detail: String,
    /// The id of the request, as in `X-Request-Id`.
    #[schema(min_length = 1)]
    pub request_id: String,
    /// Each invalid field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(min_items = 1)]
    pub errors: Vec<InvalidField>,
    /// forbidden: the roles that may perform the action.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(schema_with = schema::roles)]
    pub needs_role: Vec<&'static str>,
    /// stale: the order's version now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub version: Option<i64>,
    /// stale: the order's status now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::status)]
    pub order_status: Option<&'static str>,
    /// stale: who changed the order, or null if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub changed_by: Option<Option<String>>,
    /// sold-out: the products of which the shop has too few units.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sold_out: Vec<String>,
    /// sold-out: units that the shop has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub left: Option<i64>,
    /// sold-out: units that are in the cart already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub in_cart: Option<u32>,
    /// slot-full: the start of the slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    pub slot: Option<String>,
    /// price-changed: the differences from what the customer saw.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(min_items = 1)]
    pub changes: Vec<Change>,
    /// price-changed: the subtotal now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub subtotal_minor: Option<i64>,
    /// price-changed: the tax now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub tax_minor: Option<i64>,
    /// price-changed: the total now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub total_minor: Option<i64>,
    /// price-changed: the currency of the amounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, min_length = 3, max_length = 3)]
    pub currency: Option<&'static str>,
    /// price-changed: the cart's version now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub cart_version: Option<i64>,
    /// uncertain: the id of the stock change that may have been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub movement_id: Option<String>,
}

/// An invalid field.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvalidField {
    /// The path of the field in the request.
    #[schema(min_length = 1)]
    pub field: String,
    /// What is wrong with the field. The text continues the name of the field.
    #[schema(min_length = 1)]
    pub message: String,
}

impl From<FieldError> for InvalidField {
    fn from(error: FieldError) -> InvalidField {
        let FieldError { field, message } = error;
        InvalidField {
            // An empty name, as in `{"": 1}` or `?=1`.
            field: if field.is_empty() {
                "(empty)".to_owned()
            } else {
                field
            },
            message,
        }
    }
}

/// One difference from the order that the customer saw.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What is different.
    #[schema(schema_with = schema::difference)]
    pub kind: &'static str,
    /// The value that the customer saw.
    pub was: i64,
    /// The value now.
    pub now: i64,
    /// The product, for a difference in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, min_length = 1)]
    pub product_id: Option<String>,
    /// The product's name, for a difference in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, min_length = 1)]
    pub name: Option<String>,
}
