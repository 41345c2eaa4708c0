//! CloudFormation templates of the platform, computed from `contract` and the environment files.
//! The crate is pure: it performs no I/O.
//!
//! CloudFormation assigns the physical names of resources. Each address that a process needs is
//! exported, and stored in Parameter Store under the key that `contract` defines.

mod bootstrap;
mod configuration;
pub mod consequence;
pub mod cost;
mod dashboard;
mod environment;
mod graph;
pub mod kind;
pub mod limits;
mod local;
mod names;
pub mod policy;
pub mod prices;
mod references;
mod roles;
pub mod schema;
pub mod spelling;
mod stack;
mod stacks;
mod template;
#[cfg(test)]
mod tests;
pub mod why;

pub use bootstrap::{BOOTSTRAP, bootstrap, execution_role_export};
pub use configuration::{
    Account, Backup, Cache, Compute, Configuration, Database, Edge, Engine, Explanation, File,
    Network, Observability, Origin, Override, Problem, Problems, Settings, Usage, embedded,
    nearest_key,
};
pub use dashboard::operations as operations_dashboard;
pub use environment::{Environment, Part};
pub use local::{How, LeftOut};
pub use names::{MAIL_DOMAIN, Shared, secret_export, task_role_export};
pub use roles::statements;
pub use stack::Stack;
pub use stacks::{left_out, stacks};
pub use template::{Keep, LogicalId, Statement, Template, get_att, reference, sub};
