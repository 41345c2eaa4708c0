//! Stores orders in PostgreSQL. Changes of messages that are handled together share one statement.

mod access;
mod fulfilment;
mod journey;
mod locations;
mod login;
mod notices;
mod orders;
mod payments;
mod rows;
mod stock_watch;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use app::ports::{Backend, Unavailable};
use contract::queue::HANDLER_TIMEOUT_MIN;
pub use login::{ConnectError, Login};
pub use orders::{NUMBERS, list_of_shops};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use tokio::sync::Mutex;
use uuid::Uuid;

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

/// A store on a migrated database. Cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// Receives notifications about new outbox rows. Connected at the first use, because only the
    /// outbox relay needs it.
    listener: Arc<Mutex<Option<PgListener>>>,
    /// Identifies this store as the owner of claimed outbox rows.
    claimant: Uuid,
    numbers: Arc<Mutex<orders::Numbers>>,
}

impl PostgresStore {
    /// Connects with the login in the URL.
    ///
    /// # Errors
    /// Returns an error if the URL is not valid, or if the server is unreachable, refuses the
    /// login, or is a standby. A connection that is lost later is replaced when it is needed.
    pub async fn connect(url: &str, connections_max: u32) -> Result<PostgresStore, ConnectError> {
        PostgresStore::connect_as(url, &Login::default(), connections_max).await
    }

    /// Connects with a login that is not part of the URL.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn connect_as(
        url: &str,
        login: &Login,
        connections_max: u32,
    ) -> Result<PostgresStore, ConnectError> {
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
        Ok(PostgresStore {
            pool,
            listener: Arc::default(),
            claimant: Uuid::now_v7(),
            numbers: Arc::default(),
        })
    }

    /// Sets the login of new connections. Open connections keep theirs until the pool closes them.
    pub fn set_login(&self, login: &Login) {
        let options = self.pool.connect_options().as_ref().clone();
        self.pool.set_connect_options(login.apply(options));
    }

    /// Opens and closes a new connection to check the login, because open connections continue to
    /// work after a change of the password.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn check_login(&self) -> Result<(), ConnectError> {
        let options = self.pool.connect_options();
        let connection = PgConnection::connect_with(&options).await;
        let connection =
            connection.map_err(|error| ConnectError::of(options.get_username(), error))?;
        Ok(connection.close().await.map_err(unavailable)?)
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

fn unavailable(error: sqlx::Error) -> Unavailable {
    if login::is_refusal(&error) {
        return Unavailable::login_refused(Backend::Orders, error);
    }
    Unavailable::new(Backend::Orders, error)
}
