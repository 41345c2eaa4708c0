//! `POST /webhooks/payment`: events that the payment gateway sends.
//!
//! An event is only logged. The payment worker asks the gateway for the result of a charge until it
//! gets one. A webhook that is lost, duplicated or late therefore changes nothing. The signature is
//! checked nevertheless.

use app::ports::Source as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::access::{Action, Actor, Resource, may};
use serde_json::Value;

use crate::problem::Problem;
use crate::security::SecurityEvent;
use crate::{App, Ports, signature};

/// Verifies and logs an event of the payment gateway.
pub async fn payment<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let signed = headers
        .get(signature::HEADER)
        .and_then(|header| header.to_str().ok())
        .unwrap_or_default();
    let now = app.ports.source().now().unix_timestamp();
    let verified = |secret: &str| signature::verify(secret, signed, &body, now).then_some(());
    let sender = app
        .settings
        .webhook_secret
        .find(verified)
        .map_or(Actor::Visitor, |()| Actor::Gateway);
    if may(sender, Action::ReceiveWebhook, Resource::Shop).is_err() {
        let why = "is missing, not the gateway's, or older than five minutes";
        return Err(
            Problem::malformed(signature::HEADER, why).noting(SecurityEvent::WebhookRefused)
        );
    }
    let event: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::malformed("body", error.to_string()))?;
    let text = |field: &str| event.get(field).and_then(Value::as_str);
    let (Some(event_id), Some(kind)) = (text("event_id"), text("type")) else {
        return Err(Problem::malformed("body", "must have event_id and type"));
    };
    tracing::info!(event_id, kind, "The gateway says `{kind}`");
    Ok(StatusCode::NO_CONTENT)
}
