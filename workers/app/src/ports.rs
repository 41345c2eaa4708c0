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

use domain::Timestamp;
use uuid::Uuid;

/// Time and identifiers. Use cases take both from this port, so that tests are deterministic.
pub trait Source: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Returns a new UUIDv7.
    fn uuid(&self) -> Uuid;
}

/// A store or a service that cannot answer now. A retry can succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is unavailable: {why}")]
pub struct Unavailable {
    /// The name of the store or service, such as `orders`, `stock` or `carts`.
    pub what: &'static str,
    /// The cause, for the log. Customers never see it.
    pub why: String,
}

impl Unavailable {
    /// Creates an error about the store or service `what`.
    pub fn new(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self {
            what,
            why: why.to_string(),
        }
    }
}
