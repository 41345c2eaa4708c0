//! What any implementation of a port must satisfy. Each law is an async function that panics when
//! it is broken; unit tests run them against the fakes, the adapters' tests against real servers.

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
