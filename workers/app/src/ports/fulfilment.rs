//! What is made of a confirmed order: a ticket for the counter, or a shipment. One of each order,
//! for ever.

use std::future::Future;

use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::{EventId, LocationId, OrderId, TenantId};
use time::Date;

use super::Unavailable;
use super::orders::Applied;
use super::scope::Scope;

/// What the counter hands over: whose number is called, in which order. Number and items are the
/// order's own, which never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub order_id: OrderId,
    /// The location's own date on which it is handed over.
    pub day: Date,
    /// The so-manieth ticket of its location and day, from 1, without a gap.
    pub position: u32,
    /// The start of its pick-up slot; `None` for as soon as it is ready.
    pub slot_at: Option<Timestamp>,
}

/// A parcel on its way to the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    pub order_id: OrderId,
    pub tracking_number: String,
    pub shipped_at: Timestamp,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Its position is found as it is made.
    Ticket {
        tenant_id: TenantId,
        location_id: LocationId,
        day: Date,
    },
    Shipment {
        tracking_number: String,
    },
}

/// One order's fulfilment, with the message that asks for it and those that follow from it: applied
/// whole or not at all.
#[derive(Debug, Clone)]
pub struct Fulfilment {
    /// Who applies it: a role's slug. Together with `event_id` the key of the inbox.
    pub consumer: &'static str,
    pub event_id: EventId,
    pub order_id: OrderId,
    pub work: Work,
    pub outbox: Vec<Envelope>,
    pub at: Timestamp,
}

pub trait FulfilmentStore: Send + Sync {
    /// `Duplicate` when this consumer had applied this event, `Conflict` when the order has its
    /// ticket or its shipment already, from another event.
    fn fulfil(
        &self,
        fulfilment: &Fulfilment,
    ) -> impl Future<Output = Result<Applied, Unavailable>> + Send;

    /// The tickets of those orders in scope that have one, in no order.
    fn tickets(
        &self,
        scope: &Scope,
        orders: &[OrderId],
    ) -> impl Future<Output = Result<Vec<Ticket>, Unavailable>> + Send;

    fn shipment(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> impl Future<Output = Result<Option<Shipment>, Unavailable>> + Send;
}
