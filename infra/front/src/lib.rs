//! The signed front of the local AWS: an HTTP server on loopback. A request is forwarded to
//! MiniStack's Unix socket only if it has a valid Signature Version 4 of this run's key pair.
//!
//! MiniStack accepts every caller. Its socket is in a directory that only its owner can enter.
//! Other accounts and pages in a browser therefore reach MiniStack only through the front.

mod body;
mod canonical;
mod chunked;
mod connections;
mod forward;
mod keys;
mod refusal;
mod server;
mod signature;

pub use keys::Keys;
pub use server::{Front, OnRefusal, Options, Refusal};
pub use signature::{CLOCK_SKEW, resign};
