//! Orders in one SQLite file, which several processes share: `haven up` without a database server.
//!
//! Writes take the file's one write lock at once (`BEGIN IMMEDIATE`), so that none has to be given
//! up half way; they are short, and what several tasks want to write at once goes into one of them.
//! Every commit is synced to disk: an acknowledged order survives a power cut.

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

use app::ports::Unavailable;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

/// Waiting for another process's write; each lasts milliseconds.
const BUSY: Duration = Duration::from_secs(10);
/// Pages a connection keeps, in KiB: the working set of a shop is small, and nine processes hold
/// one each.
const CACHE_KIB: &str = "-2000";
/// Readers of one process at once.
const READERS: u32 = 2;

/// A store on a migrated file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    /// One connection: SQLite has one writer at a time anyway, and waiting here is fair, which its
    /// lock is not.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Sees writes of other processes by `PRAGMA data_version`.
    watcher: Arc<Mutex<SqliteConnection>>,
    /// Says so to a relay in this very process.
    written: Arc<Notify>,
    /// Names this store to others that claim outbox rows.
    claimant: Uuid,
    numbers: Arc<Mutex<orders::Numbers>>,
}

impl SqliteStore {
    /// Opens a file that `haven migrate` has made.
    ///
    /// # Errors
    /// When it is not there or is no SQLite file.
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
    Unavailable::new("orders", error)
}
