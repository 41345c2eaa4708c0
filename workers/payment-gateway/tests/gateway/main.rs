//! The gateway's promises, over real HTTP on port 0, each test with its own ledger.

// A test that cannot go on says so by panicking.
#![allow(clippy::unwrap_used)]

mod charges;
mod credential;
mod ledger;
mod process;
mod refunds;
mod support;
mod webhooks;
