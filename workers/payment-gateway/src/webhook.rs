//! Telling the shop what happened, in the background. At least once while the process lives, in no
//! promised order.

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

/// Notices waiting; past it they are dropped with a warning. A receiver that is down must not grow
/// the gateway.
const QUEUE_MAX: usize = 1024;
/// Deliveries at a time: enough that one in back-off does not stop the rest.
const DELIVERIES_MAX: usize = 16;
/// With the back-off below the last try is half a minute after the first: longer than a receiver's
/// restart.
const TRIES_MAX: u32 = 10;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A receiver is to acknowledge first and work later.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One webhook; `event_id` is the same on every try.
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

pub struct Notifier {
    queue: mpsc::Sender<Notice>,
}

/// Starts the courier. It ends when the notifier is gone and every notice is delivered or given up.
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
    /// Never waits.
    pub fn notify(&self, notice: Notice) {
        if let Err(error) = self.queue.try_send(notice) {
            tracing::warn!(%error, "dropped a webhook");
        }
    }
}

impl Notice {
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

    /// The amount and the key are the refund's.
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

    /// One try, signed anew: a late retry must not look like a replay.
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
        // A redirect is not taken either: it is not followed.
        ensure!(
            answer.status().is_success(),
            "the receiver said {}",
            answer.status()
        );
        Ok(())
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    // reqwest panics without a provider, even for plain http. An error says that the process has
    // chosen one.
    if CryptoProvider::get_default().is_none() {
        let _ = aws_lc_rs::default_provider().install_default();
    }
    reqwest::Client::builder()
        .timeout(ANSWER_MAX)
        .redirect(reqwest::redirect::Policy::none())
        // The receiver is on this machine; a proxy of the environment is not on the way.
        .no_proxy()
        .build()
        .context("build the webhook client")
}
