//! In-memory ports. Each passes the laws of its port, as the real ones do.

pub mod orders;
pub mod stock;
