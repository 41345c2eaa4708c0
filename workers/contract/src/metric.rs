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
    /// Orders that reached a status, by that status.
    OrdersReached: Counter ["status"];
    /// Seconds from acceptance to confirmed.
    ConfirmLatency: Seconds [];
    /// Requests answered, by class of status code.
    HttpRequests: Counter ["class"];
    /// Seconds to answer a request.
    HttpLatency: Seconds [];
    /// Requests answered from a stored answer.
    IdempotentReplays: Counter [];
    /// Messages handled, by queue and outcome (done, retry, park).
    MessagesHandled: Counter ["queue", "outcome"];
    /// Seconds a handler took.
    HandlerLatency: Seconds ["queue"];
    /// Messages that had been applied before.
    DuplicateDeliveries: Counter ["queue"];
    /// Deletes or extensions refused because the message had come back to the queue.
    ExpiredHandles: Counter ["queue"];
    /// 1 while calls to a dependency are held back, by the dependency.
    BreakerOpen: Gauge ["dependency"];
    /// Requests turned away to protect the rest, by why (busy, dependency, rate, slow).
    RequestsShed: Counter ["why"];
    /// Requests refused for want of a right, by what they may be a sign of (unauthorized,
    /// forbidden, cross_site, sign_in_failed, webhook_refused, foreign_lookup, over_limit).
    SecurityEvents: Counter ["event"];
    /// Receives that an empty queue answered.
    EmptyReceives: Counter ["queue"];
    /// Polls now running.
    Pollers: Gauge ["queue"];
    /// Age in seconds of the oldest message that has not left the outbox.
    OutboxLag: Gauge [];
    /// Messages sent from the outbox.
    OutboxPublished: Counter [];
    /// Times a message in the outbox was not taken by its destination.
    OutboxFailures: Counter [];
    /// Times a row of the outbox could not be read.
    OutboxUnreadable: Counter [];
    /// Seconds between a stream's newest record read and now.
    StreamLag: Gauge [];
    /// Times a stream's checkpoint was lost and the whole table was read instead.
    StreamRebuilds: Counter [];
    /// Alerts that a product ran low or out, by level.
    StockAlerts: Counter ["level"];
    /// Products whose counters do not add up.
    StockDrift: Gauge [];
    /// Reservations refused because there was too little.
    ReservationsRefused: Counter [];
    /// Holds given back because their order had ended.
    ReservationsExpired: Counter [];
    /// Orders whose awaited answer was asked for again.
    OrdersRedriven: Counter [];
    /// Orders about which somebody was told that they wait.
    OrdersOverdue: Counter [];
    /// Notices sent, by channel.
    NotificationsSent: Counter ["channel"];
    /// Notices that could not be sent at a try, by channel.
    NotificationsFailed: Counter ["channel"];
    /// Seconds from the event to the notice.
    NotificationDelay: Seconds [];
    /// Calls to AWS, by service.
    AwsCalls: Counter ["service"];
    /// What AWS bills those calls by, by what it is called there.
    AwsUnits: Counter ["unit"];
}
