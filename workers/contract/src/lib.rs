//! Definitions that the processes and the CloudFormation templates share: queues, tables, topics,
//! roles, messages and alarms.
//!
//! This crate contains logical names and limits and no physical names. CloudFormation assigns the
//! physical names and passes them to processes in environment variables; see [`address`]. A process
//! may use only the resources of its [`role::Role`], from which its IAM statements are generated.
//! Relations between limits are `const` assertions: for example, a drain that is shorter than a
//! handler timeout does not compile.
//!
//! Three modules do not concern the template: use cases and the loops that run them share
//! [`settlement`], [`retry`] and [`cause`], and do not depend on each other.

pub mod address;
pub mod alarm;
pub mod billed;
pub mod cause;
pub mod dependency;
pub mod event;
mod kind;
pub mod messages;
pub mod metric;
pub mod parameter;
pub mod queue;
pub mod retry;
pub mod role;
pub mod route;
pub mod settlement;
pub mod table;
pub mod topic;

/// Returns the root of all parameters and secrets of an environment: `/brewhaven/<env>`.
pub fn parameter_root(environment: &str) -> String {
    format!("/brewhaven/{environment}")
}

/// Name of the message attribute and HTTP header with the W3C trace context.
pub const TRACEPARENT_ATTRIBUTE: &str = "traceparent";
/// Name of the message attribute with the kind of the message, for SNS filter policies.
pub const EVENT_TYPE_ATTRIBUTE: &str = "event_type";
/// Name of the message attribute of `OrderStatusChanged` with the new status.
pub const STATUS_ATTRIBUTE: &str = "status";
/// Name of the message attribute of a dead letter with the reason.
pub const PARK_REASON_ATTRIBUTE: &str = "park_reason";
/// Name of the message attribute of a dead letter with the id of the original message.
pub const ORIGINAL_ID_ATTRIBUTE: &str = "original_message_id";
/// Name of the message attribute of a dead letter with the number of deliveries of the original.
pub const DELIVERIES_ATTRIBUTE: &str = "deliveries";

/// Path of the liveness check: the process runs.
pub const HEALTH_PATH: &str = "/healthz";
/// Path of the readiness check: every dependency without which the role has no work is reachable.
pub const READY_PATH: &str = "/readyz";
/// The port on which the storefront serves customers (`HAVEN_BIND`). Ports above 1,023 need no root
/// rights.
pub const STOREFRONT_PORT: u16 = 8080;
/// The port on which storefront tasks serve readiness and metrics (`HAVEN_HEALTH_BIND`). No
/// listener of the load balancer forwards to it.
pub const STOREFRONT_HEALTH_PORT: u16 = 8081;
/// Path of the metrics in the Prometheus text format.
pub const METRICS_PATH: &str = "/metrics";
