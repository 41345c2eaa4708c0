//! The card gateway as a process. Exit: 0 stopped when asked to, 1 failed, 64 bad usage or configuration.

mod arguments;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use payment_gateway::Config;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::arguments::Arguments;

const EX_USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Arguments::try_parse() {
        Ok(arguments) => arguments.into_config(),
        Err(error) => {
            // Help and version are not errors, and go to stdout.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            eprintln!("payment-gateway: {error:#}");
            return ExitCode::from(EX_USAGE);
        }
    };
    let filter = EnvFilter::try_from_env("HAVEN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "payment-gateway failed");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.bind).await.with_context(|| format!("bind {}", config.bind))?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let on_signal = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
        on_signal.cancel();
    });
    tracing::info!(address = %listener.local_addr()?, ledger = %config.ledger.display(), "listening");
    payment_gateway::serve(config, listener, shutdown).await
}
