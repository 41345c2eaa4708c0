//! Fault proxies: each stands on loopback between one process and one thing that it needs (AWS over
//! HTTP, PostgreSQL, Redis, the payment gateway), and lets calls through, records them, stops at
//! them, or spoils them by rule.
//!
//! ```text
//! let faults = Faults::new(seed);
//! let proxy = Proxy::start(&faults, "order-worker", Dependency::Aws, "127.0.0.1:4566").await?;
//! // Start the worker with AWS_ENDPOINT_URL=http://{proxy.address()}.
//! let hits = faults.add(Rule::on(Dependency::Aws, "sqs.DeleteMessageBatch", Fault::DropReply).times(3));
//! // ... load ...
//! assert!(hits.count() > 0, "a fault that was never hit was not survived");
//! ```
//!
//! A process with proxies of its own is known by them: who made a call needs no guessing. A *call*
//! is what its dependency sees as one: an HTTP request, a PostgreSQL statement (or `COMMIT`) up to
//! where the client waits for the answer, a Redis command. `Moment::Before` is when the dependency
//! has not seen it, `Moment::After` when it has executed it and the caller does not know: whoever
//! is killed there has done something without having heard so.
//!
//! Not for production, and not a load balancer: one task a connection, whole messages in memory.

mod aws;
mod board;
mod dice;
mod gateway;
mod http;
mod http_proxy;
mod postgres;
mod proxy;
mod redis;
mod rules;

pub use board::{Call, Entry, Faults, Hook, Moment, Sign, Verdict};
pub use dice::Dice;
pub use proxy::{Dependency, Proxy};
pub use rules::{Fault, Hits, Rule};
