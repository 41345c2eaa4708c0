//! Laws: tests that every implementation of a port must pass. Each law is an async function that
//! panics when the implementation breaks it. Unit tests run the laws against the fakes, and the
//! tests of adapters against real servers.

pub mod access;
pub mod carts;
pub mod fulfilment;
pub mod journey;
pub mod locations;
pub mod notices;
pub mod orders;
pub mod payments;
pub mod scope;
pub mod slots;
pub mod stock;
pub mod stock_watch;
pub mod views;
