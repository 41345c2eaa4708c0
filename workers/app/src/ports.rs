//! What the use-cases need of the world, in their own words.
//!
//! An error's variants say what the caller can do about it, never what broke inside. Every
//! implementation passes the laws in `laws`, and so do the in-memory ones in `fakes`: a fake cannot
//! lie.

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

/// Time, identity and chance: everything a use-case must not make up.
pub trait Source: Send + Sync {
    fn now(&self) -> Timestamp;
    /// A new UUIDv7.
    fn uuid(&self) -> Uuid;
}

/// A store or service cannot answer now. Trying again later may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is unavailable: {why}")]
pub struct Unavailable {
    /// Such as `orders`, `stock`, `carts`.
    pub what: &'static str,
    /// For the log; never shown to a customer.
    pub why: String,
}

impl Unavailable {
    pub fn new(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self {
            what,
            why: why.to_string(),
        }
    }
}
