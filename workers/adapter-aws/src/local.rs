//! The features of the local AWS of `haven up` that AWS itself lacks: the mails and texts that it
//! keeps.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use app::ports::mailbox::{Kept, KeptMail, KeptText, Mailbox};
use app::ports::{Backend, StoreError};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use contract::cause::BoxError;
use domain::Timestamp;
use serde::de::DeserializeOwned;

use crate::Clients;

/// The reason why the local AWS could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("the local AWS is not in use: AWS_ENDPOINT_URL is not set")]
    NotLocal,
    #[error("the request to the local AWS cannot be signed")]
    NotSigned(#[source] BoxError),
    #[error("the local AWS did not answer GET {path}")]
    NoAnswer {
        path: String,
        source: reqwest::Error,
    },
    #[error("the local AWS refused GET {path}: {status} {body}")]
    Refused {
        path: String,
        status: u16,
        body: String,
    },
}

/// A mail in the answer of MiniStack.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SentMail {
    message_id: String,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    subject: String,
    body_text: Option<String>,
    body_html: Option<String>,
    timestamp: f64,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SentText {
    message_id: String,
    phone_number: String,
    message: String,
}

impl Clients {
    /// Returns the mails that were sent since the local AWS started, oldest first.
    ///
    /// # Errors
    /// Returns an error when this is not a local AWS, or when it does not answer.
    pub async fn kept_mails(&self) -> Result<Vec<KeptMail>, InspectError> {
        #[derive(serde::Deserialize)]
        struct Inbox {
            /// The mails by account.
            messages: HashMap<String, Vec<SentMail>>,
        }
        let inbox: Inbox = self.inspect("/_ministack/ses/messages").await?;
        let mails = inbox.messages.into_values().flatten().map(|mail| KeptMail {
            id: mail.message_id,
            to: mail.to,
            subject: mail.subject,
            text: mail.body_text.unwrap_or_default(),
            html: mail.body_html.filter(|html| !html.is_empty()),
            at: Timestamp::UNIX_EPOCH + time::Duration::saturating_seconds_f64(mail.timestamp),
        });
        let mut mails: Vec<KeptMail> = mails.collect();
        mails.sort_by_key(|mail| mail.at);
        Ok(mails)
    }

    /// Returns the text messages that were sent since the local AWS started, sorted by number and
    /// then oldest first.
    ///
    /// # Errors
    /// Fails like [`Clients::kept_mails`].
    pub async fn kept_texts(&self) -> Result<Vec<KeptText>, InspectError> {
        #[derive(serde::Deserialize)]
        struct Inbox {
            /// The text messages by number.
            sms_messages: BTreeMap<String, Vec<SentText>>,
        }
        let inbox: Inbox = self.inspect("/_ministack/sns/sms-messages").await?;
        let texts = inbox.sms_messages.into_values().flatten();
        Ok(texts
            .map(|text| KeptText {
                id: text.message_id,
                to: text.phone_number,
                text: text.message,
            })
            .collect())
    }

    /// Reads something that only a local AWS has, such as its mailbox, with a signed request.
    ///
    /// # Errors
    /// Fails like [`Clients::kept_mails`].
    pub async fn inspect<T: DeserializeOwned>(&self, path: &str) -> Result<T, InspectError> {
        const WITHIN: Duration = Duration::from_secs(5);
        let config = self.config();
        let (endpoint, region) = config
            .endpoint_url()
            .zip(config.region())
            .ok_or(InspectError::NotLocal)?;
        let provider = config
            .credentials_provider()
            .ok_or(InspectError::NotLocal)?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| InspectError::NotSigned(error.into()))?;
        let url = format!("{}{path}", endpoint.trim_end_matches('/'));
        let headers =
            signature(&url, region.as_ref(), credentials).map_err(InspectError::NotSigned)?;
        let no_answer = |source| InspectError::NoAnswer {
            path: path.to_owned(),
            source,
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(WITHIN)
            .build()
            .map_err(no_answer)?;
        let mut request = client.get(&url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            let body = answer.text().await.unwrap_or_default();
            return Err(InspectError::Refused {
                path: path.to_owned(),
                status,
                body,
            });
        }
        answer.json().await.map_err(no_answer)
    }
}

/// The mailbox of a local AWS.
pub struct LocalMailbox(pub Clients);

impl Mailbox for LocalMailbox {
    fn kept(&self) -> Pin<Box<dyn Future<Output = Result<Kept, StoreError>> + Send + '_>> {
        Box::pin(async {
            let (mails, texts) = tokio::try_join!(self.0.kept_mails(), self.0.kept_texts())
                .map_err(|error| StoreError::new(Backend::Mailbox, error))?;
            Ok(Kept { mails, texts })
        })
    }
}

/// Returns the headers of a signed GET request.
fn signature(
    url: &str,
    region: &str,
    credentials: aws_credential_types::Credentials,
) -> Result<Vec<(String, String)>, BoxError> {
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        // The local AWS routes by path and accepts any service name.
        .name("local")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]));
    let signed = request.and_then(|request| sign(request, &parameters))?;
    let headers = signed.output().headers();
    Ok(headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}
