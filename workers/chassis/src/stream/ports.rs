//! The stream ports: the change stream of a table, and the store of leases.

use std::future::Future;

/// An error of an adapter or of a handler. The loop logs the error and tries again.
pub use contract::cause::BoxError;
use time::OffsetDateTime;

/// A shard of the stream. A parent is read to its end before its children, so that no change is
/// seen before an earlier one to the same item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    pub parent: Option<String>,
}

/// The position at which reading starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that the stream still has.
    Oldest,
    /// The first record after this sequence number.
    After(String),
}

/// One change of an item, and its place in the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<C> {
    pub sequence: String,
    pub at: Option<OffsetDateTime>,
    pub change: C,
}

/// A page of stream records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<C> {
    pub records: Vec<Record<C>>,
    /// `None` at the end of a closed shard.
    pub next: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream does not answer now. Trying again later may help.
    #[error(transparent)]
    Unavailable(#[from] BoxError),
    /// The iterator is older than fifteen minutes: open the shard again after the last sequence
    /// number.
    #[error("the iterator has expired")]
    IteratorExpired,
    /// The records after the checkpoint no longer exist: they are older than 24 hours, or the
    /// stream was replaced. Read the table instead.
    #[error("the records are gone")]
    Trimmed,
}

/// The change stream of a table, read shard by shard.
pub trait ChangeStream: Send + Sync {
    /// The change of an item in a record.
    type Change: Send + Sync + 'static;

    /// Lists all shards that the stream still has.
    fn shards(&self) -> impl Future<Output = Result<Vec<Shard>, StreamError>> + Send;

    /// Returns an iterator at the position.
    fn open(
        &self,
        shard: &str,
        position: &Position,
    ) -> impl Future<Output = Result<String, StreamError>> + Send;

    /// Returns at most `limit` records from an iterator.
    fn read(
        &self,
        iterator: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Page<Self::Change>, StreamError>> + Send;
}

/// The lease of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub shard: String,
    pub owner: String,
    /// A counter that every renewal increments. When the counter does not change for the length of
    /// a lease, another worker may take the lease.
    pub counter: i64,
    /// The checkpoint: the last sequence number whose effects are stored.
    pub checkpoint: Option<String>,
    /// Whether the shard was read to its end.
    pub finished: bool,
}

/// The store of leases.
pub trait LeaseStore: Send + Sync {
    /// Returns all leases.
    fn leases(&self) -> impl Future<Output = Result<Vec<Lease>, BoxError>> + Send;

    /// Writes the lease if the stored one has `expected_counter`, or if none is stored and
    /// `expected_counter` is `None`. Returns false otherwise: another worker has the lease.
    fn write(
        &self,
        lease: &Lease,
        expected_counter: Option<i64>,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;
}
