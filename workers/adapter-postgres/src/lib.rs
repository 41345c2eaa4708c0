//! Orders in PostgreSQL. Changes of messages that are handled together are one statement.

mod notices;
mod orders;
mod rows;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use app::ports::Unavailable;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Waiting for a free connection; longer, and a request would rather be turned away.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(3);
/// A statement that takes longer is stuck behind a lock.
const STATEMENT_WITHIN: &str = "5s";
const LOCK_WITHIN: &str = "3s";

/// A store on a migrated database. Cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// Hears of new outbox rows; made when it is first needed, since only the relay needs it.
    listener: Arc<Mutex<Option<PgListener>>>,
    /// Names this store to others that claim outbox rows.
    claimant: Uuid,
}

impl PostgresStore {
    /// # Errors
    /// When the server cannot be reached now. Later, connections are made again as they are needed.
    pub async fn connect(url: &str, connections_max: u32) -> Result<PostgresStore, Unavailable> {
        let options = PgConnectOptions::from_str(url)
            .map_err(unavailable)?
            .application_name("brew-haven")
            .options([("statement_timeout", STATEMENT_WITHIN), ("lock_timeout", LOCK_WITHIN)]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_WITHIN)
            .connect_with(options)
            .await
            .map_err(unavailable)?;
        Ok(PostgresStore { pool, listener: Arc::default(), claimant: Uuid::now_v7() })
    }
}

fn unavailable(error: sqlx::Error) -> Unavailable {
    Unavailable::new("orders", error)
}
