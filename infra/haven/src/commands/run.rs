//! Commands that run the platform on this machine.

pub mod down;
pub mod keep;
pub mod load;
pub mod migrate;
pub mod open;
pub mod role;
pub mod seed;
pub mod up;
