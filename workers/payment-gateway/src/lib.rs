//! The simulated payment gateway: its own process with its own ledger, reached over HTTP. For local
//! and lab use only.
//!
//! The gateway replaces a card processor and fails on demand: the payment token of a charge chooses
//! the failure (`tokens.rs` has the list). The crate imports no code of the shop; they share the
//! protocol only.
//!
//! The path of a request: `api` (HTTP) -> `requests` (parsing) -> `clerk` (one thread that owns the
//! books and the disk) -> `books` (the decision) -> `ledger` (one line, synced) -> back. `webhook`
//! sends the webhooks.
//!
//! **Guarantees.** A response leaves only after its content is on the disk. All state is rebuilt
//! from the ledger file, including idempotency keys and attempts of failing tokens. Webhooks are
//! *not* guaranteed: those in flight when the process dies are lost. A client must therefore ask
//! (`GET /v1/charges?idempotency_key=`) and not only wait for webhooks.

mod api;
mod books;
mod card;
mod clerk;
mod config;
mod credential;
mod ledger;
mod problem;
mod requests;
pub mod signature;
mod tokens;
mod webhook;

use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use api::router;
pub use clerk::Desk;
pub use config::Config;

/// Maximum time that open requests may take after the signal to stop. Held requests end at once;
/// the others are `tok_slow`, a slow disk and slow clients.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(tokens::SLOW_ANSWER.as_secs() < DRAIN_MAX.as_secs());

/// Maximum time for webhooks after the last response. A longer time would only delay the process's
/// end.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Serves the gateway on `listener` until `shutdown`, then drains and returns `Ok`.
///
/// # Errors
/// Returns an error when the configuration or the ledger is unusable, or when the ledger cannot be
/// written any more. The process should then end, and a new one start from the file.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    let (ledger, books) = ledger::open(&config.ledger)?;
    let (notifier, courier) = match &config.webhook_url {
        Some(url) => {
            let (notifier, courier) = webhook::start(url, &config.webhook_secret)?;
            (Some(notifier), Some(courier))
        }
        None => (None, None),
    };
    let (desk, mut clerk) = clerk::start(books, ledger, notifier);

    let stop = shutdown.child_token();
    let server = axum::serve(
        listener,
        router(desk.clone(), &config.api_key, stop.clone()),
    )
    .with_graceful_shutdown(stop.clone().cancelled_owned())
    .into_future();
    let drain_deadline = async {
        stop.cancelled().await;
        sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = server => served.context("serve HTTP")?,
        () = drain_deadline => tracing::warn!("stopped with requests still open"),
        ended = &mut clerk => {
            // Ends held requests, whose clients would otherwise wait for a gateway without books.
            stop.cancel();
            ended.context("the clerk panicked")??;
            anyhow::bail!("the clerk left before the shutdown");
        }
    }

    desk.close().await;
    clerk.await.context("the clerk panicked")??;
    if let Some(mut courier) = courier
        && timeout(FAREWELL_MAX, &mut courier).await.is_err()
    {
        courier.abort();
        tracing::warn!("stopped with webhooks undelivered");
    }
    Ok(())
}
