//! Orders in PostgreSQL. Changes of messages that are handled together are one statement.

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

use app::ports::Unavailable;
use contract::queue::HANDLER_TIMEOUT_MIN;
pub use login::{ConnectError, Login};
pub use orders::{NUMBERS, list_of_shops};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Waiting for a free connection; longer, and a request would rather be turned away.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(3);
/// A statement that takes longer is stuck behind a lock.
const STATEMENT_WITHIN: Duration = Duration::from_secs(5);
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
    /// Hears of new outbox rows; made when it is first needed, since only the relay needs it.
    listener: Arc<Mutex<Option<PgListener>>>,
    /// Names this store to others that claim outbox rows.
    claimant: Uuid,
    numbers: Arc<Mutex<orders::Numbers>>,
}

impl PostgresStore {
    /// With the login that the URL carries.
    ///
    /// # Errors
    /// When the server cannot be reached now, or refuses us. Later, connections are made again as
    /// they are needed.
    pub async fn connect(url: &str, connections_max: u32) -> Result<PostgresStore, ConnectError> {
        PostgresStore::connect_as(url, &Login::default(), connections_max).await
    }

    /// With a login that the URL does not carry.
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

    /// New connections use this login from now on; those that are open go on until they are used
    /// up.
    pub fn set_login(&self, login: &Login) {
        let options = self.pool.connect_options().as_ref().clone();
        self.pool.set_connect_options(login.apply(options));
    }

    /// Whether a new connection would be let in: those that are open go on when a password is
    /// changed.
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

/// A standby, or a server that has not caught up with its log, answers questions as of some time
/// ago: an order that was accepted is not there, and its message would be parked.
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

/// As PostgreSQL takes a time without a unit.
fn in_milliseconds((setting, time): (&'static str, Duration)) -> (&'static str, u128) {
    (setting, time.as_millis())
}

/// What is unavailable when the database refuses our login: nothing was done, and another login may
/// help.
pub const LOGIN: &str = "the database's login";

fn unavailable(error: sqlx::Error) -> Unavailable {
    Unavailable::new(
        if login::is_refusal(&error) {
            LOGIN
        } else {
            "orders"
        },
        error,
    )
}
