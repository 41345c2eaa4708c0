//! Use cases, and the ports that they need. This crate calls no AWS service and no database, reads
//! no clock and draws no random numbers: ports provide all of these.

pub mod location;
pub mod ports;
pub mod use_cases;

#[cfg(any(test, feature = "testing"))]
pub mod fakes;
#[cfg(any(test, feature = "testing"))]
pub mod laws;
