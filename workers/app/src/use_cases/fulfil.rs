//! Creates the ticket or the shipment of a confirmed order, for the fulfillment worker. Each order
//! gets one, however many messages report that it is confirmed. The event that a parcel is on its
//! way is sent later, when the order is handed over.

use contract::messages::{Envelope, Message};
use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use domain::order::{Order, OrderType, Status};
use uuid::Uuid;

use super::{Handled, Maker, load};
use crate::ports::Source;
use crate::ports::fulfilment::{Fulfilment, FulfilmentStore, Work};
use crate::ports::locations::LocationStore;
use crate::ports::orders::{Applied, OrderStore};

/// Handles one message of the `fulfilment` queue.
pub async fn fulfil(
    store: &(impl OrderStore + FulfilmentStore + LocationStore),
    source: &impl Source,
    maker: &Maker,
    envelope: &Envelope,
) -> Handled {
    let fulfilment = match decide(store, source, maker, envelope).await {
        Ok(fulfilment) => fulfilment,
        Err(handled) => return handled,
    };
    match store.fulfil(&fulfilment).await {
        Ok(Applied::Applied) => Handled::done(),
        Ok(Applied::Duplicate | Applied::Conflict) => Handled::duplicate(),
        Err(error) => error.into(),
    }
}

/// Returns the ticket or the shipment to create for the order of a message. Writes nothing.
///
/// # Errors
/// The result of handling the message when there is nothing to create.
pub async fn decide(
    store: &(impl OrderStore + LocationStore),
    source: &impl Source,
    maker: &Maker,
    envelope: &Envelope,
) -> Result<Fulfilment, Handled> {
    let (Message::OrderStatusChanged { to, .. }, Some(order_id)) =
        (&envelope.message, envelope.order_id)
    else {
        return Err(Handled::park_misrouted(envelope));
    };
    if to != Status::Confirmed.code() {
        return Err(Handled::park_misrouted(envelope));
    }
    let order = load(store, order_id).await?.order;
    // A cancelled order gets no ticket. An existing ticket need not be removed, because the staff
    // board shows only tickets of open orders.
    match order.status {
        Status::Confirmed | Status::Preparing | Status::Ready | Status::Completed => {}
        Status::Cancelled | Status::Failed => return Err(Handled::done()),
        Status::Pending => {
            return Err(Handled::park(format!(
                "order {order_id} never was confirmed"
            )));
        }
    }
    let work = match order.order_type {
        OrderType::Pickup | OrderType::DineIn => {
            let shops = store.locations().await?;
            let shop = shops.into_iter().find(|shop| is_at(shop, &order));
            let Some(shop) = shop else {
                return Err(Handled::retry(format!(
                    "{} has no usable row in the table locations",
                    order.location_id
                )));
            };
            let day = shop
                .hours
                .zone
                .date_of(order.pickup_at.unwrap_or(order.created_at));
            let (tenant_id, location_id) = (order.tenant_id.clone(), order.location_id.clone());
            Work::Ticket {
                tenant_id,
                location_id,
                day,
            }
        }
        OrderType::Delivery => Work::Shipment {
            tracking_number: tracking_number(order_id),
        },
    };
    Ok(Fulfilment {
        consumer: maker.role,
        event_id: envelope.event_id,
        order_id,
        work,
        outbox: Vec::new(),
        at: source.now(),
    })
}

/// Returns whether the order belongs to the location.
fn is_at(shop: &crate::location::Location, order: &Order) -> bool {
    shop.tenant_id == order.tenant_id && shop.location_id == order.location_id
}

/// Returns the event id of the handover of a delivery. The id is derived from the order, so that
/// repeated messages are duplicates.
pub(super) fn shipped_id(order_id: OrderId) -> EventId {
    EventId(Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("{order_id} OrderShipped").as_bytes(),
    ))
}

/// Returns the event that a delivery is on its way.
pub(super) fn shipped(maker: &Maker, at: Timestamp, order: &Order) -> Envelope {
    let order_id = order.order_id;
    let message = Message::OrderShipped {
        order_number: order.order_number.clone(),
        tracking_number: tracking_number(order_id),
        location_id: order.location_id.to_string(),
    };
    maker.envelope_with(shipped_id(order_id), at, Some(order_id), message)
}

/// Returns the tracking number of an order. It is derived from the random part of the order id and
/// never changes.
fn tracking_number(order_id: OrderId) -> String {
    format!("BH{:016X}", order_id.0.as_u64_pair().1)
}

#[cfg(test)]
mod tests;
