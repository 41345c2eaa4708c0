//! What operators do.

pub mod staff;
pub mod status;
