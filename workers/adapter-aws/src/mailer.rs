//! E-mail through SES.

use app::ports::notices::{Mail, Mailer, SendError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use contract::cause::Cause;
use serde_json::json;

use crate::Clients;
use crate::call::Call;

/// Sends mails through SES.
#[derive(Clone)]
pub struct SesMailer {
    send_email: Call,
    from: String,
}

impl SesMailer {
    /// Creates a mailer with this sender address.
    pub fn new(clients: &Clients, from: &str) -> SesMailer {
        SesMailer {
            send_email: clients.send_email(),
            from: from.to_owned(),
        }
    }
}

impl Mailer for SesMailer {
    async fn send(&self, mail: &Mail) -> Result<String, SendError> {
        let content = |text: &str| json!({ "Data": text, "Charset": "UTF-8" });
        let sent = self
            .send_email
            .send(json!({
                "FromEmailAddress": self.from,
                "Destination": { "ToAddresses": [mail.to] },
                "Content": { "Simple": {
                    "Subject": content(&mail.subject),
                    "Body": { "Text": content(&mail.text), "Html": content(&mail.html) },
                } },
                "EmailTags": [{ "Name": "event_id", "Value": tag_text(&mail.dedup_id) }],
            }))
            .await;
        match sent {
            Ok(sent) => Ok(sent["MessageId"].as_str().unwrap_or_default().to_owned()),
            Err(error) => {
                // The message can contain the recipient's address, and the error is logged, so only
                // the code is kept.
                let said = error.message().unwrap_or_default().to_owned();
                let why = error
                    .code()
                    .map_or_else(|| "no answer".to_owned(), str::to_owned);
                match error.code() {
                    // The sender identity is not verified yet. The mail must be sent after an
                    // operator has fixed that.
                    Some("MessageRejected") if said.contains("not verified") => {
                        Err(SendError::Unavailable(Cause::new(format!(
                            "{why}: an identity is not verified"
                        ))))
                    }
                    // These codes mean that this mail can never be sent.
                    Some("MessageRejected" | "BadRequestException" | "InvalidParameterValue") => {
                        Err(SendError::Refused(Cause::new(why)))
                    }
                    _ => Err(SendError::Unavailable(Cause::new(why))),
                }
            }
        }
    }
}

/// Returns the value as SES accepts it in a tag: at most 256 ASCII letters, digits, `_` and `-`.
fn tag_text(value: &str) -> String {
    let legal = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            c
        } else {
            '_'
        }
    };
    value.chars().take(256).map(legal).collect()
}
