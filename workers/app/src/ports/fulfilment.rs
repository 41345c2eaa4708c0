//! Fulfillment: the ticket or the shipment of a confirmed order. Each order has at most one of
//! them.

use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::{EventId, LocationId, OrderId, TenantId};
use time::Date;

use super::PortFuture;
use super::orders::Applied;
use super::scope::Scope;

/// The ticket of a pickup or dine-in order. Its order number and items are those of the order,
/// which never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub order_id: OrderId,
    /// The date of the pickup in the time zone of the location.
    pub day: Date,
    /// The position among the tickets of the location on that day, counted from 1 without gaps.
    pub position: u32,
    /// The start of the pickup slot. `None` for an order that is collected as soon as it is ready.
    pub slot_at: Option<Timestamp>,
}

/// The parcel of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    pub order_id: OrderId,
    pub tracking_number: String,
    pub shipped_at: Timestamp,
}

/// The item to create for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A ticket. The store assigns its position.
    Ticket {
        tenant_id: TenantId,
        location_id: LocationId,
        day: Date,
    },
    Shipment {
        tracking_number: String,
    },
}

/// The fulfillment of one order, together with the handled message and the messages to send. The
/// store applies all of it in one transaction or nothing.
#[derive(Debug, Clone)]
pub struct Fulfilment {
    /// The slug of the role that handles the message. With `event_id`, the key of the inbox.
    pub consumer: &'static str,
    pub event_id: EventId,
    pub order_id: OrderId,
    pub work: Work,
    pub outbox: Vec<Envelope>,
    pub at: Timestamp,
}

/// The store of tickets and shipments.
pub trait FulfilmentStore: Send + Sync {
    /// Creates the ticket or the shipment of an order.
    ///
    /// Returns `Duplicate` when this consumer applied this event before. Returns `Conflict` when
    /// another event already created the ticket or the shipment.
    fn fulfil(&self, fulfilment: &Fulfilment) -> impl PortFuture<Applied>;

    /// Returns the tickets of these orders, in any order. Orders out of scope and orders without a
    /// ticket are left out.
    fn tickets(&self, scope: &Scope, orders: &[OrderId]) -> impl PortFuture<Vec<Ticket>>;

    /// Returns the shipment of an order in scope.
    fn shipment(&self, scope: &Scope, order_id: OrderId) -> impl PortFuture<Option<Shipment>>;
}
