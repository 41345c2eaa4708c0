//! Topics, their subscriptions, the event bus, its rules and its stream: how events fan out.

use std::time::Duration;

use crate::event::EventKind;
use crate::queue::{FULFILMENT, NOTIFICATIONS, PROJECTIONS, Queue};

/// A standard SNS topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    pub slug: &'static str,
    pub about: &'static str,
}

pub const ORDER_CREATED: Topic = Topic {
    slug: "order-created",
    about: "An order was accepted",
};
pub const ORDER_STATUS_CHANGED: Topic = Topic {
    slug: "order-status-changed",
    about: "The status that a customer sees has changed",
};
pub const ORDER_FEED: Topic = Topic {
    slug: "order-feed",
    about: "What happened to orders, from the bus, for whoever subscribes",
};
pub const STAFF_ALERTS: Topic = Topic {
    slug: "staff-alerts",
    about: "What the bar must hear of at once",
};
pub const INVENTORY_ALERTS: Topic = Topic {
    slug: "inventory-alerts",
    about: "A product runs low or is sold out",
};
pub const SYSTEM_ALERTS: Topic = Topic {
    slug: "system-alerts",
    about: "Alarms for whoever is on call",
};

pub const TOPICS: &[&Topic] = &[
    &ORDER_CREATED,
    &ORDER_STATUS_CHANGED,
    &ORDER_FEED,
    &STAFF_ALERTS,
    &INVENTORY_ALERTS,
    &SYSTEM_ALERTS,
];

/// A queue that hears of a topic, raw, and of only those messages whose attribute has one of the
/// values.
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
    Subscription {
        topic: &INVENTORY_ALERTS,
        queue: &NOTIFICATIONS,
        filter: None,
    },
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
    pub target: Target,
}

/// Where a rule sends what it selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Topic(&'static Topic),
    /// Gets the message as it was sent, without what the bus wraps round it.
    Queue(&'static Queue),
}

impl Target {
    pub const fn slug(self) -> &'static str {
        match self {
            Target::Topic(topic) => topic.slug,
            Target::Queue(queue) => queue.slug,
        }
    }
}

pub const RULES: &[Rule] = &[
    // Stock and payment hear of an order by the saga's own commands, which are in order and taken
    // in once; these rules are for those who only listen.
    Rule {
        slug: "order-created",
        about: "Whoever follows orders hears of a new one",
        kind: EventKind::OrderCreated,
        to: &[],
        target: Target::Topic(&ORDER_FEED),
    },
    Rule {
        slug: "payment-completed",
        about: "Whoever follows orders hears that one was paid",
        kind: EventKind::PaymentCompleted,
        to: &[],
        target: Target::Topic(&ORDER_FEED),
    },
    Rule {
        slug: "failed-orders",
        about: "Staff hear of an order that could not be fulfilled",
        kind: EventKind::OrderStatusChanged,
        to: &["failed"],
        target: Target::Topic(&STAFF_ALERTS),
    },
    // Not when it is paid: an order that was paid may still be refunded, when the hold on its stock
    // had ended.
    Rule {
        slug: "confirmed-orders",
        about: "An order that is paid and whose stock is sold is handed to fulfilment",
        kind: EventKind::OrderStatusChanged,
        to: &["confirmed"],
        target: Target::Queue(&FULFILMENT),
    },
    Rule {
        slug: "placed-orders-shown",
        about: "A new order enters its customer's list",
        kind: EventKind::OrderCreated,
        to: &[],
        target: Target::Queue(&PROJECTIONS),
    },
    Rule {
        slug: "changed-orders-shown",
        about: "The customer's list shows what became of an order",
        kind: EventKind::OrderStatusChanged,
        to: &[],
        target: Target::Queue(&PROJECTIONS),
    },
    Rule {
        slug: "shipped-orders",
        about: "The customer hears that the parcel is on its way",
        kind: EventKind::OrderShipped,
        to: &[],
        target: Target::Queue(&NOTIFICATIONS),
    },
    Rule {
        slug: "overdue-orders",
        about: "Staff or the customer hear of an order that waits for them",
        kind: EventKind::OrderOverdue,
        to: &[],
        target: Target::Queue(&NOTIFICATIONS),
    },
];

/// A Kinesis stream that the bus fills with every event about an order, in the order in which they
/// came for each order. Whoever analyses them reads it again and again: nothing is taken out by
/// reading.
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
