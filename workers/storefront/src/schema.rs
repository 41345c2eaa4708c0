//! Schemas of types that belong to the domain and the use cases, for the OpenAPI document. Those
//! crates do not depend on the library that makes it; tests compare the schemas with real responses.

use app::use_cases::place_order::Differs;
use domain::access::StaffRole;
use domain::menu::ProductType;
use domain::order::{OrderType, Status};
use domain::stock::Availability;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// Returns the schema of a text that is one of the codes.
fn one_of<const N: usize>(codes: [&'static str; N]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes))
        .build()
}

/// Returns the schema of an order's status.
pub fn status() -> Object {
    one_of(Status::ALL.map(Status::code))
}

/// Returns the schema of the statuses that staff may set.
pub fn status_by_staff() -> Object {
    one_of(
        [
            Status::Preparing,
            Status::Ready,
            Status::Completed,
            Status::Cancelled,
        ]
        .map(Status::code),
    )
}

/// Returns the schema of an order's type.
pub fn order_type() -> Object {
    one_of(OrderType::ALL.map(OrderType::code))
}

/// Returns the schema of a product's type.
pub fn product_type() -> Object {
    one_of(ProductType::ALL.map(ProductType::code))
}

/// Returns the schema of a product's availability.
pub fn availability() -> Object {
    one_of([Availability::InStock, Availability::Low, Availability::Out].map(Availability::code))
}

/// Returns the schema of the kind of a difference from the order that the customer saw.
pub fn difference() -> Object {
    one_of(
        [
            Differs::Total,
            Differs::CartVersion,
            Differs::UnitPrice,
            Differs::Quantity,
        ]
        .map(Differs::code),
    )
}

/// Returns the schema of a list of staff roles.
pub fn roles() -> Array {
    let role: RefOr<Schema> = one_of(StaffRole::ALL.map(StaffRole::code)).into();
    ArrayBuilder::new().items(role).build()
}

/// An order on the session's list.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of `app::ports::views::OrderView`")]
pub struct OwnOrder {
    #[schema(format = Uuid)]
    order_id: String,
    order_number: String,
    location_id: String,
    #[schema(schema_with = order_type)]
    order_type: String,
    #[schema(schema_with = status)]
    status: String,
    step: String,
    version: i64,
    items: Vec<OwnItem>,
    total_minor: i64,
    currency: String,
    #[schema(format = DateTime)]
    pickup_at: Option<String>,
    reason: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A line of an order on the session's list.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of `app::ports::views::ViewItem`")]
struct OwnItem {
    product_id: String,
    name: String,
    quantity: u32,
    unit_price_minor: i64,
}

/// All that is recorded about an order.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of `app::use_cases::journey::Journey`")]
pub struct Timeline {
    #[schema(format = Uuid)]
    order_id: String,
    order_number: String,
    status: String,
    state: String,
    version: i64,
    #[schema(value_type = String, required = false)]
    reason: String,
    moments: Vec<Moment>,
    awaited: Vec<Awaited>,
    trace_ids: Vec<String>,
}

/// An entry of the timeline.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of `app::use_cases::journey::Moment`")]
struct Moment {
    #[schema(format = DateTime)]
    at: String,
    /// Milliseconds since the previous entry.
    gap_ms: i64,
    record: String,
    what: String,
    #[schema(required = false)]
    by: String,
    #[schema(required = false)]
    note: String,
    #[schema(required = false)]
    event_id: String,
    #[schema(required = false)]
    trace_id: String,
}

/// Something that the order waits for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of `app::use_cases::journey::Awaited`")]
struct Awaited {
    what: String,
    #[schema(format = DateTime)]
    since: String,
    #[schema(required = false, format = DateTime)]
    until: String,
}
