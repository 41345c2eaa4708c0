//! Text messages through SNS, straight to a phone.
//!
//! SNS recognizes no repeat of one: deduplication is for FIFO topics alone. The claim in the
//! database is what keeps two workers from sending the same text. When a worker dies after SNS took
//! one and before that is on record, the next try sends it again, with the same `event_id` for
//! whoever stands between us and the phones and does recognize it.

use app::ports::notices::{SendError, Text, Texter};
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{BuildError, ProvideErrorMetadata as _};
use aws_sdk_sns::types::MessageAttributeValue;

use crate::Clients;

#[derive(Clone)]
pub struct SnsTexter {
    client: Client,
}

impl SnsTexter {
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
            built.map_err(|error: BuildError| SendError::Refused(error.to_string()))
        };
        let sent = self
            .client
            .publish()
            .phone_number(&text.to)
            .message(&text.body)
            // Sent before what is advertising, and by the most reliable way (Amazon SNS Developer
            // Guide, "Mobile text messaging").
            .message_attributes("AWS.SNS.SMS.SMSType", attribute("Transactional")?)
            .message_attributes("event_id", attribute(&text.dedup_id)?)
            .send()
            .await;
        match sent {
            Ok(sent) => Ok(sent.message_id.unwrap_or_default()),
            Err(error) => {
                // The message may name the number, and what is said here is logged: the code must
                // do.
                let why = error
                    .code()
                    .map_or_else(|| "no answer".to_owned(), str::to_owned);
                Err(if is_final(&why) {
                    SendError::Refused(why)
                } else {
                    SendError::Unavailable(why)
                })
            }
        }
    }
}

/// Whether this number will never take a text: it is none, or its owner wants no texts (Amazon SNS
/// API Reference, Publish, and "Opting out of receiving SMS messages").
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
