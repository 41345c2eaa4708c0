//! The parts that every long-running process needs: a consume loop, a stream loop, circuit
//! breakers, renewal of logins, configuration, telemetry, metrics, health checks and a clean
//! stop.
//!
//! The crate contains no AWS and no SQL: the loops reach queues through [`inbox::Inbox`] and
//! streams through [`stream::ChangeStream`]. It contains no shop either: of our crates, only
//! `contract` is a dependency, for the names of queues, metrics and dependencies. The log field
//! `order.id` is the only word of the shop here.
//!
//! Roles read the environment, signals and random numbers through this crate only.

pub mod breaker;
pub mod chance;
pub mod config;
pub mod consume;
pub mod emf;
pub mod group_commit;
pub mod health;
pub mod health_check;
pub mod inbox;
pub mod metrics;
pub mod proxy;
pub mod renewal;
pub mod run;
pub mod stream;
pub mod telemetry;
pub mod trace;

pub use breaker::Breaker;
pub use consume::{Handler, consume};
pub use group_commit::GroupCommit;
pub use health::Health;
pub use metrics::Metrics;
pub use run::{CannotListen, EX_USAGE, Process, listen};
