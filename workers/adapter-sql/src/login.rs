//! The login to PostgreSQL, and the recognition of a refused login.

use std::fmt;
use std::path::PathBuf;

use app::ports::StoreError;
use sqlx::postgres::PgConnectOptions;

use crate::store_error;

/// SQLSTATE codes of a refused login: `invalid_password` and `invalid_authorization_specification`
/// (PostgreSQL documentation, appendix A).
const REFUSALS: [&str; 2] = ["28P01", "28000"];

/// Parts of a login that are not in the URL. A part that is `None` comes from the URL.
#[derive(Clone, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
    /// File with the root certificates against which the server's certificate is verified.
    pub root_certificates: Option<PathBuf>,
}

impl Login {
    /// Returns the connection options with this login.
    pub(crate) fn apply(&self, mut options: PgConnectOptions) -> PgConnectOptions {
        if let Some(user) = &self.user {
            options = options.username(user);
        }
        if let Some(password) = &self.password {
            options = options.password(password);
        }
        if let Some(file) = &self.root_certificates {
            options = options.ssl_root_cert(file);
        }
        options
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Login {
            user,
            password,
            root_certificates,
        } = self;
        let password = password.as_ref().map(|_| "***");
        f.debug_struct("Login")
            .field("user", user)
            .field("password", &password)
            .field("root_certificates", root_certificates)
            .finish()
    }
}

/// The reason why a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server refused the login. A retry does not help; a process that starts again with the
    /// current password succeeds.
    #[error("PostgreSQL refuses the login of {user}: {why}")]
    LoginRefused { user: String, why: String },
    /// The URL cannot be parsed.
    #[error("the database URL cannot be used: {0}")]
    BadUrl(String),
    /// The server is unreachable, or is a standby.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

impl ConnectError {
    /// Classifies an error of a connection attempt by `user`.
    pub(crate) fn of(user: &str, error: sqlx::Error) -> ConnectError {
        match error.as_database_error() {
            Some(said) if is_refusal(&error) => ConnectError::LoginRefused {
                user: user.to_owned(),
                why: said.message().to_owned(),
            },
            _ => ConnectError::Unavailable(store_error(error)),
        }
    }
}

/// Returns whether the server refused the login.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|said| said.code());
    code.is_some_and(|code| REFUSALS.contains(&code.as_ref()))
}
