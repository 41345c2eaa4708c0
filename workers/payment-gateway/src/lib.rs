//! The simulated card gateway: its own process, its own books, real HTTP. Local and lab only.
//!
//! It stands where a card processor would stand, and misbehaves on demand: the payment token of a
//! charge chooses what goes wrong (`tokens.rs` has the list). Nothing of the shop is imported here;
//! the protocol is the only thing shared.
//!
//! A request goes `api` (HTTP) -> `requests` (parsing) -> `clerk` (one thread, which alone owns the
//! books and the disk) -> `books` (decides, purely) -> `ledger` (one line, synced) -> back.
//! Webhooks leave from `webhook`.
//!
//! **What is promised.** An answer leaves only when what it says is on the disk. Everything the
//! gateway remembers, idempotency keys and half-tried tokens too, is rebuilt from the ledger file.
//! Webhooks are *not* promised: those in flight when the process dies are lost, so a client must
//! ask (`GET /v1/charges?idempotency_key=`), not only listen.

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

/// How long open requests may go on after the signal to stop. Held requests are released at once;
/// what remains is `tok_slow`, a slow disk and slow clients.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(tokens::SLOW_ANSWER.as_secs() < DRAIN_MAX.as_secs());

/// How long the last webhooks are tried after the last answer. Longer would only keep the
/// supervisor waiting.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Serves the gateway on `listener` until `shutdown`, then drains and returns `Ok`.
///
/// An error means that the configuration or the ledger is unusable, or that the ledger could no
/// longer be written: the process should end, and its successor start from what is on the disk.
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
            // Held requests would otherwise keep their clients waiting for a gateway that has no
            // books any more.
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
