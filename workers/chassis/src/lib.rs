//! What any long-running process needs: a consume loop, a stream loop, circuit breakers,
//! configuration, telemetry, metrics, health, a clean stop.
//!
//! Knows neither SQS nor SQL: queues come in through [`inbox::Inbox`], streams through
//! [`stream::ChangeStream`], everything else is an argument. Knows nothing of coffee either: `app`
//! and `domain` are not among the dependencies, and names such as those of queues and metrics come
//! from `contract`. The one word of the shop in this crate is the log field `order.id`.
//!
//! The roles read the environment, signals and random numbers through this crate alone.

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
