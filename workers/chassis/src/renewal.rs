//! Logins of servers that are read again when they were changed under a running process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use contract::cause::{BoxError, chain};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// Time limit of a renewal. A rotation changes the server first, and the secret a moment later.
const WITHIN: Duration = Duration::from_secs(4);
/// Pause before the login is read again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

type Reading<L> = Pin<Box<dyn Future<Output = Result<L, BoxError>> + Send>>;

/// Reads the current login from where it is kept. Cheap to clone.
pub struct Renewal<L> {
    read: Arc<dyn Fn() -> Reading<L> + Send + Sync>,
    /// Held by the task that renews; the others wait, and then find the new login.
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

/// A client of a server that requires a login. The login can change while the client is in use.
pub trait Guarded: Sync {
    type Login: Send;

    /// Tries to log in with a new connection.
    fn check(&self) -> impl Future<Output = Check> + Send;

    /// Sets the login of new connections.
    fn set(&self, login: &Self::Login);
}

/// The result of an attempt to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    LetIn,
    Refused,
    /// The server does not respond.
    Away,
}

impl<L: Send + 'static> Renewal<L> {
    /// Creates a renewal that reads the login with `read`.
    pub fn new<F>(read: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<L, BoxError>> + Send + 'static,
    {
        Renewal {
            read: Arc::new(move || Box::pin(read())),
            one_at_a_time: Arc::default(),
        }
    }

    /// Reads the login until the server accepts it. Call this after a refused login. Returns
    /// whether new connections are possible.
    pub async fn renew(&self, guarded: &impl Guarded<Login = L>) -> bool {
        let _reading = self.one_at_a_time.lock().await;
        let begun = Instant::now();
        // Another task may have renewed the login in the meantime.
        let mut check = guarded.check().await;
        while check == Check::Refused {
            if begun.elapsed() > WITHIN {
                tracing::error!("The present login is refused");
                return false;
            }
            match (self.read)().await {
                Ok(login) => guarded.set(&login),
                Err(error) => {
                    tracing::warn!(error = %chain(&*error), "The present login cannot be read")
                }
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
