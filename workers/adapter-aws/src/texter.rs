//! Text messages through SNS, directly to a phone.
//!
//! SNS does not deduplicate text messages; deduplication exists for FIFO topics only. The claim in
//! the database keeps two workers from sending the same text. If a worker dies after SNS accepted a
//! text and before the database has recorded it, the next attempt sends the text again. Both have
//! the same `event_id`, so that a carrier or gateway could deduplicate them.

use app::ports::notices::{SendError, Text, Texter};
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{BuildError, ProvideErrorMetadata as _};
use aws_sdk_sns::types::MessageAttributeValue;
use contract::cause::Cause;

use crate::Clients;

/// Sends text messages through SNS.
#[derive(Clone)]
pub struct SnsTexter {
    client: Client,
}

impl SnsTexter {
    /// Creates a texter.
    pub fn new(clients: &Clients) -> SnsTexter {
        SnsTexter {
            client: clients.texts(),
        }
    }
}

impl Texter for SnsTexter {
    async fn send_text(&self, text: &Text) -> Result<String, SendError> {
        let attribute = |value: &str| {
            let built = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build();
            built.map_err(|error: BuildError| SendError::Refused(Cause::new(error)))
        };
        let sent = self
            .client
            .publish()
            .phone_number(&text.to)
            .message(&text.body)
            // SNS sends transactional texts before promotional ones, with the highest reliability
            // (Amazon SNS Developer Guide, "Mobile text messaging").
            .message_attributes("AWS.SNS.SMS.SMSType", attribute("Transactional")?)
            .message_attributes("event_id", attribute(&text.dedup_id)?)
            .send()
            .await;
        match sent {
            Ok(sent) => Ok(sent.message_id.unwrap_or_default()),
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
