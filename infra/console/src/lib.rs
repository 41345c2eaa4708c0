//! How the commands speak: output that never panics, text that is safe for a terminal, and exit
//! codes.

#[macro_use]
pub mod output;

pub mod exit;
pub mod terminal;
pub mod usage;

pub use exit::Interrupted;
pub use usage::BadUsage;
