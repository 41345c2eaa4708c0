//! Use-cases and the ports they need. No AWS, no SQL, no clock, no chance: all of these are
//! arguments.

pub mod ports;
pub mod use_cases;

#[cfg(any(test, feature = "testing"))]
pub mod fakes;
#[cfg(any(test, feature = "testing"))]
pub mod laws;
