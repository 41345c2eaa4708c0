//! In-memory implementations of ports for tests. Each passes the laws of its port, as the adapters
//! do.

pub mod gateway;
pub mod orders;
mod shop;
pub mod stock;
pub mod views;

use domain::Timestamp;
use time::macros::datetime;
use uuid::Uuid;

use crate::ports::Source;

/// A source whose clock always shows noon.
pub struct Noon;

impl Source for Noon {
    fn now(&self) -> Timestamp {
        datetime!(2026-03-01 12:00 UTC)
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}
