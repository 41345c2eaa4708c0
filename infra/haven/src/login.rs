//! The database login of a command, from the environment.

use chassis::config::{ProcessEnvironment, Reader};

/// Returns the login for migrations from `PGUSER`, `PGPASSWORD` and `PGSSLROOTCERT`. No argument
/// has a password, because every account of the machine can read arguments.
pub fn migration_login() -> migrations::Login {
    let reader = Reader::new(&ProcessEnvironment);
    migrations::Login {
        user: reader.optional("PGUSER"),
        password: reader.optional("PGPASSWORD"),
        root_certificates: reader.optional("PGSSLROOTCERT").map(Into::into),
    }
}

/// Returns the same login for queries.
pub fn database_login() -> adapter_sql::Login {
    let login = migration_login();
    adapter_sql::Login {
        user: login.user,
        password: login.password,
        root_certificates: login.root_certificates,
    }
}
