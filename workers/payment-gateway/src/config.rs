//! What the gateway needs to know before it opens a socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

#[derive(Clone)]
pub struct Config {
    /// Where the binary binds; [`crate::serve`] takes a listener that is bound already.
    pub bind: SocketAddr,
    /// The ledger file. One gateway at a time: it is locked while open.
    pub ledger: PathBuf,
    /// Where webhooks go; `None` sends none.
    pub webhook_url: Option<String>,
    /// The key of the webhooks' signatures; may be empty only without `webhook_url`.
    pub webhook_secret: String,
    /// What every call must carry as its bearer token; never empty.
    pub api_key: String,
}

impl Config {
    /// Everything that can be known to be wrong without opening anything.
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
