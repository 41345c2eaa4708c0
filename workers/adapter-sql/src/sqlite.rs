//! The parts for SQLite only: the pools of the file, the wait for other processes, and the text of
//! its statements.
//!
//! Each write takes the file's write lock at its start (`BEGIN IMMEDIATE`), so no transaction fails
//! halfway because another process holds the lock. Write transactions are short, and changes that
//! arrive together share one. Every commit is synced to disk: an acknowledged order survives a
//! power failure.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use app::ports::orders::OrderFilter;
use app::ports::scope::Scope;
use domain::order::Status;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{Mutex, Notify};

use crate::rows::{LIST_MAX, ORDER_COLUMNS};

/// How long a connection waits for another process's write lock. Each write holds the lock for
/// milliseconds.
const BUSY: Duration = Duration::from_secs(10);
/// Page cache of each connection: a negative number is KiB. The working set of a shop is small, and
/// each of nine processes has several connections.
const CACHE_KIB: &str = "-2000";
/// Maximum number of connections that one process reads with at the same time.
const READERS: u32 = 2;
/// Interval between two checks for commits of other processes. One check takes some microseconds.
const WATCH_EVERY: Duration = Duration::from_millis(15);

/// A file that `haven migrate` created. Cheap to clone.
#[derive(Clone)]
pub struct File {
    /// One connection, because SQLite has one writer at a time. The pool serves waiting tasks in
    /// order, which SQLite's own lock does not.
    pub writer: SqlitePool,
    pub readers: SqlitePool,
    /// Detects commits of other processes with `PRAGMA data_version`.
    watcher: Arc<Mutex<SqliteConnection>>,
    /// Wakes an outbox relay in this process after a commit.
    pub written: Arc<Notify>,
}

impl File {
    /// Opens the file at `url`.
    ///
    /// # Errors
    /// Returns an error if the file does not exist or is not a SQLite file.
    pub async fn open(url: &str) -> Result<File, sqlx::Error> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .pragma("cache_size", CACHE_KIB);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(1)
                .acquire_timeout(BUSY)
        };
        Ok(File {
            writer: pool(1).connect_with(options.clone()).await?,
            readers: pool(READERS).connect_with(options.clone()).await?,
            watcher: Arc::new(Mutex::new(SqliteConnection::connect_with(&options).await?)),
            written: Arc::default(),
        })
    }

    /// Waits until a transaction of this or another process may have added outbox rows.
    pub async fn outbox_changed(&self) {
        let written = self.written.notified();
        let mut watcher = self.watcher.lock().await;
        let by_others = async {
            let before = data_version(&mut watcher).await;
            // A failed read ends the wait: the file may have changed.
            while before.is_some() && data_version(&mut watcher).await == before {
                tokio::time::sleep(WATCH_EVERY).await;
            }
        };
        tokio::select! {
            () = written => {}
            () = by_others => {}
        }
    }
}

async fn data_version(watcher: &mut SqliteConnection) -> Option<i64> {
    sqlx::query_as("PRAGMA data_version")
        .fetch_one(watcher)
        .await
        .ok()
        .map(|(version,): (i64,)| version)
}

/// Returns SQLite's text for a statement in PostgreSQL's SQL:
///
/// - `= ANY($1)`: the list is a JSON array.
/// - `jsonb_to_recordset($1) AS name (column type, …)`: a subquery with the same columns.
/// - `contract.`: SQLite has no schemas, so the names of the contract's views have a prefix.
/// - `FOR UPDATE`, `SKIP LOCKED`: a transaction that writes holds the lock of the whole file.
pub fn translate(sql: Cow<'static, str>) -> Cow<'static, str> {
    const LIST: &str = "= ANY($";
    const RECORDS: &str = "jsonb_to_recordset(";
    let differs = [LIST, RECORDS, "contract.", " FOR UPDATE"];
    if !differs.iter().any(|text| sql.contains(text)) {
        return sql;
    }
    let mut sql = sql
        .replace("contract.", "contract_")
        .replace(" FOR UPDATE SKIP LOCKED", "")
        .replace(" FOR UPDATE", "");
    while let Some((head, rest)) = sql.split_once(LIST)
        && let Some((number, tail)) = rest.split_once(')')
    {
        sql = format!("{head}IN (SELECT value FROM json_each(${number})){tail}");
    }
    while let Some((head, rest)) = sql.split_once(RECORDS)
        && let Some((number, rest)) = rest.split_once(") AS ")
        && let Some((name, rest)) = rest.split_once(" (")
        && let Some((columns, tail)) = rest.split_once(')')
    {
        let columns: Vec<String> = columns
            .split(',')
            .filter_map(|column| column.split_whitespace().next())
            .map(|column| format!(r#"value ->> '{column}' AS "{column}""#))
            .collect();
        let columns = columns.join(", ");
        sql = format!("{head}(SELECT {columns} FROM json_each({number})) AS {name}{tail}");
    }
    Cow::Owned(sql)
}

/// Returns the statement that lists orders, newest first: ids are UUIDv7, so the newest order has
/// the greatest id. The parameters are those of [`crate::postgres::list`].
pub fn list(scope: &Scope, filter: &OrderFilter) -> String {
    let is_open = |status: &Status| {
        !matches!(
            status,
            Status::Completed | Status::Cancelled | Status::Failed
        )
    };
    let few = !filter.statuses.is_empty()
        && filter.statuses.iter().all(is_open)
        && filter.session_hashes.is_empty();
    let in_statuses = if filter.statuses.is_empty() {
        "true"
    } else {
        "status = ANY($2)"
    };
    let in_sessions = if filter.session_hashes.is_empty() {
        "true"
    } else {
        "session_hash = ANY($5)"
    };
    // Without the hint, SQLite reads ids from the newest on and skips every closed order until it
    // has found the few open ones. It cannot use that index with the `OR`.
    let (hint, in_scope) = match scope {
        Scope::Shops { .. } if few => (
            " INDEXED BY orders_by_status",
            "tenant_id = $3 AND location_id = ANY($4)",
        ),
        Scope::Shops { .. } | Scope::Everything => (
            "",
            "($3 IS NULL OR (tenant_id = $3 AND location_id = ANY($4)))",
        ),
    };
    let limit = filter.limit.clamp(1, LIST_MAX);
    format!(
        "SELECT {ORDER_COLUMNS} FROM orders{hint}
         WHERE {in_scope} AND ($1 IS NULL OR order_id < $1) AND {in_statuses} AND {in_sessions}
         ORDER BY order_id DESC LIMIT {limit}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_of_postgres_becomes_one_of_sqlite() {
        for (sql, expected) in [
            ("SELECT $1", "SELECT $1"),
            (
                "SELECT 1 FROM contract.orders WHERE a = ANY($1) AND b = ANY($12) FOR UPDATE SKIP LOCKED",
                "SELECT 1 FROM contract_orders WHERE a IN (SELECT value FROM json_each($1)) \
                 AND b IN (SELECT value FROM json_each($12))",
            ),
            (
                "SELECT id FROM jsonb_to_recordset($2) AS r (id uuid,\n    before text) WHERE true",
                "SELECT id FROM (SELECT value ->> 'id' AS \"id\", value ->> 'before' AS \"before\" \
                 FROM json_each($2)) AS r WHERE true",
            ),
        ] {
            assert_eq!(translate(Cow::Borrowed(sql)), expected);
        }
    }
}
