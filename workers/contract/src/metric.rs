//! Every metric that roles report. Metrics are enum variants and not strings, so an alarm cannot
//! watch a series that no code writes.

/// The namespace in CloudWatch.
pub const NAMESPACE: &str = "BrewHaven";

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A value that only increases.
    Counter,
    /// A value that increases and decreases.
    Gauge,
    /// A distribution of durations in seconds.
    Seconds,
}

macro_rules! metrics {
    ($($(#[doc = $about:literal])* $name:ident: $shape:ident [$($dimension:literal),*];)*) => {
        /// A metric. The name of the variant is the name in CloudWatch. Every series also has the
        /// dimensions `Environment` and `Service`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric { $($(#[doc = $about])* $name,)* }

        impl Metric {
            /// Every metric.
            pub const ALL: &'static [Metric] = &[$(Metric::$name,)*];

            /// Returns the name in CloudWatch.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$name => stringify!($name),)* }
            }

            /// Returns the description, which is the documentation of the variant.
            pub const fn about(self) -> &'static str {
                match self { $(Metric::$name => concat!($($about),*),)* }
            }

            /// Returns the type of the metric.
            pub const fn shape(self) -> Shape {
                match self { $(Metric::$name => Shape::$shape,)* }
            }

            /// Returns the names of the dimensions. Their values must be few, because each
            /// combination is a series that costs money.
            pub const fn dimensions(self) -> &'static [&'static str] {
                match self { $(Metric::$name => &[$($dimension),*],)* }
            }
        }
    };
}

metrics! {
    /// Orders accepted by the storefront.
    OrdersAccepted: Counter [];
    /// Orders that reached a status, by status.
    OrdersReached: Counter ["status"];
    /// Seconds from the acceptance of an order to its confirmation.
    ConfirmLatency: Seconds [];
    /// HTTP responses, by class of status code.
    HttpRequests: Counter ["class"];
    /// Seconds from an HTTP request to its response.
    HttpLatency: Seconds [];
    /// Repeated requests answered from the stored result of the first.
    IdempotentReplays: Counter [];
    /// Handled messages, by queue and outcome (done, retry, park).
    MessagesHandled: Counter ["queue", "outcome"];
    /// Seconds from the start to the end of a handler, by queue.
    HandlerLatency: Seconds ["queue"];
    /// Messages that were already applied, by queue.
    DuplicateDeliveries: Counter ["queue"];
    /// Deletes or visibility changes refused because the receipt handle had expired, by queue.
    ExpiredHandles: Counter ["queue"];
    /// 1 while the circuit breaker of a dependency is open, else 0, by dependency.
    BreakerOpen: Gauge ["dependency"];
    /// Requests rejected to protect the others, by reason (busy, dependency, rate, slow).
    RequestsShed: Counter ["why"];
    /// Rejected requests that can be a sign of an attack, by event (unauthorized, forbidden,
    /// cross_site, sign_in_failed, webhook_refused, foreign_lookup, over_limit).
    SecurityEvents: Counter ["event"];
    /// Receives that returned no message, by queue.
    EmptyReceives: Counter ["queue"];
    /// Running receives, by queue.
    Pollers: Gauge ["queue"];
    /// Age in seconds of the oldest unsent outbox row.
    OutboxLag: Gauge [];
    /// Outbox rows sent.
    OutboxPublished: Counter [];
    /// Failed attempts to send an outbox row.
    OutboxFailures: Counter [];
    /// Failed attempts to read an outbox row.
    OutboxUnreadable: Counter [];
    /// Age in seconds of the last record that was read from the stream.
    StreamLag: Gauge [];
    /// Rebuilds from the whole table after stream records were lost.
    StreamRebuilds: Counter [];
    /// Alerts about products with low stock or none, by level.
    StockAlerts: Counter ["level"];
    /// Products whose stock counters do not add up.
    StockDrift: Gauge [];
    /// Reservations refused because stock was too low.
    ReservationsRefused: Counter [];
    /// Stock holds released because their order had ended.
    ReservationsExpired: Counter [];
    /// Orders whose overdue request was sent again.
    OrdersRedriven: Counter [];
    /// Orders for which an overdue notification was requested.
    OrdersOverdue: Counter [];
    /// Notifications sent, by channel.
    NotificationsSent: Counter ["channel"];
    /// Failed attempts to send a notification, by channel.
    NotificationsFailed: Counter ["channel"];
    /// Seconds from the event to its notification.
    NotificationDelay: Seconds [];
    /// Calls to AWS, by service.
    AwsCalls: Counter ["service"];
    /// Units that AWS bills for these calls, by unit.
    AwsUnits: Counter ["unit"];
}
