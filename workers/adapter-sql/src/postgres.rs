//! The parts for PostgreSQL only: the connections to the server, the wait for other processes, and
//! the lists of orders.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use app::ports::orders::OrderFilter;
use app::ports::scope::Scope;
use contract::queue::HANDLER_TIMEOUT_MIN;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use tokio::sync::Mutex;

use crate::login::{ConnectError, Login};
use crate::rows::{LIST_MAX, ORDER_COLUMNS};
use crate::store_error;

/// How long a call waits for a free connection. After this time the call fails, because the request
/// would wait too long.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(3);
/// Time limit of a statement. The pool's wait and one statement must fit into the shortest time
/// limit of a handler.
const STATEMENT_WITHIN: Duration = Duration::from_secs(5);
/// Time limit for a lock. It is shorter than [`STATEMENT_WITHIN`], so that the error names the
/// lock.
const LOCK_WITHIN: Duration = Duration::from_secs(3);
const _: () = assert!(
    ACQUIRE_WITHIN.as_millis() + STATEMENT_WITHIN.as_millis() < HANDLER_TIMEOUT_MIN.as_millis(),
    "a statement outlives its handler"
);
const _: () = assert!(
    LOCK_WITHIN.as_millis() < STATEMENT_WITHIN.as_millis(),
    "a lock is never told apart"
);

/// Channel on which writers notify outbox relays of new rows.
const CHANNEL: &str = "outbox";

/// The connections to one server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub pool: PgPool,
    /// Receives notifications about new outbox rows. Connected at the first use, because only the
    /// outbox relay needs it.
    listener: Arc<Mutex<Option<PgListener>>>,
}

impl Server {
    /// Connects with a login that is not part of the URL.
    ///
    /// # Errors
    /// As [`crate::Store::connect`].
    pub async fn connect(
        url: &str,
        login: &Login,
        connections_max: u32,
    ) -> Result<Server, ConnectError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| ConnectError::BadUrl(error.to_string()))?;
        let options = login.apply(options).application_name("brew-haven").options(
            [
                ("statement_timeout", STATEMENT_WITHIN),
                ("lock_timeout", LOCK_WITHIN),
            ]
            .map(in_milliseconds),
        );
        let user = options.get_username().to_owned();
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_WITHIN)
            .after_connect(|connection, _| Box::pin(refuse_a_standby(connection)))
            .connect_with(options)
            .await
            .map_err(|error| ConnectError::of(&user, error))?;
        Ok(Server {
            pool,
            listener: Arc::default(),
        })
    }

    /// Sets the login of new connections. Open connections keep theirs until the pool closes them.
    pub fn set_login(&self, login: &Login) {
        let options = self.pool.connect_options().as_ref().clone();
        self.pool.set_connect_options(login.apply(options));
    }

    /// Opens and closes a new connection.
    ///
    /// # Errors
    /// As [`crate::Store::connect`].
    pub async fn try_login(&self) -> Result<(), ConnectError> {
        let options = self.pool.connect_options();
        let connection = PgConnection::connect_with(&options).await;
        let connection =
            connection.map_err(|error| ConnectError::of(options.get_username(), error))?;
        Ok(connection.close().await.map_err(store_error)?)
    }

    /// Waits for a notification about new outbox rows.
    pub async fn outbox_changed(&self) {
        let mut listener = self.listener.lock().await;
        if listener.is_none()
            && let Ok(mut fresh) = PgListener::connect_with(&self.pool).await
            && fresh.listen(CHANNEL).await.is_ok()
        {
            *listener = Some(fresh);
        }
        match listener.as_mut() {
            Some(listener) => match listener.recv().await {
                // One read of the outbox serves all notifications that have arrived.
                Ok(_) => while listener.next_buffered().is_some() {},
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }
}

/// Fails if the server is a standby or is still in recovery. The data of such a server can lag, so
/// an accepted order would look missing and its message would become a dead letter.
async fn refuse_a_standby(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(connection)
        .await?
    {
        return Err(sqlx::Error::Protocol(
            "it recovers, or is a standby: what it says may be old".to_owned(),
        ));
    }
    Ok(())
}

/// Formats a time limit in milliseconds, which is PostgreSQL's unit for settings without a unit.
fn in_milliseconds((setting, time): (&'static str, Duration)) -> (&'static str, u128) {
    (setting, time.as_millis())
}

/// Returns the statement that lists orders, newest first. $1 is the id before which the list ends
/// or NULL, $2 the statuses, $3 the tenant or NULL, $4 the locations, $5 the sessions.
pub fn list(scope: &Scope, filter: &OrderFilter) -> String {
    let limit = filter.limit.clamp(1, LIST_MAX);
    match scope {
        Scope::Shops { .. } | Scope::Everything if !filter.session_hashes.is_empty() => {
            list_of_sessions(limit)
        }
        Scope::Shops { .. } => list_of_shops(limit),
        Scope::Everything => list_of_everything(limit),
    }
}

/// The id before which a list ends: $1, or an id above all others. Ids are UUIDv7, so the newest
/// order has the greatest id.
const BEFORE_ID: &str = "coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)";

/// Returns the statement that lists orders of a scope's locations, newest first. $2 is the
/// statuses, $3 the tenant, $4 the locations.
///
/// After a year, the table has half a million closed orders and ten open ones. For a list of
/// statuses with `ORDER BY order_id`, PostgreSQL chooses between two bad plans. One reads the index
/// of the ids from its end and discards closed orders; the other reads and sorts all orders of a
/// status. Therefore the statement selects each location and status on its own, in the order of
/// `orders_by_status`, and merges the results. At most `limit` rows of each are read, in a generic
/// plan too.
///
/// The status is a range of one value and part of the sort order. With an equality, PostgreSQL
/// would remove the status from the sort order. The planner assumes that each status has a fifth of
/// all orders. It would therefore expect 200 of them near the end of the primary key. The row
/// comparison starts the scan at the order before which the page ends. The limit is part of the
/// text, because a plan for an unknown limit assumes a tenth of the rows.
pub fn list_of_shops(limit: u32) -> String {
    format!(
        "SELECT newest.* FROM unnest($4::text[]) AS place (at) CROSS JOIN unnest($2::text[]) AS wanted (code)
         CROSS JOIN LATERAL (SELECT {ORDER_COLUMNS} FROM orders
             WHERE tenant_id = $3 AND location_id = place.at AND status >= wanted.code
                 AND (status, order_id) < (wanted.code, {BEFORE_ID})
             ORDER BY status DESC, order_id DESC LIMIT {limit}) AS newest
         ORDER BY order_id DESC LIMIT {limit}"
    )
}

/// Returns the statement that lists the orders of a browser's sessions ($5), newest first. Each
/// session is selected on its own with the index `orders_of_session`.
fn list_of_sessions(limit: u32) -> String {
    format!(
        "SELECT newest.* FROM unnest($5::text[]) AS own (hash) CROSS JOIN LATERAL (SELECT {ORDER_COLUMNS} FROM orders
             WHERE session_hash = own.hash AND order_id < {BEFORE_ID} AND status = ANY($2)
                 AND ($3::text IS NULL OR (tenant_id = $3 AND location_id = ANY($4::text[])))
             ORDER BY order_id DESC LIMIT {limit}) AS newest
         ORDER BY order_id DESC LIMIT {limit}"
    )
}

/// Returns the statement that lists orders of all locations, newest first.
fn list_of_everything(limit: u32) -> String {
    format!(
        "SELECT {ORDER_COLUMNS} FROM orders
         WHERE order_id < {BEFORE_ID} AND status = ANY($2) ORDER BY order_id DESC LIMIT {limit}"
    )
}
