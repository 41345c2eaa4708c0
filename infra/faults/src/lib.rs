//! Fault proxies. Each proxy listens on loopback between one process and one dependency (AWS over
//! HTTP, PostgreSQL, Redis, the payment gateway, the shop). The proxy forwards calls, records them,
//! pauses them, or applies the faults of rules.
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
//! Each process has its own proxies, so the proxy of a call identifies the caller. A *call* is the
//! unit that the dependency executes: an HTTP request, a Redis command, or a PostgreSQL statement
//! (or `COMMIT`) up to the point at which the client waits for the reply.
//!
//! At `Moment::Before` the dependency has not received the call. At `Moment::After` the dependency
//! has executed it, but the caller has no reply. A process that is killed there has caused an
//! effect without knowing it.
//!
//! This crate is not for production, and not a load balancer: each connection has one task, and
//! whole messages are kept in memory.

mod aws;
mod board;
mod dependency;
mod dice;
mod gateway;
mod http;
mod http_proxy;
mod link;
mod postgres;
mod proxy;
mod redis;
mod rules;

pub use board::{Call, Entry, Faults, Hook, Moment, Sign, Verdict};
pub use dependency::Dependency;
pub use dice::Dice;
pub use proxy::Proxy;
pub use rules::{Fault, Hits, Rule};
