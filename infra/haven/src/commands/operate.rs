//! Commands that change a running platform, and the runbooks.

pub mod dlq;
pub mod reconcile;
pub mod runbook;
pub mod staff;
