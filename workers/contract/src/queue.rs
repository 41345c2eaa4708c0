//! Work queues with their dead-letter queues, and the limits that consumers rely on.

use std::time::Duration;

/// Maximum number of messages in one receive and of entries in one batch, set by SQS.
pub const BATCH_MAX: usize = 10;
/// Maximum time that a receive waits for a message. SQS allows 20 s. A drain waits for the current
/// poll, so a shorter poll stops a worker sooner. The additional requests cost about 20 cents a
/// month for each idle queue.
pub const LONG_POLL: Duration = Duration::from_secs(5);
/// Retention of dead letters: 14 days, the maximum of SQS.
pub const PARKING_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// Retention of work queues: four days. A message that SQS moves from a standard queue to its
/// dead-letter queue keeps its enqueue timestamp. The dead-letter queue must therefore retain
/// messages longer.
pub const RETENTION: Duration = Duration::from_secs(4 * 24 * 3600);

/// A work queue and its dead-letter queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Queue {
    /// The identity of the queue.
    pub id: QueueId,
    /// The logical name of the queue.
    pub slug: &'static str,
    /// The messages on the queue, described for people.
    pub about: &'static str,
    /// Whether the queue is FIFO. Messages of a group (the order id) are then delivered in order,
    /// and one consumer at a time handles a group.
    pub fifo: bool,
    /// Maximum time of a handler for one message. The chassis then cancels the handler.
    pub handler_timeout: Duration,
    /// Visibility timeout of the queue, for receivers that request no other timeout.
    pub visibility_timeout: Duration,
    /// Visibility timeout that consumers request at receive and renew with a heartbeat. A short
    /// lease makes the messages of a killed worker visible soon.
    pub lease: Duration,
    /// Deliveries before SQS moves the message to the dead-letter queue. The number outlasts an
    /// outage of the handler's dependencies, so that no person is needed after an outage.
    pub deliveries_max: u32,
    /// Deliveries before a message becomes a dead letter because its handler panics or exceeds its
    /// timeout. The cause is then the message itself.
    pub crashes_max: u32,
    /// Age of the oldest message at which the alarm of the queue fires.
    pub age_alarm: Duration,
}

/// What most queues have in common, as a base for all of them.
const QUEUE: Queue = Queue {
    // A placeholder: every queue has its own id.
    id: QueueId::Orders,
    slug: "",
    about: "",
    fifo: false,
    handler_timeout: Duration::from_secs(10),
    visibility_timeout: Duration::from_secs(120),
    lease: Duration::from_secs(20),
    deliveries_max: 300,
    crashes_max: 5,
    age_alarm: Duration::from_secs(60),
};

/// Declares the queues, their identities, and the list of them.
macro_rules! queues {
    ($($(#[$doc:meta])* $name:ident $id:ident { $($field:ident: $value:expr,)* })*) => {
        /// The identity of a [`Queue`]. Code that treats queues differently matches on it
        /// exhaustively and does not compile when a new queue is not handled.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum QueueId {
            $($id,)*
        }

        $($(#[$doc])*
        pub const $name: Queue = Queue {
            id: QueueId::$id,
            $($field: $value,)*
            ..QUEUE
        };)*

        /// Every queue, in the order of [`QueueId`].
        pub const QUEUES: &[&Queue] = &[$(&$name),*];
    };
}

queues! {
    /// Commands and payment results for the saga.
    ORDERS Orders {
        slug: "orders",
        about: "Saga commands and payment results, in order for each order",
        fifo: true,
        handler_timeout: Duration::from_secs(15),
        visibility_timeout: Duration::from_secs(300),
        deliveries_max: 100,
    }

    /// Commands to charge and refund cards.
    PAYMENTS Payments {
        slug: "payments",
        about: "Charges and refunds for the payment gateway",
        handler_timeout: Duration::from_secs(15),
    }

    /// Events that customers and staff are notified of.
    NOTIFICATIONS Notifications {
        slug: "notifications",
        about: "Events that customers or staff are notified of",
        deliveries_max: 500,
        age_alarm: Duration::from_secs(300),
    }

    /// Confirmed orders, for tickets and parcels.
    FULFILMENT Fulfilment {
        slug: "fulfilment",
        about: "Confirmed orders that need a ticket or a parcel",
    }

    /// Events after which an order view must be written again.
    PROJECTIONS Projections {
        slug: "projections",
        about: "Events that change the order view",
        deliveries_max: 500,
        age_alarm: Duration::from_secs(300),
    }
}

/// The shortest handler timeout of all queues. Each call that a handler makes must time out sooner,
/// so that the call fails before the handler is cancelled.
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
    /// Returns the slug of the dead-letter queue.
    pub fn parking_slug(&self) -> String {
        format!("{}-parking", self.slug)
    }
}

// A queue that violates one of these limits does not compile.
const _: () = {
    let mut i = 0;
    while i < QUEUES.len() {
        let queue = QUEUES[i];
        // AWS recommends a visibility timeout of at least six times the handler timeout.
        assert!(
            queue.visibility_timeout.as_secs() >= 6 * queue.handler_timeout.as_secs(),
            "the visibility timeout is below six handler timeouts"
        );
        assert!(
            queue.lease.as_secs() > queue.handler_timeout.as_secs(),
            "the lease is not longer than the handler timeout"
        );
        assert!(
            queue.lease.as_secs() <= queue.visibility_timeout.as_secs(),
            "the lease exceeds the visibility timeout"
        );
        // SQS allows 0 seconds to 12 hours.
        assert!(
            queue.visibility_timeout.as_secs() <= 43_200,
            "the visibility timeout exceeds the limit of SQS"
        );
        // SQS allows a maxReceiveCount from 1 to 1,000.
        assert!(
            queue.deliveries_max <= 1_000,
            "the number of deliveries exceeds the limit of SQS"
        );
        assert!(
            queue.crashes_max >= 3,
            "one crash and one retry must not make a dead letter"
        );
        assert!(
            queue.crashes_max <= queue.deliveries_max,
            "SQS would move the message to the dead-letter queue first, without a reason"
        );
        i += 1;
    }
    assert!(
        PARKING_RETENTION.as_secs() > RETENTION.as_secs(),
        "a dead-letter queue retains messages for a shorter time"
    );
    assert!(LONG_POLL.as_secs() <= 20, "SQS waits 20 s at most");
};
