//! Topics, their subscriptions, the event bus, its rules and its stream: how events fan out.

use std::time::Duration;

use crate::event::EventKind;
use crate::queue::{NOTIFICATIONS, Queue};

/// A standard SNS topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    pub slug: &'static str,
    pub about: &'static str,
}

pub const ORDER_CREATED: Topic = Topic { slug: "order-created", about: "An order was accepted" };
pub const ORDER_STATUS_CHANGED: Topic =
    Topic { slug: "order-status-changed", about: "The status that a customer sees has changed" };
pub const ORDER_FEED: Topic =
    Topic { slug: "order-feed", about: "What happened to orders, from the bus, for whoever subscribes" };
pub const STAFF_ALERTS: Topic = Topic { slug: "staff-alerts", about: "What the bar must hear of at once" };
pub const INVENTORY_ALERTS: Topic = Topic { slug: "inventory-alerts", about: "A product runs low or is sold out" };
pub const SYSTEM_ALERTS: Topic = Topic { slug: "system-alerts", about: "Alarms for whoever is on call" };

pub const TOPICS: &[&Topic] =
    &[&ORDER_CREATED, &ORDER_STATUS_CHANGED, &ORDER_FEED, &STAFF_ALERTS, &INVENTORY_ALERTS, &SYSTEM_ALERTS];

/// A queue that hears of a topic, raw, and of only those messages whose attribute has one of the values.
#[derive(Debug)]
pub struct Subscription {
    pub topic: &'static Topic,
    pub queue: &'static Queue,
    pub filter: Option<Filter>,
}

#[derive(Debug)]
pub struct Filter {
    pub attribute: &'static str,
    pub values: &'static [&'static str],
}

pub const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription {
        topic: &ORDER_STATUS_CHANGED,
        queue: &NOTIFICATIONS,
        filter: Some(Filter {
            attribute: crate::STATUS_ATTRIBUTE,
            values: &["confirmed", "ready", "cancelled", "failed"],
        }),
    },
    Subscription { topic: &INVENTORY_ALERTS, queue: &NOTIFICATIONS, filter: None },
];

/// The event bus. Every event goes to it, so that a later consumer needs a rule and nothing else.
#[derive(Debug)]
pub struct Bus {
    pub slug: &'static str,
}

pub const BUS: Bus = Bus { slug: "events" };

/// What an event must look like, and where it then goes.
#[derive(Debug)]
pub struct Rule {
    pub slug: &'static str,
    pub about: &'static str,
    pub kind: EventKind,
    /// Values of `data.to`; empty for any.
    pub to: &'static [&'static str],
    pub target: &'static Topic,
}

pub const RULES: &[Rule] = &[
    // Stock and payment hear of an order by the saga's own commands, which are in order and taken in once; these rules
    // are for those who only listen.
    Rule {
        slug: "order-created",
        about: "Whoever follows orders hears of a new one",
        kind: EventKind::OrderCreated,
        to: &[],
        target: &ORDER_FEED,
    },
    Rule {
        slug: "payment-completed",
        about: "Whoever follows orders hears that one was paid",
        kind: EventKind::PaymentCompleted,
        to: &[],
        target: &ORDER_FEED,
    },
    Rule {
        slug: "failed-orders",
        about: "Staff hear of an order that could not be fulfilled",
        kind: EventKind::OrderStatusChanged,
        to: &["failed"],
        target: &STAFF_ALERTS,
    },
];

/// A Kinesis stream that the bus fills with every event about an order, in the order in which they came for each order.
/// Whoever analyses them reads it again and again: nothing is taken out by reading.
#[derive(Debug)]
pub struct Stream {
    pub slug: &'static str,
    pub about: &'static str,
    /// How far back a reader can begin: the archive of the bus has what is older.
    pub retention: Duration,
}

pub const ORDER_EVENTS: Stream = Stream {
    slug: "order-events",
    about: "Every event about an order, for analytics",
    retention: Duration::from_secs(7 * 24 * 3600),
};

/// The field of an envelope that an order's events share, and that keeps them in one shard.
pub const ORDER_EVENTS_KEY: &str = "order_id";
