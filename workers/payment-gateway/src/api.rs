//! The HTTP routes. A handler parses the request, asks the clerk, and delays the response as the
//! payment token requires.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::books::{Charge, REFUNDED};
use crate::clerk::{Desk, Tried};
use crate::credential::{Credential, demand};
use crate::problem::Problem;
use crate::requests;
use crate::tokens::{DeclineReason, Delivery, Outcome, Token, Trouble};

/// Maximum size of a request body. A charge with four fields of at most 255 bytes is smaller, even
/// if every byte is escaped.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Maximum pause while a body arrives. An honest client sends it at once.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Maximum time that a request without a response is held open.
const HOLD_MAX: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Gateway {
    desk: Desk,
    credential: Credential,
    stop: CancellationToken,
}

/// Returns the routes of the gateway, which require the API key. `stop` ends the requests that are
/// being held.
pub fn router(desk: Desk, api_key: &str, stop: CancellationToken) -> Router {
    let credential = Credential::new(api_key);
    Router::new()
        .route("/v1/charges", post(charge).get(find_charge))
        .route("/v1/refunds", post(refund))
        .route("/v1/ledger", get(ledger))
        .route("/healthz", get(health))
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::no_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE_MAX))
        .layer(middleware::from_fn_with_state(credential.clone(), demand))
        .with_state(Gateway {
            desk,
            credential,
            stop,
        })
}

type Body = Result<Bytes, BytesRejection>;

async fn charge(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = requests::idempotency_key(&headers)?;
    let request = requests::charge(&whole(body)?)?;
    let token = Token::named(&request.token);
    let charge = match gateway.desk.charge(key, request).await? {
        Tried::Executed(charge) => charge,
        Tried::Withheld(Trouble::Fails) => return Err(Problem::failed()),
        Tried::Withheld(Trouble::Hangs) => return Err(gateway.hold().await),
    };
    match token.delivery {
        Delivery::AtOnce => {}
        Delivery::After(delay) => sleep(delay).await,
        Delivery::Never => return Err(gateway.hold().await),
    }
    Ok(charge_answer(&charge))
}

#[derive(Deserialize)]
struct Lookup {
    idempotency_key: String,
}

async fn find_charge(
    State(gateway): State<Gateway>,
    lookup: Result<Query<Lookup>, QueryRejection>,
) -> Result<Response, Problem> {
    let no_key = |_| Problem::key_missing().detailed("ask with ?idempotency_key=");
    let Query(lookup) = lookup.map_err(no_key)?;
    let key = requests::usable_key(&lookup.idempotency_key)?;
    let charge = gateway
        .desk
        .charge_of_key(key)
        .await?
        .ok_or_else(Problem::no_charge)?;
    Ok(charge_answer(&charge))
}

async fn refund(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = requests::idempotency_key(&headers)?;
    let request = requests::refund(&whole(body)?)?;
    let refund = gateway.desk.refund(key, request).await?;
    Ok(Json(RefundAnswer {
        refund_id: &refund.refund_id,
        status: REFUNDED,
    })
    .into_response())
}

async fn ledger(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    let entries = gateway.desk.movements().await?;
    Ok(Json(json!({ "entries": entries })).into_response())
}

async fn health(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    if gateway.desk.is_open() {
        Ok(
            Json(json!({ "status": "ok", "unauthorized": gateway.credential.refused() }))
                .into_response(),
        )
    } else {
        Err(Problem::unavailable())
    }
}

impl Gateway {
    /// Keeps the client waiting. Returns 504 after [`HOLD_MAX`], and at once when the gateway
    /// stops. A client that disconnects drops the request earlier.
    async fn hold(&self) -> Problem {
        tokio::select! {
            () = sleep(HOLD_MAX) => {}
            () = self.stop.cancelled() => {}
        }
        Problem::outcome_unknown()
    }
}

fn whole(body: Body) -> Result<Bytes, Problem> {
    body.map_err(|rejection| Problem::body_unread(rejection.status()))
}

/// The response to a charge, made of the recorded charge only: the same charge always has the same
/// bytes. Amount and currency let a client check what was charged.
#[derive(Serialize)]
struct ChargeAnswer<'a> {
    charge_id: &'a str,
    status: &'static str,
    reason: Option<DeclineReason>,
    amount_minor: i64,
    currency: &'a str,
}

#[derive(Serialize)]
struct RefundAnswer<'a> {
    refund_id: &'a str,
    status: &'static str,
}

fn charge_answer(charge: &Charge) -> Response {
    Json(ChargeAnswer {
        charge_id: &charge.charge_id,
        status: charge.outcome.status(),
        reason: match charge.outcome {
            Outcome::Captured => None,
            Outcome::Declined { reason } => Some(reason),
        },
        amount_minor: charge.request.amount_minor,
        currency: &charge.request.currency,
    })
    .into_response()
}
