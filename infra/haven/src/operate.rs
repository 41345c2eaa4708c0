//! Commands for a running platform.

pub mod audit;
pub mod dlq;
pub mod env;
pub mod load;
mod logs;
pub mod notify;
pub mod orders;
mod readable;
pub mod reconcile;
pub mod reproject;
pub mod seed;
pub mod shop;
pub mod smoke;
pub mod staff;
pub mod status;
#[cfg(test)]
pub mod stub;
mod targets;
