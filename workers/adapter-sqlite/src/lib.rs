//! Stores orders in one SQLite file that several processes share. `haven up` uses this crate when
//! it runs without a database server.
//!
//! Each write takes the file's write lock at its start (`BEGIN IMMEDIATE`), so no transaction fails
//! halfway because another process holds the lock. Write transactions are short, and changes that
//! arrive together share one. Every commit is synced to disk: an acknowledged order survives a
//! power failure.

mod access;
mod fulfilment;
mod journey;
mod locations;
mod notices;
mod orders;
mod payments;
mod rows;
mod stock_watch;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use app::ports::{Backend, Unavailable};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

/// How long a connection waits for another process's write lock. Each write holds the lock for
/// milliseconds.
const BUSY: Duration = Duration::from_secs(10);
/// Page cache of each connection: a negative number is KiB. The working set of a shop is small, and
/// each of nine processes has several connections.
const CACHE_KIB: &str = "-2000";
/// Maximum number of connections that one process reads with at the same time.
const READERS: u32 = 2;

/// A store on a migrated SQLite file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    /// One connection, because SQLite has one writer at a time. The pool serves waiting tasks in
    /// order, which SQLite's own lock does not.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Detects commits of other processes with `PRAGMA data_version`.
    watcher: Arc<Mutex<SqliteConnection>>,
    /// Wakes an outbox relay in this process after a commit.
    written: Arc<Notify>,
    /// Identifies this store as the owner of claimed outbox rows.
    claimant: Uuid,
    numbers: Arc<Mutex<orders::Numbers>>,
}

impl SqliteStore {
    /// Opens a file that `haven migrate` created.
    ///
    /// # Errors
    /// Returns an error if the file does not exist or is not a SQLite file.
    pub async fn connect(url: &str) -> Result<SqliteStore, Unavailable> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(unavailable)?
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
        Ok(SqliteStore {
            writer: pool(1)
                .connect_with(options.clone())
                .await
                .map_err(unavailable)?,
            readers: pool(READERS)
                .connect_with(options.clone())
                .await
                .map_err(unavailable)?,
            watcher: Arc::new(Mutex::new(
                SqliteConnection::connect_with(&options)
                    .await
                    .map_err(unavailable)?,
            )),
            written: Arc::default(),
            claimant: Uuid::now_v7(),
            numbers: Arc::default(),
        })
    }
}

fn unavailable(error: sqlx::Error) -> Unavailable {
    Unavailable::new(Backend::Orders, error)
}
