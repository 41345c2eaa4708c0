//! Topics and their subscriptions, and the event bus with its rules and its Kinesis stream.

use std::time::Duration;

use domain::order::Status;

use crate::messages::EventKind;
use crate::queue::{FULFILMENT, NOTIFICATIONS, PROJECTIONS, Queue};

/// A standard SNS topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    /// The logical name of the topic.
    pub slug: &'static str,
    /// The messages on the topic.
    pub about: &'static str,
}

/// Declares the topics, and the list of them. A topic is one row.
macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident $slug:literal $about:literal;)*) => {
        $($(#[$doc])*
        pub const $name: Topic = Topic { slug: $slug, about: $about };)*

        /// Every topic.
        pub const TOPICS: &[&Topic] = &[$(&$name),*];
    };
}

topics! {
    /// The topic of new orders.
    ORDER_CREATED "order-created" "An order was accepted";
    /// The topic of status changes.
    ORDER_STATUS_CHANGED "order-status-changed" "The status that a customer sees has changed";
    /// The topic of order events for external subscribers.
    ORDER_FEED "order-feed" "Events about orders from the event bus, for external subscribers";
    /// The topic of failed orders for staff.
    STAFF_ALERTS "staff-alerts" "Problems that staff must know of at once";
    /// The topic of stock levels.
    INVENTORY_ALERTS "inventory-alerts" "A product runs low or is sold out";
    /// The topic of alarms.
    SYSTEM_ALERTS "system-alerts" "Alarms for the person on call";
}

/// A subscription of a queue to a topic, with raw message delivery. With a filter, the queue
/// receives only messages whose attribute has one of the values.
#[derive(Debug)]
pub struct Subscription {
    pub topic: &'static Topic,
    pub queue: &'static Queue,
    pub filter: Option<Filter>,
}

/// A filter policy on one message attribute.
#[derive(Debug)]
pub struct Filter {
    pub attribute: &'static str,
    pub values: &'static [&'static str],
}

/// Every subscription.
pub const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription {
        topic: &ORDER_STATUS_CHANGED,
        queue: &NOTIFICATIONS,
        filter: Some(Filter {
            attribute: crate::STATUS_ATTRIBUTE,
            values: &[
                Status::Confirmed.code(),
                Status::Ready.code(),
                Status::Cancelled.code(),
                Status::Failed.code(),
            ],
        }),
    },
    Subscription {
        topic: &INVENTORY_ALERTS,
        queue: &NOTIFICATIONS,
        filter: None,
    },
];

/// An EventBridge bus. Every event goes to the bus, so that a new consumer needs only a rule.
#[derive(Debug)]
pub struct Bus {
    /// The logical name of the bus.
    pub slug: &'static str,
}

/// The event bus of the platform.
pub const BUS: Bus = Bus { slug: "events" };

/// A rule of the bus: the events that it selects, and their target.
#[derive(Debug)]
pub struct Rule {
    /// The logical name of the rule.
    pub slug: &'static str,
    /// The purpose of the rule.
    pub about: &'static str,
    /// The kind of event that the rule selects.
    pub kind: EventKind,
    /// Values of `data.to` that the rule selects. An empty list selects every event of the kind.
    pub to: &'static [&'static str],
    pub target: Target,
}

/// The target of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A topic.
    Topic(&'static Topic),
    /// A queue. It receives the original message without the envelope of EventBridge.
    Queue(&'static Queue),
}

impl Target {
    /// Returns the slug of the topic or queue.
    pub const fn slug(self) -> &'static str {
        match self {
            Target::Topic(topic) => topic.slug,
            Target::Queue(queue) => queue.slug,
        }
    }
}

/// Lists the rules. A rule is one row: the kind of event, the statuses that it selects (none for
/// every event of the kind), its target, its slug and its purpose.
macro_rules! rules {
    ($($kind:ident [$($to:ident),*] => $target:ident($of:ident),
        $slug:literal $about:literal;)*) => {
        &[$(Rule {
            slug: $slug,
            about: $about,
            kind: EventKind::$kind,
            to: &[$(Status::$to.code()),*],
            target: Target::$target(&$of),
        }),*]
    };
}

/// Every rule of the bus.
pub const RULES: &[Rule] = rules! {
    // Reserving stock and charging cards do not depend on these rules: the saga sends commands for
    // them, which are ordered and deduplicated. The rules serve the other consumers.
    OrderCreated [] => Topic(ORDER_FEED),
        "order-created" "External subscribers are notified of a new order";
    PaymentCompleted [] => Topic(ORDER_FEED),
        "payment-completed" "External subscribers are notified of a paid order";
    OrderStatusChanged [Failed] => Topic(STAFF_ALERTS),
        "failed-orders" "Staff are notified of an order that could not be fulfilled";
    // The rule does not select paid orders, because a paid order can still be refunded when its
    // stock hold has expired.
    OrderStatusChanged [Confirmed] => Queue(FULFILMENT),
        "confirmed-orders" "A paid order whose stock is sold gets its ticket or parcel";
    OrderCreated [] => Queue(PROJECTIONS),
        "placed-orders-shown" "A new order is added to its customer's list";
    OrderStatusChanged [] => Queue(PROJECTIONS),
        "changed-orders-shown" "The customer's list shows the new status of an order";
    OrderShipped [] => Queue(NOTIFICATIONS),
        "shipped-orders" "The customer is notified that the parcel was sent";
    OrderOverdue [] => Queue(NOTIFICATIONS),
        "overdue-orders" "Staff or the customer are notified of an order that waits for them";
};

/// A Kinesis stream that receives every event about an order from the bus. The events of one order
/// are in one shard. Several readers can read the stream, because reading does not remove records.
#[derive(Debug)]
pub struct Stream {
    /// The logical name of the stream.
    pub slug: &'static str,
    /// The content of the stream.
    pub about: &'static str,
    /// How long the stream keeps records. The archive of the bus has older events.
    pub retention: Duration,
}

/// The stream of order events.
pub const ORDER_EVENTS: Stream = Stream {
    slug: "order-events",
    about: "Every event about an order, for analytics",
    retention: Duration::from_secs(7 * 24 * 3600),
};

/// The field of an envelope that is the partition key of [`ORDER_EVENTS`]. It keeps the events of
/// an order in one shard.
pub const ORDER_EVENTS_KEY: &str = "order_id";
