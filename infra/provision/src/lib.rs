//! Deploys the stacks through change sets, watches them, compares them with their templates, and
//! deletes them.

#[macro_use]
extern crate haven_console;

pub mod account;
pub mod aws_failure;
pub mod change_set;
pub mod deploy;
pub mod deployed_stack;
mod digest;
pub mod doctor;
pub mod drift;
pub mod execution_role;
pub mod guard;
pub mod plan;
mod report;
pub mod stack;
pub mod status;
mod target;
pub mod templates;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use report::Reporter;
pub use target::Target;
