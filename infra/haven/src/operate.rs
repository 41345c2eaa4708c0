//! What operators do.

pub mod load;
pub mod notify;
mod readable;
pub mod shop;
pub mod smoke;
pub mod staff;
pub mod status;
#[cfg(test)]
pub mod stub;
mod targets;
