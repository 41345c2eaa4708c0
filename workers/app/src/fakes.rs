//! In-memory ports. Each passes the laws of its port, as the real ones do.

pub mod gateway;
pub mod orders;
mod shop;
pub mod stock;
pub mod views;
