//! The presentation layer of the command line: width, tables, colors, verdicts, errors, progress,
//! prompts and help. The rules that all commands follow are in `docs/interfaces.md`, section
//! "Programs". The library decides nothing about the platform.

// This module is first, because its macros replace those of the standard library in all later ones.
#[macro_use]
pub mod output;

pub mod error;
pub mod exit;
pub mod help;
pub mod progress;
pub mod prompt;
pub mod reference;
pub mod settings;
pub mod style;
pub mod table;
pub mod terminal;
pub mod time;
pub mod usage;
pub mod verdict;
pub mod width;

pub use exit::Interrupted;
pub use usage::BadUsage;
