//! The responses of routes about orders.

use app::ports::fulfilment::Ticket;
use app::use_cases::for_customers::{public_note, public_reason};
use app::use_cases::place_order::Accepted;
use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use domain::address::DeliveryAddress;
use domain::ids::{LocationId, OrderId, ProductId};
use domain::order::{HistoryEntry, Item, Order, OrderType};
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema;
use crate::text::time_text;

/// The warning for a delivery without an address.
pub const ADDRESS_WARNING: &str =
    "is required for a delivery from version 0.2.0 on; until then the shop calls the customer";

/// Returns whether the order is a delivery without an address.
pub fn lacks_address(order: &Order) -> bool {
    order.order_type == OrderType::Delivery && order.delivery_address.is_none()
}

/// A placed order. It has no field that changes later, so a repeated request gets the same bytes.
#[derive(Serialize, ToSchema)]
pub struct Receipt {
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
    #[schema(example = "A-047")]
    order_number: String,
    /// A client with this token can follow the order and cancel it.
    tracking_token: String,
    #[schema(schema_with = schema::status)]
    status: &'static str,
    subtotal_minor: i64,
    tax_minor: i64,
    total_minor: i64,
    #[schema(example = "USD")]
    currency: &'static str,
    links: Links,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

impl Receipt {
    /// Returns the receipt of an order.
    pub fn of(accepted: &Accepted) -> Receipt {
        let (order, token) = (&accepted.order, &accepted.tracking_token);
        let warning = Warning {
            field: "delivery_address",
            message: ADDRESS_WARNING,
        };
        Receipt {
            order_id: order.order_id,
            order_number: order.order_number.clone(),
            tracking_token: token.clone(),
            status: order.status.code(),
            subtotal_minor: order.totals.subtotal.minor,
            tax_minor: order.totals.tax.minor,
            total_minor: order.totals.total.minor,
            currency: order.totals.total.currency.code(),
            links: Links::of(order, Some(token)),
            warnings: lacks_address(order)
                .then_some(warning)
                .into_iter()
                .collect(),
        }
    }
}

/// A warning about a request that a later version refuses.
#[derive(Serialize, ToSchema)]
struct Warning {
    field: &'static str,
    message: &'static str,
}

/// The addresses of the order.
#[derive(Serialize, ToSchema)]
pub struct Links {
    #[serde(rename = "self")]
    order: String,
    events: String,
    cancel: String,
    page: String,
}

impl Links {
    fn of(order: &Order, token: Option<&str>) -> Links {
        let text = |before: &str| {
            token
                .map(|token| format!("{before}{token}"))
                .unwrap_or_default()
        };
        let (id, query) = (order.order_id, text("?token="));
        Links {
            order: format!("/api/v1/orders/{id}{query}"),
            events: format!("/api/v1/orders/{id}/events{query}"),
            cancel: format!("/api/v1/orders/{id}/cancel{query}"),
            // Browsers do not send the fragment to any server.
            page: format!("/orders/{id}{}", text("#t=")),
        }
    }
}

/// An order without its history.
#[derive(Serialize, ToSchema)]
pub struct OrderSummary {
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
    #[schema(example = "A-047")]
    order_number: String,
    #[schema(schema_with = schema::status)]
    status: &'static str,
    #[schema(example = "charging")]
    step: &'static str,
    version: i64,
    #[schema(value_type = String)]
    location_id: LocationId,
    #[schema(schema_with = schema::order_type)]
    order_type: &'static str,
    customer: CustomerView,
    notify: Notify,
    special_instructions: String,
    #[schema(value_type = Option<Address>)]
    delivery_address: Option<DeliveryAddress>,
    #[schema(format = DateTime)]
    pickup_at: Option<String>,
    items: Vec<OrderItem>,
    subtotal_minor: i64,
    tax_basis_points: u32,
    tax_rate_millionths: u32,
    tax_minor: i64,
    total_minor: i64,
    #[schema(example = "USD")]
    currency: &'static str,
    /// Why the order ended early.
    reason: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// The customer of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = Customer)]
struct CustomerView {
    #[schema(example = "Ana")]
    name: String,
    /// In E.164.
    #[schema(example = "+15550100123")]
    phone: String,
    phone_extension: Option<String>,
    #[schema(example = "ana@example.com")]
    email: String,
}

/// The channels on which the customer is notified.
#[derive(Serialize, ToSchema)]
struct Notify {
    email: bool,
    sms: bool,
}

/// The address of a delivery.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of `domain::address::DeliveryAddress`")]
struct Address {
    line1: String,
    #[schema(value_type = String, required = false)]
    line2: String,
    city: String,
    postal_code: String,
    #[schema(value_type = String, required = false)]
    note: String,
}

/// A line of an order.
#[derive(Serialize, ToSchema)]
struct OrderItem {
    #[schema(value_type = String, example = "flat-white")]
    product_id: ProductId,
    #[schema(example = "Flat white")]
    name: String,
    quantity: u32,
    unit_price_minor: i64,
    line_total_minor: i64,
}

impl OrderItem {
    fn of(item: &Item) -> OrderItem {
        OrderItem {
            product_id: item.product_id.clone(),
            name: item.name.clone(),
            quantity: item.quantity.get(),
            unit_price_minor: item.unit_price.minor,
            line_total_minor: item.total().minor,
        }
    }
}

impl OrderSummary {
    fn of(order: &Order, reader: Reader) -> OrderSummary {
        let customer = &order.customer;
        let reason = order.reason.as_deref();
        OrderSummary {
            order_id: order.order_id,
            order_number: order.order_number.clone(),
            status: order.status.code(),
            step: order.state.step().code(),
            version: order.version,
            location_id: order.location_id.clone(),
            order_type: order.order_type.code(),
            customer: CustomerView {
                name: customer.name.clone(),
                phone: customer.phone.clone(),
                phone_extension: customer.phone_extension.clone(),
                email: customer.email.clone(),
            },
            notify: Notify {
                email: customer.notify.email,
                sms: customer.notify.sms,
            },
            special_instructions: order.special_instructions.clone(),
            delivery_address: order.delivery_address.clone(),
            pickup_at: order.pickup_at.map(time_text),
            items: order.items.iter().map(OrderItem::of).collect(),
            subtotal_minor: order.totals.subtotal.minor,
            tax_basis_points: order.totals.rate.basis_points(),
            tax_rate_millionths: order.totals.rate.millionths(),
            tax_minor: order.totals.tax.minor,
            total_minor: order.totals.total.minor,
            currency: order.totals.total.currency.code(),
            reason: match reader {
                Reader::Staff => reason,
                Reader::Customer => public_reason(reason),
            }
            .map(str::to_owned),
            created_at: time_text(order.created_at),
            updated_at: time_text(order.updated_at),
        }
    }
}

/// The person who reads an order. Customers do not see what staff write for each other.
#[derive(Debug, Clone, Copy)]
pub enum Reader {
    Staff,
    Customer,
}

/// The position of an order in the sequence of its day.
#[derive(Serialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketView {
    #[schema(format = Date)]
    day: String,
    position: u32,
    #[schema(format = DateTime)]
    slot_at: Option<String>,
}

impl TicketView {
    /// Returns a ticket as JSON shows it.
    pub fn of(ticket: &Ticket) -> TicketView {
        TicketView {
            day: ticket.day.to_string(),
            position: ticket.position,
            slot_at: ticket.slot_at.map(time_text),
        }
    }
}

/// The parcel of a delivery.
#[derive(Serialize, ToSchema)]
#[schema(as = Shipment)]
pub struct ShipmentView {
    /// The parcel gets its tracking number when it is prepared.
    pub tracking_number: String,
    /// The parcel leaves when staff complete the order.
    #[schema(format = DateTime)]
    pub shipped_at: Option<String>,
}

/// An order on a list for staff.
#[derive(Serialize, ToSchema)]
pub struct ListedOrder {
    #[serde(flatten)]
    order: OrderSummary,
    ticket: Option<TicketView>,
}

impl ListedOrder {
    /// Returns the order for staff.
    pub fn of(order: &Order, ticket: Option<&Ticket>) -> ListedOrder {
        ListedOrder {
            order: OrderSummary::of(order, Reader::Staff),
            ticket: ticket.map(TicketView::of),
        }
    }
}

/// An order with its history.
#[derive(Serialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderView {
    #[serde(flatten)]
    order: OrderSummary,
    /// Every step of the order. Empty after a change, if the history cannot be read.
    history: Vec<HistoryLine>,
    links: Links,
    /// When the order is read: its ticket, or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TicketView>)]
    pub ticket: Option<Option<TicketView>>,
    /// When the order is read: its parcel, or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ShipmentView>)]
    pub shipment: Option<Option<ShipmentView>>,
    /// For the header `ETag`.
    #[serde(skip)]
    version: i64,
}

/// A step of an order.
#[derive(Serialize, ToSchema)]
struct HistoryLine {
    seq: i64,
    from_status: Option<&'static str>,
    #[schema(schema_with = schema::status)]
    to_status: &'static str,
    step: &'static str,
    actor: String,
    note: Option<String>,
    #[schema(format = DateTime)]
    at: String,
}

impl HistoryLine {
    fn of(entry: &HistoryEntry, reader: Reader) -> HistoryLine {
        let note = match reader {
            Reader::Staff => entry.note.as_deref(),
            Reader::Customer => public_note(entry),
        };
        HistoryLine {
            seq: entry.seq,
            from_status: entry.from.map(|status| status.code()),
            to_status: entry.to.code(),
            step: entry.step.code(),
            actor: entry.actor.clone(),
            note: note.map(str::to_owned),
            at: time_text(entry.at),
        }
    }
}

impl OrderView {
    /// Returns an order without ticket and shipment.
    pub fn of(order: &Order, history: &[HistoryEntry], reader: Reader) -> OrderView {
        OrderView {
            order: OrderSummary::of(order, reader),
            history: history
                .iter()
                .map(|entry| HistoryLine::of(entry, reader))
                .collect(),
            links: Links::of(order, None),
            ticket: None,
            shipment: None,
            version: order.version,
        }
    }

    /// Returns the response, with the order's version as `ETag`.
    pub fn tagged(self) -> Response {
        let tag = [(header::ETAG, format!("\"{}\"", self.version))];
        (tag, Json(self)).into_response()
    }
}
