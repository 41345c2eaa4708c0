//! A table's stream of changes, read shard by shard, and the leases that say who reads what and how
//! far.

use std::future::Future;

use domain::Timestamp;

use super::Unavailable;
use super::stock::StockedProduct;

/// A shard of the stream. A parent is read to its end before its children, so that no change is
/// seen before an earlier one to the same product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    pub parent: Option<String>,
}

/// Where to read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that is still there.
    Oldest,
    /// The first record after this sequence number.
    After(String),
}

/// One change of a product's item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockRecord {
    pub sequence: String,
    /// `None` when the product was added.
    pub before: Option<StockedProduct>,
    /// `None` when the product was taken away.
    pub after: Option<StockedProduct>,
    pub at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<StockRecord>,
    /// `None` at the end of a closed shard.
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The iterator is older than fifteen minutes: open the shard again after the last sequence
    /// number.
    #[error("the iterator has expired")]
    IteratorExpired,
    /// The records after the checkpoint are gone (older than 24 hours, or the stream is a new one):
    /// what they said must be read from the table itself.
    #[error("the records are gone")]
    Trimmed,
}

pub trait StockStream: Send + Sync {
    fn shards(&self) -> impl Future<Output = Result<Vec<Shard>, StreamError>> + Send;

    /// An iterator at the position.
    fn open(
        &self,
        shard: &str,
        position: &Position,
    ) -> impl Future<Output = Result<String, StreamError>> + Send;

    fn read(
        &self,
        iterator: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Page, StreamError>> + Send;
}

/// Who reads a shard, and how far it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub shard: String,
    pub owner: String,
    /// Grows with every renewal. Another worker that sees it stand still for a lease's length may
    /// take it over.
    pub counter: i64,
    /// The last sequence number whose effects are durable.
    pub checkpoint: Option<String>,
    /// The shard was read to its end.
    pub finished: bool,
}

pub trait LeaseStore: Send + Sync {
    fn leases(&self) -> impl Future<Output = Result<Vec<Lease>, Unavailable>> + Send;

    /// Writes the lease if what is stored still has `expected_counter` (`None`: if there is none).
    /// False otherwise: somebody else has it.
    fn write(
        &self,
        lease: &Lease,
        expected_counter: Option<i64>,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;
}
