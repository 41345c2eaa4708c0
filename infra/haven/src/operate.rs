//! What operators do.

pub mod load;
pub mod reconcile;
pub mod shop;
pub mod smoke;
pub mod staff;
pub mod status;
