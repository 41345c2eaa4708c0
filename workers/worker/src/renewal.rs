//! The database's password, read again when it was changed under a running process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adapter_aws::Clients;
use adapter_postgres::{ConnectError, Login, PostgresStore};
use app::ports::Unavailable;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// A rotation changes the database first and the secret a moment later: so long it is waited for.
const WITHIN: Duration = Duration::from_secs(4);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

type Reading = Pin<Box<dyn Future<Output = Result<Login, Unavailable>> + Send>>;

/// Where the login of today is kept. Cheap to clone.
#[derive(Clone)]
pub struct Renewal {
    read: Arc<dyn Fn() -> Reading + Send + Sync>,
    /// Held by whoever reads it now; the others find it done.
    one_at_a_time: Arc<Mutex<()>>,
}

/// As RDS writes it (Secrets Manager User Guide, "JSON structure of database credential secrets").
#[derive(Deserialize)]
struct Secret {
    username: String,
    password: String,
}

impl Renewal {
    pub fn new<F>(read: impl Fn() -> F + Send + Sync + 'static) -> Renewal
    where
        F: Future<Output = Result<Login, Unavailable>> + Send + 'static,
    {
        Renewal { read: Arc::new(move || Box::pin(read())), one_at_a_time: Arc::default() }
    }

    /// From a secret that RDS keeps.
    pub fn from_secret(clients: Clients, id: String) -> Renewal {
        Renewal::new(move || {
            let (clients, id) = (clients.clone(), id.clone());
            async move {
                let text = adapter_aws::secret_text(&clients, &id).await?;
                // Not the parser's words: they may repeat a part of it.
                let secret: Secret = serde_json::from_str(&text)
                    .map_err(|_| Unavailable::new("secrets", format!("{id} is no login of a database")))?;
                Ok(Login { user: Some(secret.username), password: Some(secret.password), root_certificates: None })
            }
        })
    }

    /// After a refused login: true once the database lets new connections in, with the login of today.
    pub async fn renew(&self, store: &PostgresStore) -> bool {
        let _reading = self.one_at_a_time.lock().await;
        let begun = Instant::now();
        loop {
            // Somebody may have renewed it while we waited.
            match store.check_login().await {
                Ok(()) => return true,
                Err(ConnectError::LoginRefused { .. }) => {}
                Err(ConnectError::Unavailable(_)) => return false,
            }
            match (self.read)().await {
                Ok(login) => store.set_login(&login),
                Err(error) => tracing::warn!(error = %error, "The login of today cannot be read"),
            }
            match store.check_login().await {
                Ok(()) => {
                    tracing::info!("The database's login was changed; new connections use the new one");
                    return true;
                }
                Err(error) if begun.elapsed() > WITHIN => {
                    tracing::error!(error = %error, "The database refuses the login of today");
                    return false;
                }
                Err(_) => sleep(LOOK_AGAIN_AFTER).await,
            }
        }
    }
}
