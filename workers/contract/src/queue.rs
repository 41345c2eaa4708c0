//! Work queues, each with its parking queue (the dead-letter queue), and the promises their
//! consumers rely on.

use std::time::Duration;

/// SQS returns at most ten messages a receive, and takes at most ten entries a batch.
pub const BATCH_MAX: usize = 10;
/// How long a receive waits for a message. SQS allows 20 s; a drain lets the current poll finish,
/// so a shorter one stops a worker sooner, and costs some 20 cents a month for each idle queue.
pub const LONG_POLL: Duration = Duration::from_secs(5);
/// Parked messages stay as long as SQS keeps any: 14 days.
pub const PARKING_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// Work waits four days, less than it may stay parked, so that parking never shortens a message's
/// life.
pub const RETENTION: Duration = Duration::from_secs(4 * 24 * 3600);

/// Which queue a [`Queue`] is: code that does something for each of them matches on it, and does
/// not compile when one is added and forgotten there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueId {
    Orders,
    Payments,
    Notifications,
    Fulfilment,
    Projections,
}

/// A work queue and its parking queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Queue {
    pub id: QueueId,
    pub slug: &'static str,
    /// What travels on it, for people.
    pub about: &'static str,
    /// Ordered within a message group (the order's id), which also is worked on by one consumer at
    /// a time.
    pub fifo: bool,
    /// Longest a handler may hold one message before the chassis cancels it.
    pub handler_timeout: Duration,
    /// The queue's own visibility timeout: for anyone who receives without asking for another.
    pub visibility_timeout: Duration,
    /// What our consumers ask for at receive and renew by heartbeat. Short, because a killed
    /// worker's messages come back only after it.
    pub lease: Duration,
    /// Deliveries before the message is parked. Enough to outlast any outage of what the handler
    /// needs: a fault that has ended must not need a human.
    pub deliveries_max: u32,
    /// Deliveries before a message whose handler panics or does not end is parked: the fault is
    /// then the message's own.
    pub crashes_max: u32,
    /// Age of the oldest message that calls for a human.
    pub age_alarm: Duration,
}

/// What to do with orders: reserve, take in the payment's outcome, release.
pub const ORDERS: Queue = Queue {
    id: QueueId::Orders,
    slug: "orders",
    about: "Saga commands and payment results, in order for each order",
    fifo: true,
    handler_timeout: Duration::from_secs(15),
    visibility_timeout: Duration::from_secs(300),
    lease: Duration::from_secs(20),
    deliveries_max: 100,
    crashes_max: 5,
    age_alarm: Duration::from_secs(60),
};

/// Charges and refunds.
pub const PAYMENTS: Queue = Queue {
    id: QueueId::Payments,
    slug: "payments",
    about: "Charges and refunds for the payment gateway",
    fifo: false,
    handler_timeout: Duration::from_secs(15),
    visibility_timeout: Duration::from_secs(120),
    lease: Duration::from_secs(20),
    deliveries_max: 300,
    crashes_max: 5,
    age_alarm: Duration::from_secs(60),
};

/// What customers and staff are to be told.
pub const NOTIFICATIONS: Queue = Queue {
    id: QueueId::Notifications,
    slug: "notifications",
    about: "Events that customers or staff hear of",
    fifo: false,
    handler_timeout: Duration::from_secs(10),
    visibility_timeout: Duration::from_secs(120),
    lease: Duration::from_secs(20),
    deliveries_max: 500,
    crashes_max: 5,
    age_alarm: Duration::from_secs(300),
};

/// Orders to be handed over or sent.
pub const FULFILMENT: Queue = Queue {
    id: QueueId::Fulfilment,
    slug: "fulfilment",
    about: "Confirmed orders, each to get its ticket or its parcel",
    fifo: false,
    handler_timeout: Duration::from_secs(10),
    visibility_timeout: Duration::from_secs(120),
    lease: Duration::from_secs(20),
    deliveries_max: 300,
    crashes_max: 5,
    age_alarm: Duration::from_secs(60),
};

/// Orders whose view is to be made anew.
pub const PROJECTIONS: Queue = Queue {
    id: QueueId::Projections,
    slug: "projections",
    about: "Events after which the order view shows something else",
    fifo: false,
    handler_timeout: Duration::from_secs(10),
    visibility_timeout: Duration::from_secs(120),
    lease: Duration::from_secs(20),
    deliveries_max: 500,
    crashes_max: 5,
    age_alarm: Duration::from_secs(300),
};

pub const QUEUES: &[&Queue] = &[
    &ORDERS,
    &PAYMENTS,
    &NOTIFICATIONS,
    &FULFILMENT,
    &PROJECTIONS,
];

/// The shortest time that any handler has: every call that one makes must end sooner, or the
/// message pays for it.
pub const HANDLER_TIMEOUT_MIN: Duration = {
    let mut shortest = QUEUES[0].handler_timeout;
    let mut i = 1;
    while i < QUEUES.len() {
        if QUEUES[i].handler_timeout.as_millis() < shortest.as_millis() {
            shortest = QUEUES[i].handler_timeout;
        }
        i += 1;
    }
    shortest
};

impl Queue {
    /// The slug of its parking queue.
    pub fn parking_slug(&self) -> String {
        format!("{}-parking", self.slug)
    }
}

// A consumer that breaks one of these does not compile.
const _: () = {
    let mut i = 0;
    while i < QUEUES.len() {
        let queue = QUEUES[i];
        assert!(
            queue.id as usize == i,
            "QUEUES is not in the order of QueueId"
        );
        // AWS advises six times the time a handler needs.
        assert!(
            queue.visibility_timeout.as_secs() >= 6 * queue.handler_timeout.as_secs(),
            "visibility below six handlers"
        );
        assert!(
            queue.lease.as_secs() > queue.handler_timeout.as_secs(),
            "a lease ends before its handler must"
        );
        assert!(
            queue.lease.as_secs() <= queue.visibility_timeout.as_secs(),
            "a lease longer than the queue's own"
        );
        // SQS: 0 seconds to 12 hours.
        assert!(
            queue.visibility_timeout.as_secs() <= 43_200,
            "visibility past the SQS limit"
        );
        // SQS: maxReceiveCount is 1 to 1,000.
        assert!(
            queue.deliveries_max <= 1_000,
            "deliveries past the SQS limit"
        );
        assert!(
            queue.crashes_max >= 3,
            "one crash and one retry must not park a message"
        );
        assert!(
            queue.crashes_max <= queue.deliveries_max,
            "SQS would park it first, without a reason"
        );
        i += 1;
    }
    assert!(
        QUEUES.len() == QueueId::Projections as usize + 1,
        "a queue of QueueId is not in QUEUES"
    );
    assert!(
        PARKING_RETENTION.as_secs() > RETENTION.as_secs(),
        "parking shortens a message's life"
    );
    assert!(LONG_POLL.as_secs() <= 20, "SQS waits 20 s at most");
};
