//! Reading what another version of the program wrote. The only place that knows more than one
//! version.
//!
//! During a deployment both versions run, messages wait in queues for days, and parked ones for two
//! weeks. So a consumer reads the version that producers write today and the one before it, which
//! is lifted to today's before anything else sees it. A kind's version is raised in two releases:
//! the first reads it, the second writes it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Envelope;
use crate::event::EventKind;

/// Why a message body cannot be read. Trying again would not help: it is parked.
#[derive(Debug, PartialEq, Eq)]
pub enum Undecodable {
    NotAnEnvelope(String),
    UnknownKind(String),
    UnknownSchema { kind: EventKind, schema: u16 },
}

impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Undecodable::NotAnEnvelope(why) => write!(f, "not an envelope: {why}"),
            Undecodable::UnknownKind(kind) => {
                write!(f, "no message of type {kind:?} is known here")
            }
            Undecodable::UnknownSchema { kind, schema } => {
                let known = match kind.schema() {
                    1 => "only 1 is".to_owned(),
                    today => format!("{} and {today} are", today - 1),
                };
                write!(
                    f,
                    "schema version {schema} of {} is not known here: {known}",
                    kind.name()
                )
            }
        }
    }
}

impl std::error::Error for Undecodable {}

impl Envelope {
    /// Reads a message body, raw as SQS delivers it or inside an EventBridge event, of today's
    /// version or the one before.
    ///
    /// # Errors
    /// `Undecodable` with what was expected; the sender must be mended, not the delivery.
    pub fn decode(body: &str) -> Result<Envelope, Undecodable> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "type")]
            kind: String,
            schema: u16,
        }
        let not_an_envelope =
            |error: serde_json::Error| Undecodable::NotAnEnvelope(error.to_string());
        // Kind and version first: a body of another version need not fit these types at all.
        let Head { kind, schema } = serde_json::from_str(body).map_err(not_an_envelope)?;
        let kind = EventKind::from_name(&kind).ok_or(Undecodable::UnknownKind(kind))?;
        if schema == kind.schema() {
            return serde_json::from_str(body).map_err(not_an_envelope);
        }
        if schema == 0 || schema != kind.schema() - 1 {
            return Err(Undecodable::UnknownSchema { kind, schema });
        }
        let mut older: Value = serde_json::from_str(body).map_err(not_an_envelope)?;
        if let Some(older) = older.as_object_mut() {
            lift(kind, older);
        }
        serde_json::from_value(older).map_err(not_an_envelope)
    }
}

/// Makes today's body of the one before. Whatever is missing of the older one stays missing, and is
/// then said.
fn lift(kind: EventKind, envelope: &mut Map<String, Value>) {
    envelope.insert("schema".to_owned(), json!(kind.schema()));
    let Some(data) = envelope.get_mut("data").and_then(Value::as_object_mut) else {
        return;
    };
    match kind {
        EventKind::PaymentFailed => {
            // Version 1 told every failure as the bank's.
            data.insert("cause".to_owned(), json!("declined"));
        }
        // In their first version: there is none before it.
        EventKind::ReserveStock
        | EventKind::ReleaseStock
        | EventKind::ChargeCard
        | EventKind::RefundCard
        | EventKind::OrderCreated
        | EventKind::InventoryReserved
        | EventKind::PaymentCompleted
        | EventKind::PaymentRefunded
        | EventKind::OrderStatusChanged
        | EventKind::OrderShipped
        | EventKind::OrderOverdue
        | EventKind::StockLevelReached => {}
    }
}
