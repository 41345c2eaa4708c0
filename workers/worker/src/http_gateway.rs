//! The payment gateway over HTTP, by the protocol in `docs/interfaces.md`.

use std::time::Duration;

use app::ports::gateway::{ChargeOutcome, Gateway, GatewayError};
use domain::ids::OrderId;
use domain::money::{Currency, Money};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;

/// Long enough for a slow bank, and three of them fit into a handler's time.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// An answer is a few hundred bytes; more is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone)]
pub struct HttpGateway {
    client: Client,
    url: String,
}

#[derive(Deserialize)]
struct ChargeAnswer {
    charge_id: String,
    status: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    amount_minor: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
}

impl HttpGateway {
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(ANSWER_WITHIN).connect_timeout(CONNECT_WITHIN).no_proxy().build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    /// The status and body. Everything after the request may have left is `Unknown`; a connection that was never made
    /// is `Unavailable`.
    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), GatewayError> {
        let mut response = request.send().await.map_err(|error| {
            if error.is_connect() {
                GatewayError::Unavailable(format!("{error:?}"))
            } else {
                GatewayError::Unknown(format!("{error:?}"))
            }
        })?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| GatewayError::Unknown(error.to_string()))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(GatewayError::Unknown("the answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            // It may have failed before or after it did the work.
            status if status.is_server_error() => Err(GatewayError::Unknown(format!("answered {status}"))),
            StatusCode::TOO_MANY_REQUESTS => Err(GatewayError::Unavailable(format!("answered {status}"))),
            status => Ok((status, body)),
        }
    }
}

impl Gateway for HttpGateway {
    async fn charge(
        &self,
        key: &str,
        order_id: OrderId,
        amount: Money,
        token: &str,
    ) -> Result<ChargeOutcome, GatewayError> {
        let body = json!({
            "amount_minor": amount.minor,
            "currency": amount.currency.code(),
            "token": token,
            "reference": order_id.to_string(),
        });
        let request = self.client.post(format!("{}/v1/charges", self.url)).header("Idempotency-Key", key).json(&body);
        let (status, body) = self.ask(request).await?;
        if status != StatusCode::OK {
            return Err(refused(status, &body));
        }
        outcome(&body, Some(amount))
    }

    async fn charge_by_key(&self, key: &str) -> Result<Option<ChargeOutcome>, GatewayError> {
        let request = self.client.get(format!("{}/v1/charges", self.url)).query(&[("idempotency_key", key)]);
        let (status, body) = self.ask(request).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => outcome(&body, None).map(Some),
            status => Err(refused(status, &body)),
        }
    }

    async fn refund(&self, key: &str, charge_id: &str, amount: Money) -> Result<(), GatewayError> {
        let body = json!({ "charge_id": charge_id, "amount_minor": amount.minor });
        let request = self.client.post(format!("{}/v1/refunds", self.url)).header("Idempotency-Key", key).json(&body);
        let (status, body) = self.ask(request).await?;
        if status == StatusCode::OK { Ok(()) } else { Err(refused(status, &body)) }
    }
}

/// The gateway's answer is input like any other: read strictly. `asked` stands in where it does not repeat the amount.
fn outcome(body: &[u8], asked: Option<Money>) -> Result<ChargeOutcome, GatewayError> {
    let unreadable = |why: String| GatewayError::Unknown(format!("the answer cannot be read: {why}"));
    let answer: ChargeAnswer = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    let said = match (answer.amount_minor, answer.currency.as_deref()) {
        (Some(minor), Some(code)) => Currency::from_code(code).map(|currency| Money::new(minor, currency)),
        _ => asked,
    };
    match answer.status.as_str() {
        "captured" => {
            let amount = said.ok_or_else(|| unreadable("no amount".to_owned()))?;
            Ok(ChargeOutcome::Captured { charge_id: answer.charge_id, amount })
        }
        "declined" => {
            let reason = answer.reason.unwrap_or_else(|| "declined".to_owned());
            Ok(ChargeOutcome::Declined { charge_id: answer.charge_id, reason })
        }
        other => Err(unreadable(format!("status {other:?}"))),
    }
}

fn refused(status: StatusCode, body: &[u8]) -> GatewayError {
    let body: String = String::from_utf8_lossy(body).chars().take(300).collect();
    GatewayError::Refused(format!("answered {status}: {body}"))
}
