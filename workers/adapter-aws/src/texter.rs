//! Text messages through SNS, directly to a phone.
//!
//! SNS does not deduplicate text messages; deduplication exists for FIFO topics only. The claim in
//! the database keeps two workers from sending the same text. If a worker dies after SNS accepted a
//! text and before the database has recorded it, the next attempt sends the text again. Both have
//! the same `event_id`, so that a carrier or gateway could deduplicate them.

use app::ports::notices::{SendError, Text, Texter};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use contract::cause::Cause;
use serde_json::json;

use crate::Clients;
use crate::call::{Call, text_attribute};

/// Sends text messages through SNS.
#[derive(Clone)]
pub struct SnsTexter {
    publish: Call,
}

impl SnsTexter {
    /// Creates a texter.
    pub fn new(clients: &Clients) -> SnsTexter {
        SnsTexter {
            publish: clients.publish_text(),
        }
    }
}

impl Texter for SnsTexter {
    async fn send_text(&self, text: &Text) -> Result<String, SendError> {
        let sent = self
            .publish
            .send(json!({
                "PhoneNumber": text.to,
                "Message": text.body,
                "MessageAttributes": { "entry": [
                    // SNS sends transactional texts before promotional ones, with the highest
                    // reliability (Amazon SNS Developer Guide, "Mobile text messaging").
                    text_attribute("AWS.SNS.SMS.SMSType", "Transactional"),
                    text_attribute("event_id", &text.dedup_id),
                ] },
            }))
            .await;
        match sent {
            Ok(sent) => Ok(sent["MessageId"].as_str().unwrap_or_default().to_owned()),
            Err(error) => {
                // The message can contain the phone number, and the error is logged, so only the
                // code is kept.
                let why = error
                    .code()
                    .map_or_else(|| "no answer".to_owned(), str::to_owned);
                Err(if is_final(&why) {
                    SendError::Refused(Cause::new(why))
                } else {
                    SendError::Unavailable(Cause::new(why))
                })
            }
        }
    }
}

/// Returns true if this number can never receive a text: the number is invalid, or its owner opted
/// out (Amazon SNS API Reference, Publish, and "Opting out of receiving SMS messages").
fn is_final(code: &str) -> bool {
    matches!(
        code,
        "InvalidParameter"
            | "InvalidParameterValue"
            | "ParameterValueInvalid"
            | "OptedOut"
            | "OptedOutException"
    )
}
