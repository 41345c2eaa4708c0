//! Passwords of the database and the cache, read again when they were changed under a running
//! process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adapter_aws::Clients;
use adapter_postgres::{ConnectError, Login, PostgresStore};
use adapter_redis::RedisCarts;
use app::ports::{Backend, StoreError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// A rotation changes the database first and the secret a moment later: so long it is waited for.
const WITHIN: Duration = Duration::from_secs(4);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

type Reading<L> = Pin<Box<dyn Future<Output = Result<L, StoreError>> + Send>>;

/// Where the login of today is kept. Cheap to clone.
pub struct Renewal<L> {
    read: Arc<dyn Fn() -> Reading<L> + Send + Sync>,
    /// Held by whoever reads it now; the others find it done.
    one_at_a_time: Arc<Mutex<()>>,
}

impl<L> Clone for Renewal<L> {
    fn clone(&self) -> Self {
        Renewal {
            read: self.read.clone(),
            one_at_a_time: self.one_at_a_time.clone(),
        }
    }
}

/// Something that lets nobody in without a login, and takes a new one while it is used.
pub trait Guarded: Sync {
    type Login: Send;

    /// Whether a new connection is let in.
    fn check(&self) -> impl Future<Output = Check> + Send;

    /// New connections use this login from now on.
    fn set(&self, login: &Self::Login);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    LetIn,
    Refused,
    /// It cannot be asked.
    Away,
}

impl Guarded for PostgresStore {
    type Login = Login;

    async fn check(&self) -> Check {
        match self.check_login().await {
            Ok(()) => Check::LetIn,
            Err(ConnectError::LoginRefused { .. }) => Check::Refused,
            Err(ConnectError::BadUrl(_) | ConnectError::Unavailable(_)) => Check::Away,
        }
    }

    fn set(&self, login: &Login) {
        self.set_login(login);
    }
}

impl Guarded for RedisCarts {
    type Login = String;

    async fn check(&self) -> Check {
        match self.ping().await {
            Ok(()) => Check::LetIn,
            Err(StoreError::LoginRefused { .. }) => Check::Refused,
            Err(StoreError::Unavailable { .. }) => Check::Away,
        }
    }

    fn set(&self, password: &String) {
        if let Err(error) = self.set_password(password) {
            tracing::error!(error = %error, "The cache's password of today cannot be used");
        }
    }
}

/// As RDS writes it (Secrets Manager User Guide, "JSON structure of database credential secrets").
#[derive(Deserialize)]
struct DatabaseSecret {
    username: String,
    password: String,
}

/// As our template writes it.
#[derive(Deserialize)]
struct CacheSecret {
    token: String,
}

impl Renewal<Login> {
    /// From a secret that RDS keeps.
    pub fn of_database(clients: Clients, id: String) -> Self {
        Renewal::new(move || {
            let (clients, id) = (clients.clone(), id.clone());
            async move {
                let DatabaseSecret { username, password } = read(&clients, &id).await?;
                Ok(Login {
                    user: Some(username),
                    password: Some(password),
                    root_certificates: None,
                })
            }
        })
    }
}

impl Renewal<String> {
    /// From the secret that holds the cache's token.
    pub fn of_cache(clients: Clients, id: String) -> Self {
        Renewal::new(move || {
            let (clients, id) = (clients.clone(), id.clone());
            async move { read(&clients, &id).await.map(|CacheSecret { token }| token) }
        })
    }
}

async fn read<T: DeserializeOwned>(clients: &Clients, id: &str) -> Result<T, StoreError> {
    let text = adapter_aws::secret_text(clients, id).await?;
    // Not the parser's words: they may repeat a part of it.
    serde_json::from_str(&text)
        .map_err(|_| StoreError::new(Backend::Secrets, format!("{id} is no login")))
}

impl<L: Send + 'static> Renewal<L> {
    pub fn new<F>(read: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<L, StoreError>> + Send + 'static,
    {
        Renewal {
            read: Arc::new(move || Box::pin(read())),
            one_at_a_time: Arc::default(),
        }
    }

    /// After a refused login: true once new connections are let in, with the login of today.
    pub async fn renew(&self, guarded: &impl Guarded<Login = L>) -> bool {
        let _reading = self.one_at_a_time.lock().await;
        let begun = Instant::now();
        // Somebody may have renewed it while we waited.
        let mut check = guarded.check().await;
        while check == Check::Refused {
            if begun.elapsed() > WITHIN {
                tracing::error!("The login of today is refused");
                return false;
            }
            match (self.read)().await {
                Ok(login) => guarded.set(&login),
                Err(error) => tracing::warn!(error = %error, "The login of today cannot be read"),
            }
            check = guarded.check().await;
            match check {
                Check::LetIn => {
                    tracing::info!("A login was changed; new connections use the new one")
                }
                Check::Refused => sleep(LOOK_AGAIN_AFTER).await,
                Check::Away => {}
            }
        }
        check == Check::LetIn
    }
}
