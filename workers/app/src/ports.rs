//! Ports: traits that describe what the use cases need from the outside.
//!
//! The error of a port states what the caller can do about it, without details of the
//! implementation. Every implementation passes the tests in `laws`, and so do the in-memory
//! implementations in `fakes`.

pub mod access;
pub mod carts;
pub mod fulfilment;
pub mod gateway;
pub mod journey;
pub mod ledger;
pub mod locations;
pub mod mailbox;
pub mod notices;
pub mod orders;
pub mod publisher;
pub mod redrives;
pub mod scope;
pub mod stock;
pub mod stock_watch;
pub mod views;

use contract::cause::{BoxError, Cause};
use domain::Timestamp;
use uuid::Uuid;

/// Time and identifiers. Use cases take both from this port, so that tests are deterministic.
pub trait Source: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Returns a new UUIDv7.
    fn uuid(&self) -> Uuid;
}

/// The future of a port's method, which a task may be spawned with. Every such future has this
/// trait, so implementations are `async fn`.
pub trait PortFuture<T, E = StoreError>: Future<Output = Result<T, E>> + Send {}

impl<F: Future<Output = Result<T, E>> + Send, T, E> PortFuture<T, E> for F {}

/// A store or a service behind a port. Errors name it in logs; no code decides by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Backend {
    /// The database with the orders and everything that is stored with them.
    Orders,
    /// The tables with the stock.
    Stock,
    /// The copy of the products that the storefront keeps in memory.
    Menu,
    /// The table with the order views.
    #[strum(serialize = "order view")]
    OrderView,
    /// The cache with the carts.
    Carts,
    /// The locations in the database.
    Locations,
    /// The mailbox of a local AWS.
    Mailbox,
    /// Parameter Store.
    Parameters,
    /// Secrets Manager.
    Secrets,
    /// The stream of changes of the stock.
    Stream,
    /// The leases of the stream's shards.
    Leases,
}

/// The reason why a store did not do what it was asked. Logs print it with its causes, see
/// [`contract::cause::chain`]; customers never see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot answer now, and a write may have been executed. A retry can succeed.
    #[error("{backend} is unavailable")]
    Unavailable {
        backend: Backend,
        #[source]
        cause: Cause,
    },
    /// The store refused the login and did nothing. Another login can succeed.
    #[error("{backend} refused the login")]
    LoginRefused {
        backend: Backend,
        #[source]
        cause: Cause,
    },
}

impl StoreError {
    /// Creates a [`StoreError::Unavailable`] with its cause.
    pub fn new(backend: Backend, cause: impl Into<BoxError>) -> StoreError {
        StoreError::Unavailable {
            backend,
            cause: Cause::new(cause),
        }
    }

    /// Creates a [`StoreError::LoginRefused`] with its cause.
    pub fn login_refused(backend: Backend, cause: impl Into<BoxError>) -> StoreError {
        StoreError::LoginRefused {
            backend,
            cause: Cause::new(cause),
        }
    }
}
