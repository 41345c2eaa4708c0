//! Commands that show a running platform.

pub mod config;
pub mod env;
pub mod logs;
pub mod notify;
pub mod orders;
pub mod outputs;
pub mod reproject;
pub mod status;
