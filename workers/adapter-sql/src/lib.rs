//! Stores orders in PostgreSQL, or in one SQLite file that several processes share. `haven up` uses
//! SQLite when it runs without a database server.
//!
//! Each statement is written once, in PostgreSQL's SQL ([`query`]). Changes of messages that are
//! handled together share one transaction: in PostgreSQL one statement with a part for each table,
//! because a round trip and a commit cost more than the rows; in SQLite the same parts one after
//! the other, because there they cost no round trip. The modules [`postgres`] and [`sqlite`] have
//! what else differs (ADR 0017).

// First, because macros are known only below their place.
#[macro_use]
mod row;

mod access;
mod apply;
mod fulfilment;
mod journey;
mod locations;
mod login;
mod notices;
mod orders;
mod payments;
mod place;
mod postgres;
mod query;
mod rows;
mod sqlite;
mod stock_watch;
mod values;

use std::sync::Arc;

use app::ports::{Backend, StoreError};
use chassis::Breaker;
use chassis::renewal::{Check, Guarded, Renewal};
pub use login::{ConnectError, Login};
pub use orders::NUMBERS;
pub use postgres::list_of_shops;
use tokio::sync::Mutex;
use uuid::Uuid;

/// Connections of one process to PostgreSQL. Nine processes with eight each stay well below the
/// server's default of 100.
const CONNECTIONS_MAX: u32 = 8;

/// A store on a migrated database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Database,
    /// Identifies this store as the owner of claimed outbox rows.
    claimant: Uuid,
    numbers: Arc<Mutex<orders::Numbers>>,
    breaker: Option<Breaker>,
    renewal: Option<Renewal<Login>>,
}

#[derive(Clone)]
enum Database {
    Postgres(postgres::Server),
    Sqlite(sqlite::File),
}

impl Store {
    /// Connects to the database at `url`. PostgreSQL uses the parts of `login` instead of those in
    /// the URL; SQLite has no login.
    ///
    /// # Errors
    /// Returns an error if the URL is not valid, or if the server is unreachable, refuses the
    /// login, or is a standby, or if the file does not exist or is not a SQLite file. A connection
    /// that is lost later is replaced when it is needed.
    pub async fn connect(url: &str, login: &Login) -> Result<Store, ConnectError> {
        Store::connect_with(url, login, CONNECTIONS_MAX).await
    }

    /// Connects with a maximum number of connections, which SQLite ignores.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn connect_with(
        url: &str,
        login: &Login,
        connections_max: u32,
    ) -> Result<Store, ConnectError> {
        let database = if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Database::Postgres(postgres::Server::connect(url, login, connections_max).await?)
        } else if url.starts_with("sqlite:") {
            Database::Sqlite(sqlite::File::open(url).await.map_err(store_error)?)
        } else {
            return Err(ConnectError::BadUrl(
                "it must begin with postgres:// or sqlite://".to_owned(),
            ));
        };
        Ok(Store {
            database,
            claimant: Uuid::now_v7(),
            numbers: Arc::default(),
            breaker: None,
            renewal: None,
        })
    }

    /// Reports the outcome of each call to the breaker.
    #[must_use]
    pub fn reporting_to(self, breaker: Option<&Breaker>) -> Store {
        Store {
            breaker: breaker.cloned(),
            ..self
        }
    }

    /// Reads the login again when the server refuses it, and repeats the call with the new one. A
    /// refused call had no effect.
    #[must_use]
    pub fn renewing(self, renewal: Option<Renewal<Login>>) -> Store {
        Store { renewal, ..self }
    }

    /// Opens and closes a new connection to check the login, because open connections continue to
    /// work after a change of the password. A refused login is renewed first, if possible. A SQLite
    /// file has no login.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn check_login(&self) -> Result<(), ConnectError> {
        let refused = match self.try_login().await {
            Err(refused @ ConnectError::LoginRefused { .. }) => refused,
            otherwise => return otherwise,
        };
        if self.renew().await {
            Ok(())
        } else {
            Err(refused)
        }
    }

    async fn try_login(&self) -> Result<(), ConnectError> {
        match &self.database {
            Database::Postgres(server) => server.try_login().await,
            Database::Sqlite(_) => Ok(()),
        }
    }

    async fn renew(&self) -> bool {
        match &self.renewal {
            Some(renewal) => renewal.renew(self).await,
            None => false,
        }
    }

    /// Returns whether the error was a refused login, and new connections are possible now.
    async fn renewed_after(&self, error: &sqlx::Error) -> bool {
        login::is_refusal(error) && self.renew().await
    }
}

impl Guarded for Store {
    type Login = Login;

    async fn check(&self) -> Check {
        match self.try_login().await {
            Ok(()) => Check::LetIn,
            Err(ConnectError::LoginRefused { .. }) => Check::Refused,
            Err(ConnectError::BadUrl(_) | ConnectError::Unavailable(_)) => Check::Away,
        }
    }

    fn set(&self, login: &Login) {
        if let Database::Postgres(server) = &self.database {
            server.set_login(login);
        }
    }
}

fn store_error(error: sqlx::Error) -> StoreError {
    if login::is_refusal(&error) {
        return StoreError::login_refused(Backend::Orders, error);
    }
    StoreError::new(Backend::Orders, error)
}
