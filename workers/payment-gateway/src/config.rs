//! The configuration of the gateway.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

/// The configuration of the gateway.
#[derive(Clone)]
pub struct Config {
    /// The address to which the binary binds. [`crate::serve`] takes a bound listener instead.
    pub bind: SocketAddr,
    /// The ledger file. It is locked while open, so only one gateway can use it.
    pub ledger: PathBuf,
    /// The URL for webhooks; `None` sends none.
    pub webhook_url: Option<String>,
    /// The key of webhook signatures; may be empty only without `webhook_url`.
    pub webhook_secret: String,
    /// The bearer token that every call must have; never empty.
    pub api_key: String,
}

impl Config {
    /// Checks everything that does not require opening a file or socket.
    ///
    /// # Errors
    /// Returns the reason when the API key is missing, the webhook URL is invalid, or the webhook
    /// secret is missing.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.api_key.is_empty(),
            "PAYMENT_API_KEY is not set: it is the bearer token that every call must carry"
        );
        let Some(url) = &self.webhook_url else {
            return Ok(());
        };
        let url = reqwest::Url::parse(url)
            .with_context(|| format!("the webhook URL {url:?} is not a URL"))?;
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "the webhook URL must be http or https"
        );
        ensure!(
            !self.webhook_secret.is_empty(),
            "a webhook URL needs PAYMENT_WEBHOOK_SECRET, to sign with"
        );
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bind", &self.bind)
            .field("ledger", &self.ledger)
            .field("webhook_url", &self.webhook_url)
            .field("webhook_secret", &"***")
            .field("api_key", &"***")
            .finish()
    }
}
