//! The units in which AWS bills calls. The code that counts calls and the code that knows prices
//! use these names.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// A unit on the bill of AWS.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
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

domain::named_variants!(Billed);
