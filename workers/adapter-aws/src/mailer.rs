//! E-mail through SES.

use app::ports::notices::{Mail, Mailer, SendError};
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::ProvideErrorMetadata as _;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageTag};
use contract::cause::Cause;

use crate::Clients;

/// Sends mails through SES.
#[derive(Clone)]
pub struct SesMailer {
    client: Client,
    from: String,
}

impl SesMailer {
    /// Creates a mailer with this sender address.
    pub fn new(clients: &Clients, from: &str) -> SesMailer {
        SesMailer {
            client: clients.ses(),
            from: from.to_owned(),
        }
    }
}

impl Mailer for SesMailer {
    async fn send(&self, mail: &Mail) -> Result<String, SendError> {
        let refused =
            |error: aws_sdk_sesv2::error::BuildError| SendError::Refused(Cause::new(error));
        let content = |text: &str| {
            Content::builder()
                .data(text)
                .charset("UTF-8")
                .build()
                .map_err(refused)
        };
        let message = Message::builder()
            .subject(content(&mail.subject)?)
            .body(
                Body::builder()
                    .text(content(&mail.text)?)
                    .html(content(&mail.html)?)
                    .build(),
            )
            .build();
        let tag = MessageTag::builder()
            .name("event_id")
            .value(tag_text(&mail.dedup_id))
            .build()
            .map_err(refused)?;
        let sent = self
            .client
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(&mail.to).build())
            .content(EmailContent::builder().simple(message).build())
            .email_tags(tag)
            .send()
            .await;
        match sent {
            Ok(sent) => Ok(sent.message_id.unwrap_or_default()),
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
