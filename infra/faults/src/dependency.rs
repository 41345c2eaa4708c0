//! The kinds of dependencies.

/// The kind of the dependency, which decides about the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// AWS over HTTP. Calls are named `service.Operation`.
    Aws,
    /// PostgreSQL's wire protocol without TLS. Calls are named by their SQL.
    Postgres,
    /// Redis's protocol. Calls are named by their command.
    Redis,
    /// The payment gateway. Calls are named by method and path.
    Gateway,
    /// The shop, for its customers. Calls are named by method and path.
    Shop,
}
