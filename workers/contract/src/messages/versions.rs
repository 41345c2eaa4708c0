//! Decoding of messages that another version of the program wrote. No other module handles more
//! than one schema version.
//!
//! During a deployment, two versions of the program run. Messages wait in work queues for days, and
//! in dead-letter queues for two weeks. A consumer therefore reads the current schema version of a
//! kind and the previous one. The previous version is converted to the current one before other
//! code sees it. A schema version is raised in two releases: the first reads it, the second writes
//! it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Envelope, EventKind};
use crate::cause::Cause;

/// The reason why a message body cannot be decoded. A retry would fail again, so the message is
/// parked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The body is not an envelope, with the error of the parser.
    #[error("not an envelope")]
    NotAnEnvelope(#[source] Cause),
    /// The envelope has an unknown `type`.
    #[error("no message of type {0:?} is known here")]
    UnknownKind(String),
    /// The envelope has a schema version that this program does not read.
    #[error("schema version {schema} of {} is not known here: {}", kind.name(), known(*kind))]
    UnknownSchema { kind: EventKind, schema: u16 },
}

/// Returns the schema versions of a kind that this program reads, as the end of a sentence.
fn known(kind: EventKind) -> String {
    match kind.schema() {
        1 => "only 1 is".to_owned(),
        today => format!("{} and {today} are", today - 1),
    }
}

impl Envelope {
    /// Decodes the body of an SQS message, in the current schema version of its kind or the
    /// previous one.
    ///
    /// # Errors
    /// [`Undecodable`] with the versions that are accepted. The fault is in the sender, so another
    /// delivery does not help.
    pub fn decode(body: &str) -> Result<Envelope, Undecodable> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "type")]
            kind: String,
            schema: u16,
        }
        let not_an_envelope =
            |error: serde_json::Error| Undecodable::NotAnEnvelope(Cause::new(error));
        // The head is decoded first, because a body of another version may not fit the current
        // types.
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

/// Converts an envelope of the previous schema version to the current one. A missing field stays
/// missing and becomes a decoding error.
fn lift(kind: EventKind, envelope: &mut Map<String, Value>) {
    envelope.insert("schema".to_owned(), json!(kind.schema()));
    let Some(data) = envelope.get_mut("data").and_then(Value::as_object_mut) else {
        return;
    };
    match kind {
        EventKind::PaymentFailed => {
            // Version 1 reported every failure as a decline by the bank.
            data.insert("cause".to_owned(), json!("declined"));
        }
        // The current version is the first one.
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
