//! What the running system and the template that builds it must agree on.
//!
//! Keys and promises, never physical names: CloudFormation names the resources, and the address
//! reaches a process through the environment variable that stands here. A worker may use a resource
//! only by naming it in its `Role`; its IAM statements follow from that. Relations between limits
//! are `const` assertions: a drain shorter than its handler's timeout does not compile.
//!
//! Two modules do not concern the template: use cases and the loops that run them share
//! [`settlement`] and [`retry`], and do not depend on each other.

pub mod address;
pub mod alarm;
pub mod billed;
pub mod dependency;
pub mod event;
pub mod messages;
pub mod metric;
pub mod parameter;
pub mod queue;
pub mod retry;
pub mod role;
pub mod settlement;
pub mod table;
pub mod topic;

/// The root of all parameters and secrets of an environment: `/brewhaven/<env>`.
pub fn parameter_root(environment: &str) -> String {
    format!("/brewhaven/{environment}")
}

/// Message attribute (and HTTP header) that carries the W3C trace context.
pub const TRACEPARENT_ATTRIBUTE: &str = "traceparent";
/// Message attribute on which SNS filter policies select.
pub const EVENT_TYPE_ATTRIBUTE: &str = "event_type";
/// Message attribute of `OrderStatusChanged`: the new status.
pub const STATUS_ATTRIBUTE: &str = "status";
/// Message attribute under which a parked message says why it was parked.
pub const PARK_REASON_ATTRIBUTE: &str = "park_reason";
/// Message attribute under which a parked message names the message that it was.
pub const ORIGINAL_ID_ATTRIBUTE: &str = "original_message_id";
/// Message attribute of a parked message: how often it had been delivered.
pub const DELIVERIES_ATTRIBUTE: &str = "deliveries";

/// Liveness: the process can answer.
pub const HEALTH_PATH: &str = "/healthz";
/// Readiness: every hard dependency answers.
pub const READY_PATH: &str = "/readyz";
pub const METRICS_PATH: &str = "/metrics";
