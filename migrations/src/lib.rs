//! Brings a database's schema up to date. Run by `haven migrate` (and `haven up`), never by a service as it starts:
//! with several replicas that is a race, and an old service must go on working beside the new schema.
//!
//! The only crate that speaks to databases through `tokio-postgres` and `rusqlite`; queries are the adapters' business.

mod connect;
mod url;

use std::path::Path;

pub use connect::Login;
pub use url::{sqlite_path, sqlite_url};

mod postgres {
    refinery::embed_migrations!("sql/postgres");
}

mod sqlite {
    refinery::embed_migrations!("sql/sqlite");
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Names of the migrations applied now, in order; empty when the schema was up to date.
    pub applied: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database URL must begin with postgres:// or sqlite://")]
    UnknownUrl,
    #[error("the database file {0} cannot be made")]
    File(String, #[source] std::io::Error),
    #[error("PGSSLROOTCERT must name the file of the roots that the database's certificate is checked against")]
    NoRoots,
    #[error("the roots in {0} cannot be used")]
    Roots(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database cannot be reached")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the database cannot be opened")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a migration failed")]
    Migration(#[from] refinery::Error),
    #[error("the migration was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Applies what is missing, each migration in a transaction. Safe to repeat.
pub async fn migrate(database_url: &str) -> Result<Report, MigrateError> {
    migrate_as(database_url, &Login::default()).await
}

/// The same, with a login that the URL does not carry.
pub async fn migrate_as(database_url: &str, login: &Login) -> Result<Report, MigrateError> {
    if let Some(path) = sqlite_path(database_url) {
        return tokio::task::spawn_blocking(move || migrate_sqlite(&path)).await?;
    }
    if database_url.starts_with("postgres://") || database_url.starts_with("postgresql://") {
        return migrate_postgres(database_url, login).await;
    }
    Err(MigrateError::UnknownUrl)
}

async fn migrate_postgres(database_url: &str, login: &Login) -> Result<Report, MigrateError> {
    /// Held while migrating, so that two who migrate at once do not meet. Any number that nobody else uses.
    const LOCK: i64 = 0x6272_6577;
    let (mut client, connection) = connect::connect(database_url, login).await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    let report = postgres::migrations::runner().run_async(&mut client).await;
    drop(client);
    connection.await??;
    Ok(said(&report?))
}

fn migrate_sqlite(path: &Path) -> Result<Report, MigrateError> {
    let file = |error| MigrateError::File(path.display().to_string(), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(file)?;
    let mut connection = rusqlite::Connection::open(path)?;
    // Readers do not wait for the writer, and seven processes share the file. Kept in the file itself.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let report = sqlite::migrations::runner().run(&mut connection)?;
    Ok(said(&report))
}

fn said(report: &refinery::Report) -> Report {
    Report { applied: report.applied_migrations().iter().map(ToString::to_string).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_file_gets_the_whole_schema_and_a_second_time_nothing() {
        let folder = std::env::temp_dir().join(format!("haven-migrate-{}", std::process::id()));
        let url = format!("sqlite://{}", folder.join("new").join("orders.db").display());
        let first = migrate(&url).await.expect("a new file");
        assert!(first.applied.iter().any(|name| name.contains("outbox")), "{:?}", first.applied);
        assert_eq!(migrate(&url).await.expect("again").applied, Vec::<String>::new());
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[tokio::test]
    async fn a_url_of_another_kind_is_refused() {
        assert!(matches!(migrate("mysql://localhost").await, Err(MigrateError::UnknownUrl)));
    }
}
