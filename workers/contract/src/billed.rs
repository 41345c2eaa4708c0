//! What AWS bills calls by. Counted where calls are made, priced where prices are: both by these
//! names.

/// A thing that AWS puts on the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Billed {
    /// A request to a standard queue, of up to ten messages and 64 KiB.
    QueueRequest,
    FifoQueueRequest,
    /// A request to a topic, of up to ten messages and 64 KiB. Deliveries to queues cost nothing.
    TopicRequest,
    /// Each event, however many a call carries.
    Event,
    /// A write of up to 1 KiB; two in a transaction.
    TableWrite,
    /// A consistent read of up to 4 KiB.
    TableRead,
    StreamRead,
    Mail,
}

impl Billed {
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

    pub fn from_code(code: &str) -> Option<Billed> {
        Billed::ALL.into_iter().find(|billed| billed.code() == code)
    }
}
