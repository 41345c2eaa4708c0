//! The kinds of messages and their routes.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::queue::{ORDERS, PAYMENTS, Queue};
use crate::topic::{INVENTORY_ALERTS, ORDER_CREATED, ORDER_STATUS_CHANGED, Topic};

/// Every kind of message. Its name is the `type` of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(const_into_str)]
pub enum EventKind {
    ReserveStock,
    ReleaseStock,
    ChargeCard,
    RefundCard,
    OrderCreated,
    InventoryReserved,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
    OrderStatusChanged,
    OrderShipped,
    OrderOverdue,
    StockLevelReached,
}

/// The destination of a message in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A work queue.
    Queue(&'static Queue),
    /// A topic.
    Topic(&'static Topic),
    /// The event bus.
    Bus,
}

impl Route {
    /// Returns the name in the outbox, such as `queue/orders`.
    pub fn code(self) -> String {
        match self {
            Route::Queue(queue) => format!("queue/{}", queue.slug),
            Route::Topic(topic) => format!("topic/{}", topic.slug),
            Route::Bus => "bus".to_owned(),
        }
    }
}

impl EventKind {
    /// Every kind.
    pub const ALL: [EventKind; EventKind::VARIANTS.len()] = domain::array_of(EventKind::VARIANTS);

    /// Returns the name, which is the `type` of the envelope.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<EventKind> {
        name.parse().ok()
    }

    /// Returns the version of the body that producers write. Consumers also accept the version
    /// before it; see [`crate::messages::Envelope::decode`].
    pub const fn schema(self) -> u16 {
        match self {
            EventKind::PaymentFailed => 2,
            EventKind::ReserveStock
            | EventKind::ReleaseStock
            | EventKind::ChargeCard
            | EventKind::RefundCard
            | EventKind::OrderCreated
            | EventKind::InventoryReserved
            | EventKind::PaymentCompleted
            | EventKind::PaymentRefunded
            | EventKind::OrderStatusChanged
            | EventKind::OrderShipped
            | EventKind::OrderOverdue
            | EventKind::StockLevelReached => 1,
        }
    }

    /// Returns the destinations of the message. Commands go to the queue of their consumer. Events
    /// go to the bus, some also to a topic, and the results of payments also to the saga.
    pub const fn routes(self) -> &'static [Route] {
        match self {
            EventKind::ReserveStock | EventKind::ReleaseStock => &[Route::Queue(&ORDERS)],
            EventKind::ChargeCard | EventKind::RefundCard => &[Route::Queue(&PAYMENTS)],
            EventKind::PaymentCompleted | EventKind::PaymentFailed | EventKind::PaymentRefunded => {
                &[Route::Queue(&ORDERS), Route::Bus]
            }
            EventKind::OrderCreated => &[Route::Topic(&ORDER_CREATED), Route::Bus],
            EventKind::InventoryReserved | EventKind::OrderShipped | EventKind::OrderOverdue => {
                &[Route::Bus]
            }
            EventKind::OrderStatusChanged => &[Route::Topic(&ORDER_STATUS_CHANGED), Route::Bus],
            EventKind::StockLevelReached => &[Route::Topic(&INVENTORY_ALERTS), Route::Bus],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
            assert!(!kind.routes().is_empty(), "{kind:?} goes nowhere");
        }
    }
}
