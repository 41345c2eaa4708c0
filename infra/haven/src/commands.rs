//! The commands, in the groups of `haven --help`. Each owns its options and its output.

pub mod completions;
pub mod look;
pub mod operate;
pub mod provision;
pub mod run;
