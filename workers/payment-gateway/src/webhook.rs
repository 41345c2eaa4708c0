//! Sends webhooks in the background: at least once while the process lives, in no guaranteed order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::header::CONTENT_TYPE;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use uuid::Uuid;

use crate::books::{Charge, Refund};
use crate::signature;

/// Maximum of waiting webhooks. Further ones are dropped with a warning, so that a receiver that is
/// down does not use up the gateway's memory.
const QUEUE_MAX: usize = 1024;
/// Maximum of deliveries at the same time, so that one delivery in back-off does not block the
/// others.
const DELIVERIES_MAX: usize = 16;
/// Maximum attempts of a delivery. With the back-off below, the last attempt starts at least half a
/// minute after the first, which is longer than a restart of the receiver.
const TRIES_MAX: u32 = 10;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Time limit of an attempt. A receiver should acknowledge before it works.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One webhook. `event_id` is the same in every attempt.
#[derive(Debug, Serialize)]
pub struct Notice {
    event_id: Uuid,
    r#type: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    occurred_at: OffsetDateTime,
    data: NoticeData,
}

#[derive(Debug, Serialize)]
struct NoticeData {
    charge_id: String,
    reference: String,
    amount_minor: i64,
    currency: String,
    idempotency_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<String>,
}

/// The sending side of the queue of webhooks.
pub struct Notifier {
    queue: mpsc::Sender<Notice>,
}

/// Starts the delivery. The task ends when the notifier is dropped and every webhook is delivered
/// or given up.
///
/// # Errors
/// Returns an error when the HTTP client cannot be created.
pub fn start(url: &str, secret: &str) -> anyhow::Result<(Notifier, JoinHandle<()>)> {
    let courier = Arc::new(Courier {
        client: client()?,
        url: url.to_owned(),
        secret: secret.to_owned(),
    });
    let (queue, notices) = mpsc::channel(QUEUE_MAX);
    Ok((
        Notifier { queue },
        tokio::spawn(deliver_all(courier, notices)),
    ))
}

impl Notifier {
    /// Queues a webhook without waiting; drops it when the queue is full.
    pub fn notify(&self, notice: Notice) {
        if let Err(error) = self.queue.try_send(notice) {
            tracing::warn!(%error, "dropped a webhook");
        }
    }
}

impl Notice {
    /// Returns the webhook of a captured charge.
    pub fn captured(charge: &Charge) -> Notice {
        Notice {
            event_id: Uuid::now_v7(),
            r#type: "charge.captured",
            occurred_at: charge.at,
            data: NoticeData {
                charge_id: charge.charge_id.clone(),
                reference: charge.request.reference.clone(),
                amount_minor: charge.request.amount_minor,
                currency: charge.request.currency.clone(),
                idempotency_key: charge.idempotency_key.clone(),
                refund_id: None,
            },
        }
    }

    /// Returns the webhook of a refund, with the amount and the key of the refund.
    pub fn refunded(refund: &Refund) -> Notice {
        Notice {
            event_id: Uuid::now_v7(),
            r#type: "charge.refunded",
            occurred_at: refund.at,
            data: NoticeData {
                charge_id: refund.request.charge_id.clone(),
                reference: refund.reference.clone(),
                amount_minor: refund.request.amount_minor,
                currency: refund.currency.clone(),
                idempotency_key: refund.idempotency_key.clone(),
                refund_id: Some(refund.refund_id.clone()),
            },
        }
    }
}

struct Courier {
    client: reqwest::Client,
    url: String,
    secret: String,
}

async fn deliver_all(courier: Arc<Courier>, mut notices: mpsc::Receiver<Notice>) {
    let mut deliveries = JoinSet::new();
    while let Some(notice) = notices.recv().await {
        while deliveries.try_join_next().is_some() {}
        if deliveries.len() >= DELIVERIES_MAX {
            deliveries.join_next().await;
        }
        let courier = Arc::clone(&courier);
        deliveries.spawn(async move { courier.deliver(&notice).await });
    }
    while deliveries.join_next().await.is_some() {}
}

impl Courier {
    async fn deliver(&self, notice: &Notice) {
        let event_id = notice.event_id;
        let body = match serde_json::to_vec(notice) {
            Ok(body) => body,
            Err(error) => return tracing::error!(%event_id, %error, "a webhook cannot be encoded"),
        };
        let mut backoff = BACKOFF_FIRST;
        for number in 1..=TRIES_MAX {
            match self.post(&body).await {
                Ok(()) => return tracing::debug!(%event_id, tries = number, "webhook delivered"),
                Err(error) if number == TRIES_MAX => {
                    return tracing::warn!(%event_id, tries = number, %error, "webhook given up");
                }
                Err(error) => {
                    tracing::debug!(%event_id, tries = number, %error, "webhook not taken")
                }
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Sends one attempt with a new signature, because a late retry with the old one would look
    /// like a replay.
    async fn post(&self, body: &[u8]) -> anyhow::Result<()> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let answer = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(signature::HEADER, signature::sign(&self.secret, now, body))
            .body(body.to_vec())
            .send()
            .await?;
        // Redirects are not followed and count as failures.
        ensure!(
            answer.status().is_success(),
            "the receiver said {}",
            answer.status()
        );
        Ok(())
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    // reqwest panics without a provider, even for plain HTTP. An error means that the process has
    // already chosen one.
    if CryptoProvider::get_default().is_none() {
        let _ = aws_lc_rs::default_provider().install_default();
    }
    reqwest::Client::builder()
        .timeout(ANSWER_MAX)
        .redirect(reqwest::redirect::Policy::none())
        // The receiver is on this machine, so a proxy of the environment must not be used.
        .no_proxy()
        .build()
        .context("build the webhook client")
}
