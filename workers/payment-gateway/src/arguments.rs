//! The binary's flags and environment, checked whole before any socket opens.

use std::env::{VarError, var};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use payment_gateway::Config;

/// The secret has no flag: a command line is there for everyone on the machine to read.
const SECRET_VARIABLE: &str = "PAYMENT_WEBHOOK_SECRET";

/// The simulated card gateway, for local and lab use. Webhooks are signed with PAYMENT_WEBHOOK_SECRET.
#[derive(Parser)]
#[command(name = "payment-gateway", version)]
pub struct Arguments {
    /// Where to listen
    #[arg(long, env = "PAYMENT_BIND", default_value = "127.0.0.1:8090")]
    bind: SocketAddr,
    /// The ledger file, made if it is not there
    #[arg(long, env = "PAYMENT_LEDGER", default_value = "payment-ledger.jsonl")]
    ledger: PathBuf,
    /// Where webhooks are sent; without it none are
    #[arg(long, env = "PAYMENT_WEBHOOK_URL")]
    webhook_url: Option<String>,
}

impl Arguments {
    pub fn into_config(self) -> anyhow::Result<Config> {
        let webhook_secret = match var(SECRET_VARIABLE) {
            Ok(secret) => secret,
            Err(VarError::NotPresent) => String::new(),
            Err(VarError::NotUnicode(_)) => bail!("{SECRET_VARIABLE} is not UTF-8"),
        };
        let config = Config {
            bind: self.bind,
            ledger: self.ledger,
            // A template writes an empty variable for "none".
            webhook_url: self.webhook_url.filter(|url| !url.is_empty()),
            webhook_secret,
        };
        config.check()?;
        Ok(config)
    }
}
