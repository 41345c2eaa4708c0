//! What operators do.

pub mod load;
pub mod staff;
pub mod status;
