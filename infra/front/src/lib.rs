//! The signed front of the local AWS: an HTTP server on loopback that forwards a request to
//! MiniStack's Unix socket only if the request carries a valid Signature Version 4 of this run's
//! key pair.
//!
//! MiniStack accepts every caller. Its socket lies in a directory that only its owner can enter, so
//! on a machine with several accounts, and for pages in a browser, the front is the only way to it.

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
