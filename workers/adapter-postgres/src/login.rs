//! Who we are to PostgreSQL, and what it says when it does not believe us.

use std::fmt;
use std::path::PathBuf;

use app::ports::Unavailable;
use sqlx::postgres::PgConnectOptions;

use crate::unavailable;

/// SQLSTATE `invalid_password` and `invalid_authorization_specification` (PostgreSQL documentation,
/// appendix A).
const REFUSALS: [&str; 2] = ["28P01", "28000"];

/// What a URL should not carry. What is left out comes from the URL.
#[derive(Clone, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
    /// The file of the roots that the server's certificate is checked against.
    pub root_certificates: Option<PathBuf>,
}

impl Login {
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

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Waiting does not help; a process that is started anew with the password of today is let in.
    #[error("PostgreSQL refuses the login of {user}: {why}")]
    LoginRefused { user: String, why: String },
    /// The URL says nothing that can be connected to.
    #[error("the database URL cannot be used: {0}")]
    BadUrl(String),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl ConnectError {
    pub(crate) fn of(user: &str, error: sqlx::Error) -> ConnectError {
        match error.as_database_error() {
            Some(said) if is_refusal(&error) => ConnectError::LoginRefused {
                user: user.to_owned(),
                why: said.message().to_owned(),
            },
            _ => ConnectError::Unavailable(unavailable(error)),
        }
    }
}

pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|said| said.code());
    code.is_some_and(|code| REFUSALS.contains(&code.as_ref()))
}
