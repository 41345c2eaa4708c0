//! The guarantees of the gateway, over HTTP on port 0; each test has its own ledger.

// A test that cannot continue panics.
#![allow(clippy::unwrap_used)]

mod charges;
mod credential;
mod ledger;
mod process;
mod refunds;
mod support;
mod webhooks;
