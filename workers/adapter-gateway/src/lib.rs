//! The payment gateway over HTTP, by the protocol in `docs/interfaces.md`.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use app::ports::gateway::{
    ChargeOutcome, Gateway, GatewayBooks, GatewayError, GatewayMovement, MovementKind,
};
use chassis::Breaker;
use chassis::config::Secret;
use chassis::proxy::client_of;
use contract::cause::{BoxError, Cause, chain};
use contract::queue::PAYMENTS;
use domain::ids::OrderId;
use domain::money::{Currency, Money};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;

/// Time limit of a call. Enough for a slow bank, and three calls fit into the time of a handler.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
const _: () = assert!(
    3 * ANSWER_WITHIN.as_millis() < PAYMENTS.handler_timeout.as_millis(),
    "three calls (look up, charge, refund) outlive the handler"
);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The longest response to a charge or refund. Responses have a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest response with a ledger: about a million lines.
const LEDGER_BYTES_MAX: usize = 256 * 1024 * 1024;
const LEDGER_WITHIN: Duration = Duration::from_secs(60);

/// A client of the payment gateway. Clones share the API key.
#[derive(Clone)]
pub struct HttpGateway {
    client: Client,
    url: String,
    /// The `Authorization` header of every call; all clones change together when the API key is
    /// rotated.
    authorization: Arc<RwLock<HeaderValue>>,
    breaker: Option<Breaker>,
}

#[derive(Deserialize)]
struct RefundAnswer {
    status: RefundStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RefundStatus {
    Refunded,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChargeStatus {
    Captured,
    Declined,
}

#[derive(Deserialize)]
struct ChargeAnswer {
    charge_id: String,
    status: ChargeStatus,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    amount_minor: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
}

impl HttpGateway {
    /// Returns a client of the gateway at `url` that authenticates itself by `api_key`.
    ///
    /// # Errors
    /// When the HTTP client cannot be created, or the key is not a valid header value.
    pub fn new(url: &str, api_key: &Secret<String>) -> anyhow::Result<Self> {
        let client = client_of(url)
            .timeout(ANSWER_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .build()?;
        let authorization = Arc::new(RwLock::new(bearer(api_key)?));
        Ok(Self {
            client,
            url: url.trim_end_matches('/').to_owned(),
            authorization,
            breaker: None,
        })
    }

    /// Uses another API key from now on, here and in all clones.
    ///
    /// # Errors
    /// When the key is not a valid header value. The last key then stays in use.
    pub fn use_api_key(&self, api_key: &Secret<String>) -> anyhow::Result<()> {
        let authorization = bearer(api_key)?;
        *self
            .authorization
            .write()
            .unwrap_or_else(PoisonError::into_inner) = authorization;
        Ok(())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let authorization = self
            .authorization
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.client
            .request(method, format!("{}{path}", self.url))
            .header(AUTHORIZATION, authorization)
    }

    /// Reports to the breaker whether each call was answered.
    #[must_use]
    pub fn reporting_to(self, breaker: Option<&Breaker>) -> Self {
        Self {
            breaker: breaker.cloned(),
            ..self
        }
    }

    /// Returns whether the gateway answers, by a request for a charge that does not exist.
    pub async fn answers(&self) -> bool {
        let nothing = Money::zero(Currency::Usd);
        matches!(
            self.charge_by_key("probe", nothing).await,
            Ok(_) | Err(GatewayError::Refused(_))
        )
    }

    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), GatewayError> {
        let answer = self.ask_for_up_to(ANSWER_BYTES_MAX, request).await;
        match (&self.breaker, &answer) {
            (Some(breaker), Ok(_)) => breaker.success(),
            (Some(breaker), Err(error)) => breaker.failure(&chain(error)),
            (None, _) => {}
        }
        answer
    }

    /// Sends a request and returns status and body. An error is `Unavailable` if the request was
    /// not sent, and `Unknown` if it may have been.
    async fn ask_for_up_to(
        &self,
        bytes_max: usize,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>), GatewayError> {
        let mut response = request.send().await.map_err(|error| {
            // A request that could not be built was not sent either.
            if error.is_connect() || error.is_builder() {
                GatewayError::Unavailable(Cause::new(error))
            } else {
                unknown(error)
            }
        })?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unknown)? {
            if body.len() + chunk.len() > bytes_max {
                return Err(unknown("the answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            // The gateway may have failed before or after it executed the request.
            status if status.is_server_error() => Err(unknown(format!("answered {status}"))),
            // Another request with the same key is running, or the gateway timed out.
            StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => {
                Err(unknown(format!("answered {status}")))
            }
            // The gateway did not execute the request: credentials are being rotated, or the rate
            // is limited.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS => Err(GatewayError::Unavailable(Cause::new(format!(
                "answered {status}"
            )))),
            status => Ok((status, body)),
        }
    }
}

/// Marked as sensitive, so that its `Debug` hides the key.
fn bearer(api_key: &Secret<String>) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", api_key.expose())).context(
        "PAYMENT_API_KEY cannot be sent in a header: it must be visible ASCII characters",
    )?;
    value.set_sensitive(true);
    Ok(value)
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
        let request = self
            .request(Method::POST, "/v1/charges")
            .header("Idempotency-Key", key)
            .json(&body);
        outcome(&accepted(self.ask(request).await?)?, amount)
    }

    async fn charge_by_key(
        &self,
        key: &str,
        amount: Money,
    ) -> Result<Option<ChargeOutcome>, GatewayError> {
        let request = self
            .request(Method::GET, "/v1/charges")
            .query(&[("idempotency_key", key)]);
        match self.ask(request).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            answer => outcome(&accepted(answer)?, amount).map(Some),
        }
    }

    async fn refund(&self, key: &str, charge_id: &str, amount: Money) -> Result<(), GatewayError> {
        let body = json!({ "charge_id": charge_id, "amount_minor": amount.minor });
        let request = self
            .request(Method::POST, "/v1/refunds")
            .header("Idempotency-Key", key)
            .json(&body);
        refunded(&accepted(self.ask(request).await?)?)
    }
}

#[derive(Deserialize)]
struct LedgerAnswer {
    entries: Vec<LedgerLine>,
}

#[derive(Deserialize)]
struct LedgerLine {
    charge_id: String,
    reference: String,
    amount_minor: i64,
    currency: String,
    status: LedgerStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum LedgerStatus {
    Captured,
    Declined,
    Refunded,
}

impl GatewayBooks for HttpGateway {
    async fn movements(&self) -> Result<Vec<GatewayMovement>, GatewayError> {
        let request = self
            .request(Method::GET, "/v1/ledger")
            .timeout(LEDGER_WITHIN);
        let answer = self.ask_for_up_to(LEDGER_BYTES_MAX, request).await?;
        ledger(&accepted(answer)?)
    }
}

/// Parses a ledger. Fails if any line is invalid, because a missing line would hide a difference.
fn ledger(body: &[u8]) -> Result<Vec<GatewayMovement>, GatewayError> {
    let answer: LedgerAnswer = serde_json::from_slice(body).map_err(unreadable)?;
    let movement = |line: LedgerLine| {
        let kind = match line.status {
            LedgerStatus::Captured => MovementKind::Captured,
            LedgerStatus::Declined => MovementKind::Declined,
            LedgerStatus::Refunded => MovementKind::Refunded,
        };
        let currency = Currency::from_code(&line.currency);
        let currency =
            currency.ok_or_else(|| unreadable(format!("currency {:?}", line.currency)))?;
        let amount = Money::new(line.amount_minor, currency);
        Ok(GatewayMovement {
            kind,
            charge_id: line.charge_id,
            reference: line.reference,
            amount,
        })
    };
    answer.entries.into_iter().map(movement).collect()
}

fn unknown(why: impl Into<BoxError>) -> GatewayError {
    GatewayError::Unknown(Cause::new(why))
}

fn unreadable(why: impl Into<BoxError>) -> GatewayError {
    unknown(Cause::about("the answer cannot be read", why))
}

/// Checks the response to a refund: only the status `refunded` confirms it.
fn refunded(body: &[u8]) -> Result<(), GatewayError> {
    let RefundAnswer {
        status: RefundStatus::Refunded,
    } = serde_json::from_slice(body).map_err(unreadable)?;
    Ok(())
}

/// Parses the response to a charge strictly. Amount and currency are those of `asked` if the
/// response does not contain them.
fn outcome(body: &[u8], asked: Money) -> Result<ChargeOutcome, GatewayError> {
    let answer: ChargeAnswer = serde_json::from_slice(body).map_err(unreadable)?;
    let currency = match answer.currency.as_deref() {
        Some(code) => {
            Currency::from_code(code).ok_or_else(|| unreadable(format!("currency {code:?}")))?
        }
        None => asked.currency,
    };
    let amount = Money::new(answer.amount_minor.unwrap_or(asked.minor), currency);
    Ok(match answer.status {
        ChargeStatus::Captured => ChargeOutcome::Captured {
            charge_id: answer.charge_id,
            amount,
        },
        ChargeStatus::Declined => ChargeOutcome::Declined {
            charge_id: answer.charge_id,
            reason: answer.reason.unwrap_or_else(|| "declined".to_owned()),
        },
    })
}

/// Returns the body of an answer with the status 200.
fn accepted((status, body): (StatusCode, Vec<u8>)) -> Result<Vec<u8>, GatewayError> {
    if status == StatusCode::OK {
        return Ok(body);
    }
    let body: String = String::from_utf8_lossy(&body).chars().take(300).collect();
    let why = format!("answered {status}: {body}");
    Err(GatewayError::Refused(Cause::new(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Money = Money {
        minor: 457,
        currency: Currency::Usd,
    };

    #[test]
    fn a_response_of_the_published_protocol_is_sufficient() {
        let body = br#"{ "charge_id": "ch_1", "status": "captured" }"#;
        assert_eq!(
            outcome(body, DUE),
            Ok(ChargeOutcome::Captured {
                charge_id: "ch_1".to_owned(),
                amount: DUE
            })
        );
    }

    #[test]
    fn an_amount_or_currency_in_the_response_applies() {
        let amount = |body: &str| match outcome(body.as_bytes(), DUE) {
            Ok(ChargeOutcome::Captured { amount, .. }) => amount,
            other => panic!("{other:?}"),
        };
        let more = amount(r#"{ "charge_id": "ch_1", "status": "captured", "amount_minor": 900 }"#);
        assert_eq!(more, Money::new(900, Currency::Usd));
        let strange = br#"{ "charge_id": "ch_1", "status": "captured", "currency": "XXX" }"#;
        assert!(matches!(
            outcome(strange, DUE),
            Err(GatewayError::Unknown(_))
        ));
    }

    #[test]
    fn a_ledger_is_read_whole_or_not_at_all() {
        let line = |status: &str| {
            format!(
                r#"{{ "kind": "charge", "charge_id": "ch_1", "reference": "o-1", "amount_minor": 457, "currency": "USD",
                    "status": "{status}", "at": "2026-03-01T08:00:00Z" }}"#
            )
        };
        let of = |status: &str| {
            ledger(
                format!(
                    r#"{{ "entries": [{}, {}] }}"#,
                    line("captured"),
                    line(status)
                )
                .as_bytes(),
            )
        };
        let read = of("refunded").expect("readable");
        assert_eq!(
            read.iter().map(|line| line.kind).collect::<Vec<_>>(),
            [MovementKind::Captured, MovementKind::Refunded]
        );
        assert_eq!((read[0].amount, read[0].reference.as_str()), (DUE, "o-1"));
        assert!(matches!(of("disputed"), Err(GatewayError::Unknown(_))));
    }

    #[test]
    fn a_refund_is_done_when_the_gateway_says_so() {
        assert_eq!(
            refunded(br#"{ "refund_id": "re_1", "status": "refunded" }"#),
            Ok(())
        );
        for body in [
            &br#"{ "refund_id": "re_1", "status": "pending" }"#[..],
            br#"{ "refund_id": "re_1" }"#,
            b"",
            b"[]",
        ] {
            assert!(
                matches!(refunded(body), Err(GatewayError::Unknown(_))),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }
}
