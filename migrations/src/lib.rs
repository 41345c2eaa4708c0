//! Database migrations. `haven migrate` and `haven up` run them, and a service never does at its
//! start. Several replicas would race, and old services must continue to work with the new schema.
//!
//! Only this crate uses `tokio-postgres` and `rusqlite`. The adapters have the queries.

mod connect;
mod copy;
mod logins;
mod url;

use std::path::Path;

pub use connect::Login;
pub use copy::{Standing, copy_postgres, copy_sqlite, standing};
pub use logins::{MIGRATE, OUTBOX, Passwords, READ, Set, WRITE, make_logins, set_password};
pub use url::{sqlite_path, sqlite_url};

mod postgres {
    refinery::embed_migrations!("sql/postgres");
}

mod sqlite {
    refinery::embed_migrations!("sql/sqlite");
}

/// The result of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Names of the migrations that were applied now, in order; empty if the schema was up to date.
    pub applied: Vec<String>,
}

/// The error of a migration.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database URL must begin with postgres:// or sqlite://")]
    UnknownUrl,
    #[error("the database file {0} cannot be made")]
    File(String, #[source] std::io::Error),
    #[error(
        "PGSSLROOTCERT must name the file of the roots that the database's certificate is checked against"
    )]
    NoRoots,
    #[error("the roots in {0} cannot be used")]
    Roots(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database cannot be reached")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the database cannot be opened")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the system returned no random bytes")]
    Random,
    #[error("a migration failed")]
    Migration(#[from] refinery::Error),
    #[error("the migration was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The kind of a failure, by what an operator can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Change the URL or a variable.
    BadSetting,
    /// Start the database, or wait for it.
    Unreachable,
    /// Use another login.
    Refused,
    /// Read the error: the migration itself failed.
    Failed,
}

impl MigrateError {
    /// Returns the kind of the failure.
    pub fn kind(&self) -> FailureKind {
        /// Class 28, "Invalid authorization specification" (PostgreSQL, appendix A).
        const NO_LOGIN: &str = "28";
        match self {
            MigrateError::UnknownUrl | MigrateError::NoRoots | MigrateError::Roots(..) => {
                FailureKind::BadSetting
            }
            MigrateError::Postgres(error) => match error.code() {
                Some(code) if code.code().starts_with(NO_LOGIN) => FailureKind::Refused,
                Some(_) => FailureKind::Failed,
                None => FailureKind::Unreachable,
            },
            MigrateError::File(..)
            | MigrateError::Sqlite(_)
            | MigrateError::Random
            | MigrateError::Migration(_)
            | MigrateError::Interrupted(_) => FailureKind::Failed,
        }
    }
}

/// Applies the missing migrations, each in a transaction. A repeat is harmless.
///
/// # Errors
/// Returns an error when the database cannot be reached or a migration fails.
pub async fn migrate(database_url: &str) -> Result<Report, MigrateError> {
    migrate_as(database_url, &Login::default()).await
}

/// Applies the missing migrations with a login that the URL does not contain.
///
/// # Errors
/// Fails like [`migrate`].
pub async fn migrate_as(database_url: &str, login: &Login) -> Result<Report, MigrateError> {
    if let Some(path) = sqlite_path(database_url) {
        return tokio::task::spawn_blocking(move || migrate_sqlite(&path)).await?;
    }
    if database_url.starts_with("postgres://") || database_url.starts_with("postgresql://") {
        return migrate_postgres(database_url, login).await;
    }
    Err(MigrateError::UnknownUrl)
}

/// Key of the advisory lock that is held while the schema or the logins change, so that two
/// processes do not conflict. The number is arbitrary.
const LOCK: i64 = 0x6272_6577;

async fn migrate_postgres(database_url: &str, login: &Login) -> Result<Report, MigrateError> {
    let (mut client, connection) = connect::connect(database_url, login).await?;
    client
        .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await?;
    let report = postgres::migrations::runner().run_async(&mut client).await;
    drop(client);
    connection.await??;
    Ok(said(&report?))
}

fn migrate_sqlite(path: &Path) -> Result<Report, MigrateError> {
    let file = |error| MigrateError::File(path.display().to_string(), error);
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(file)?;
    let mut connection = rusqlite::Connection::open(path)?;
    // In WAL mode readers do not wait for the writer; all roles share the file. The file itself
    // stores the mode.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let report = sqlite::migrations::runner().run(&mut connection)?;
    Ok(said(&report))
}

fn said(report: &refinery::Report) -> Report {
    Report {
        applied: report
            .applied_migrations()
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_migration_of_a_new_file_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("haven-migrate-{}", std::process::id()));
        let url = sqlite_url(&folder.join("new, 100% of #1? Käfer").join("orders.db"));
        let first = migrate(&url).await.expect("a new file");
        assert!(
            first.applied.iter().any(|name| name.contains("outbox")),
            "{:?}",
            first.applied
        );
        assert_eq!(
            migrate(&url).await.expect("again").applied,
            Vec::<String>::new()
        );
        assert!(
            folder
                .join("new, 100% of #1? Käfer")
                .join("orders.db")
                .is_file()
        );
        std::fs::remove_dir_all(folder).expect("removed");
    }

    /// `released.sha256` gets a line per migration file, in the commit that adds the file, because
    /// `haven up` of that commit applies it: `sha256sum sql/*/V*.sql`.
    #[test]
    fn migrations_keep_their_bytes() {
        use sha2::Digest as _;
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut released = Vec::new();
        for line in include_str!("../released.sha256").lines() {
            let (hash, file) = line.split_once("  ").expect("a hash and a file");
            let bytes = std::fs::read(package.join(file));
            let bytes = bytes.unwrap_or_else(|error| {
                panic!("{file} is gone, and a database may have it: {error}")
            });
            let found: String = sha2::Sha256::digest(bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(
                found, hash,
                "a database may have {file}: change the schema with a new migration"
            );
            released.push(file.to_owned());
        }
        for folder in ["sql/postgres", "sql/sqlite"] {
            for entry in std::fs::read_dir(package.join(folder)).expect("a list") {
                let name = entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned();
                if name.starts_with('V') && name.ends_with(".sql") {
                    let file = format!("{folder}/{name}");
                    assert!(
                        released.contains(&file),
                        "{file} has no line in released.sha256"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn a_url_of_another_kind_is_refused() {
        assert!(matches!(
            migrate("mysql://localhost").await,
            Err(MigrateError::UnknownUrl)
        ));
    }
}
