//! What operators do.

pub mod load;
pub mod orders;
pub mod shop;
pub mod smoke;
pub mod staff;
pub mod status;
