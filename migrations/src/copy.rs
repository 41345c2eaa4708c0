//! Copies of a database before a migration, with which an operator can undo a failed migration.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use crate::connect::{self, Login};
use crate::{MigrateError, sqlite_path};

/// The applied and the missing migrations of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Number of applied migrations; 0 for a new database.
    pub applied: usize,
    /// Names of the missing migrations, in order.
    pub missing: Vec<String>,
}

impl Standing {
    fn of(migrations: &[refinery::Migration], applied: &[i32]) -> Standing {
        let missing = migrations
            .iter()
            .filter(|migration| !applied.contains(&migration.version()));
        Standing {
            applied: applied.len(),
            missing: missing.map(ToString::to_string).collect(),
        }
    }

    /// Returns true if a migration is about to change existing data.
    pub fn changes_data(&self) -> bool {
        self.applied > 0 && !self.missing.is_empty()
    }
}

const VERSIONS: &str = "SELECT version FROM refinery_schema_history";

/// Returns the applied and missing migrations of a database, without changing it.
///
/// # Errors
/// Returns an error when the database exists but cannot be read.
pub async fn standing(database_url: &str, login: &Login) -> Result<Standing, MigrateError> {
    if let Some(path) = sqlite_path(database_url) {
        return tokio::task::spawn_blocking(move || standing_sqlite(&path)).await?;
    }
    let (client, connection) = connect::connect(database_url, login).await?;
    let exists = client
        .query_one(
            "SELECT to_regclass('refinery_schema_history') IS NOT NULL",
            &[],
        )
        .await?
        .get(0);
    let mut applied = Vec::new();
    if exists {
        applied.extend(
            client
                .query(VERSIONS, &[])
                .await?
                .iter()
                .map(|row| row.get::<_, i32>(0)),
        );
    }
    drop(client);
    connection.await??;
    Ok(Standing::of(
        crate::postgres::migrations::runner().get_migrations(),
        &applied,
    ))
}

fn standing_sqlite(path: &Path) -> Result<Standing, MigrateError> {
    let runner = crate::sqlite::migrations::runner();
    if !path.exists() {
        return Ok(Standing::of(runner.get_migrations(), &[]));
    }
    let connection = open(path)?;
    const EXISTS: &str =
        "SELECT count(*) FROM sqlite_master WHERE name = 'refinery_schema_history'";
    let exists: i64 = connection.query_row(EXISTS, [], |row| row.get(0))?;
    let mut applied = Vec::new();
    if exists > 0 {
        let mut statement = connection.prepare(VERSIONS)?;
        for version in statement.query_map([], |row| row.get::<_, i32>(0))? {
            applied.push(version?);
        }
    }
    Ok(Standing::of(runner.get_migrations(), &applied))
}

fn open(path: &Path) -> Result<rusqlite::Connection, MigrateError> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}

/// Returns the names of copies in the order in which they are tried.
fn copy_names(name: &str, version: &str) -> impl Iterator<Item = String> {
    let first = format!("{name}.before-{version}");
    let next = format!("{first}-");
    std::iter::once(first).chain((2..).map(move |number| format!("{next}{number}")))
}

/// Copies a SQLite file to `NAME.before-VERSION` in the same directory and returns the path of the
/// copy.
///
/// The copy is consistent and includes the write-ahead log. An existing copy is kept: the next one
/// is named `NAME.before-VERSION-2`. If nothing was written since the last copy, that copy is
/// returned instead of a new one. A failing migration is retried at every start and must not fill
/// the disk.
///
/// # Errors
/// Returns an error when the copy cannot be written.
pub async fn copy_sqlite(path: &Path, version: &str) -> Result<PathBuf, MigrateError> {
    let (path, version) = (path.to_owned(), version.to_owned());
    tokio::task::spawn_blocking(move || {
        let beside = |name: String| path.with_file_name(name);
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let file = |path: &Path, error| MigrateError::File(path.display().to_string(), error);
        let unfinished = beside(format!("{name}.before-{version}.unfinished"));
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file(&unfinished, error));
            }
            _ => {}
        }
        open(&path)?.execute("VACUUM INTO ?1", [unfinished.to_string_lossy().as_ref()])?;
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600));
        private.map_err(|error| file(&unfinished, error))?;
        for copy in copy_names(&name, &version).map(beside) {
            // `hard_link` fails if the target exists, so no copy is overwritten.
            match std::fs::hard_link(&unfinished, &copy) {
                // SQLite writes identical files for identical rows.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    if !is_same(&unfinished, &copy).map_err(|error| file(&copy, error))? {
                        continue;
                    }
                }
                linked => linked.map_err(|error| file(&copy, error))?,
            }
            std::fs::remove_file(&unfinished).map_err(|error| file(&unfinished, error))?;
            return Ok(copy);
        }
        unreachable!("the numbers have no end")
    })
    .await?
}

fn is_same(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        for (file, part) in [(&mut one, &mut ours), (&mut other, &mut theirs)] {
            part.clear();
            file.take(1024 * 1024).read_to_end(part)?;
        }
        if ours != theirs || ours.is_empty() {
            return Ok(ours == theirs);
        }
    }
}

/// Copies a PostgreSQL database to `NAME.before-VERSION` on the same server and returns the name of
/// the copy. No other client may be connected meanwhile, because PostgreSQL copies the files of the
/// database. Existing copies are kept and reused as in [`copy_sqlite`].
///
/// # Errors
/// Returns an error when another client is connected, or when the login may not create databases.
pub async fn copy_postgres(
    database_url: &str,
    login: &Login,
    version: &str,
) -> Result<String, MigrateError> {
    let (client, connection) = connect::connect(database_url, login).await?;
    let name: String = client
        .query_one("SELECT current_database()::text", &[])
        .await?
        .get(0);
    let mut copied = String::new();
    for copy in copy_names(&name, version) {
        const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        if client.query_one(EXISTS, &[&copy]).await?.get(0) {
            // An unreadable database with this name is not a copy of ours.
            if has_rows_of(&client, &copy, database_url, login)
                .await
                .unwrap_or(false)
            {
                copied = copy;
                break;
            }
            continue;
        }
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        client
            .batch_execute(&format!(
                "CREATE DATABASE {} TEMPLATE {}",
                quoted(&copy),
                quoted(&name)
            ))
            .await?;
        client
            .batch_execute(&format!(
                "REVOKE ALL ON DATABASE {} FROM PUBLIC",
                quoted(&copy)
            ))
            .await?;
        copied = copy;
        break;
    }
    drop(client);
    connection.await??;
    Ok(copied)
}

/// Returns true if a copy still has the rows of the connected database.
async fn has_rows_of(
    client: &Client,
    copy: &str,
    database_url: &str,
    login: &Login,
) -> Result<bool, MigrateError> {
    let (copy, connection) = connect::connect_to(Some(copy), database_url, login).await?;
    let is_same = row_versions(client).await? == row_versions(&copy).await?;
    drop(copy);
    connection.await??;
    Ok(is_same)
}

/// Returns each table with its number of rows and a checksum of their versions. A version consists
/// of the place and the transaction of a row. A copy of the database's files has the same versions,
/// and every change of a row gives it a new one.
async fn row_versions(client: &Client) -> Result<Vec<(String, i64, String)>, MigrateError> {
    const TABLES: &str = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
    let mut versions = Vec::new();
    for table in client.query(TABLES, &[]).await? {
        let table: String = table.get(0);
        let sum = "coalesce(sum(hashtext(ctid::text || ' ' || xmin::text)::bigint), 0)::text";
        let row = client
            .query_one(&format!("SELECT count(*), {sum} FROM {table}"), &[])
            .await?;
        versions.push((table, row.get(0), row.get(1)));
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{migrate, sqlite_url};

    #[tokio::test]
    async fn a_copy_includes_the_write_ahead_log_and_replaces_no_other_copy() {
        let folder = std::env::temp_dir().join(format!("haven-copy-{}", std::process::id()));
        let path = folder.join("orders.db");
        let url = sqlite_url(&path);
        let new = standing(&url, &Login::default()).await.expect("no file");
        assert!(
            new.applied == 0 && !new.missing.is_empty() && !new.changes_data(),
            "{new:?}"
        );
        migrate(&url).await.expect("a new file");
        let done = standing(&url, &Login::default()).await.expect("a file");
        assert_eq!((done.applied, done.missing.len()), (new.missing.len(), 0));

        let writer = open(&path).expect("open");
        writer
            .execute(
                "INSERT INTO tenants (tenant_id, name) VALUES ('t', 'in the log')",
                [],
            )
            .expect("written");
        assert!(
            folder
                .join("orders.db-wal")
                .metadata()
                .is_ok_and(|log| log.len() > 0),
            "the row is in the write-ahead log"
        );
        for (name, tenants) in [
            ("orders.db.before-1.2.3", 1),
            ("orders.db.before-1.2.3-2", 2),
        ] {
            // A start after a failed migration finds no new rows.
            for _ in 0..3 {
                let copy = copy_sqlite(&path, "1.2.3").await.expect("copied");
                assert_eq!(copy, folder.join(name));
                let in_log = "SELECT count(*) FROM tenants WHERE name LIKE 'in the log%'";
                let count: i64 = open(&copy)
                    .expect("open")
                    .query_row(in_log, [], |row| row.get(0))
                    .expect("a count");
                assert_eq!(count, tenants);
                let failed = writer
                    .execute_batch("BEGIN; CREATE TABLE later (id int); UPDATE tenants SET name = tenant_id; ROLLBACK");
                failed.expect("rolled back");
            }
            let more =
                "INSERT OR IGNORE INTO tenants (tenant_id, name) VALUES ('u', 'in the log 2')";
            writer.execute(more, []).expect("written");
        }
        let copies = std::fs::read_dir(&folder).expect("a list").flatten();
        let copies = copies
            .filter(|entry| entry.file_name().to_string_lossy().contains("before"))
            .count();
        assert_eq!(copies, 2);
        drop(writer);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
