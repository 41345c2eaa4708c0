//! The routes of messages.

use crate::queue::{ORDERS, PAYMENTS, Queue};
use crate::topic::{INVENTORY_ALERTS, ORDER_CREATED, ORDER_STATUS_CHANGED, Topic};

pub use crate::messages::EventKind;

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
