//! `POST /webhooks/payment`: events that the payment gateway sends.
//!
//! An event is only logged. The payment worker asks the gateway for the result of a charge until it
//! gets one. A webhook that is lost, duplicated or late therefore changes nothing. The signature is
//! checked nevertheless.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use contract::route::RouteId;
use domain::access::{Action, Actor, Resource, may};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::ports::{Ports, SecurityEvent};
use crate::problem::Problem;
use crate::signature;
use crate::state::App;
use crate::text::header_text;

/// An event of the payment gateway. Its other members are ignored.
#[derive(Deserialize, ToSchema)]
pub struct PaymentEvent {
    event_id: String,
    #[schema(example = "charge.captured")]
    r#type: String,
}

/// Receives a signed event of the payment gateway.
#[utoipa::path(
    post,
    path = RouteId::ReceivePaymentEvent.path(),
    params(("Payment-Signature" = String, Header,
        description = "t=<unix seconds>,v1=<hex HMAC-SHA256(secret, t + \".\" + body)>")),
    request_body = PaymentEvent,
    responses((status = 204, description = "The event was received"))
)]
pub async fn payment<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let signed = header_text(&headers, signature::HEADER).unwrap_or_default();
    let now = app.now().unix_timestamp();
    let verified = |secret: &str| signature::verify(secret, signed, &body, now).then_some(());
    let sender = app
        .settings
        .webhook_secret
        .find(verified)
        .map_or(Actor::Visitor, |()| Actor::Gateway);
    if may(sender, Action::ReceiveWebhook, Resource::Shop).is_err() {
        let why = "is missing, invalid, or older than five minutes";
        return Err(
            Problem::malformed(signature::HEADER, why).noting(SecurityEvent::WebhookRefused)
        );
    }
    let event: PaymentEvent = serde_json::from_slice(&body)
        .map_err(|error| Problem::malformed("body", error.to_string()))?;
    let (event_id, kind) = (event.event_id, event.r#type);
    tracing::info!(event_id, kind, "Received the payment event `{kind}`");
    Ok(StatusCode::NO_CONTENT)
}
