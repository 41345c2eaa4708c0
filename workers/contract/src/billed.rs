//! The units in which AWS bills calls. The code that counts calls and the code that knows prices
//! use these names.

/// A unit on the bill of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Billed {
    /// A request to a standard queue, for up to ten messages and 64 KiB.
    QueueRequest,
    /// A request to a FIFO queue, for up to ten messages and 64 KiB.
    FifoQueueRequest,
    /// A request to a topic, for up to ten messages and 64 KiB. Deliveries from topics to queues
    /// are free.
    TopicRequest,
    /// One event on the bus. A call with several events is billed for each of them.
    Event,
    /// A write of up to 1 KiB to a table. A write in a transaction counts as two.
    TableWrite,
    /// A strongly consistent read of up to 4 KiB from a table.
    TableRead,
    /// A read from a table's stream.
    StreamRead,
    /// An e-mail.
    Mail,
}

impl Billed {
    /// Every unit.
    pub const ALL: [Billed; 8] = [
        Billed::QueueRequest,
        Billed::FifoQueueRequest,
        Billed::TopicRequest,
        Billed::Event,
        Billed::TableWrite,
        Billed::TableRead,
        Billed::StreamRead,
        Billed::Mail,
    ];

    /// Returns the value of the metric dimension `unit`.
    pub const fn code(self) -> &'static str {
        match self {
            Billed::QueueRequest => "queue_request",
            Billed::FifoQueueRequest => "fifo_queue_request",
            Billed::TopicRequest => "topic_request",
            Billed::Event => "event",
            Billed::TableWrite => "table_write",
            Billed::TableRead => "table_read",
            Billed::StreamRead => "stream_read",
            Billed::Mail => "mail",
        }
    }

    /// Returns the unit with this code.
    pub fn from_code(code: &str) -> Option<Billed> {
        Billed::ALL.into_iter().find(|billed| billed.code() == code)
    }
}
