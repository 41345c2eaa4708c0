//! The payment gateway as a process. Exit codes: 0 after a requested stop, 1 after a failure, 64
//! for bad usage or configuration.

mod arguments;
mod signals;

use std::process::ExitCode;

use anyhow::Context as _;
use payment_gateway::Config;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match arguments::config() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    // Without `log_internal_errors`, a line that cannot be written is dropped. With it, `eprintln!`
    // would panic.
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(arguments::log_filter())
        .with_writer(std::io::stderr);
    subscriber.log_internal_errors(false).init();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "payment-gateway failed");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = signals::shutdown()?;
    let listener = TcpListener::bind(config.bind)
        .await
        .with_context(|| format!("bind {}", config.bind))?;
    tracing::info!(address = %listener.local_addr()?, ledger = %config.ledger.display(), "listening");
    payment_gateway::serve(config, listener, shutdown).await
}
