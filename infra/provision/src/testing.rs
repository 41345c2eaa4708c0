//! AWS services on loopback for tests, with responses from the test.

use std::collections::HashMap;
use std::sync::Arc;

use adapter_aws::{Clients, LocalAccess};
use aws_config::SdkConfig;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use blueprint::Environment;
use serde_json::{Value, json};

use crate::Target;

/// The texts and numbers of a request, from its form or its JSON document. The operation is under
/// `Action`.
pub type Form = HashMap<String, String>;

/// The response of a service, in XML or JSON as its API requires.
pub enum Answer {
    Done(String),
    Refused {
        code: &'static str,
        message: &'static str,
    },
}

impl Answer {
    /// Makes an error response.
    pub fn refused(code: &'static str, message: &'static str) -> Answer {
        Answer::Refused { code, message }
    }
}

impl From<String> for Answer {
    fn from(body: String) -> Answer {
        Answer::Done(body)
    }
}

/// A running stub, which stops when the value is dropped.
pub struct Stub {
    pub endpoint: String,
    pub config: SdkConfig,
    serves: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serves.abort();
    }
}

/// Starts a stub with one endpoint for all services, as the local AWS has.
pub async fn stub<A: Into<Answer>>(answer: impl Fn(&Form) -> A + Send + Sync + 'static) -> Stub {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let answer = Arc::new(answer);
    let app = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
        let answer = Arc::clone(&answer);
        async move {
            let target = headers
                .get("x-amz-target")
                .and_then(|target| target.to_str().ok());
            let said = match target {
                Some(target) => answer(&of_json(target, &body)).into(),
                None => answer(&of_form(&body)).into(),
            };
            match (said, target) {
                (Answer::Done(body), _) => (StatusCode::OK, body),
                (Answer::Refused { code, message }, Some(_)) => (
                    StatusCode::BAD_REQUEST,
                    json!({ "__type": code, "message": message }).to_string(),
                ),
                (Answer::Refused { code, message }, None) => {
                    let error =
                        format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
                    (
                        StatusCode::BAD_REQUEST,
                        format!("<ErrorResponse>{error}</ErrorResponse>"),
                    )
                }
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let serves = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    let access = LocalAccess::unverified(&endpoint, "us-east-1");
    let config = target_on(&access, Environment::local()).config;
    Stub {
        endpoint,
        config,
        serves,
    }
}

/// Returns an environment on a local AWS.
pub fn target_on(access: &LocalAccess, environment: Environment) -> Target {
    let clients = Clients::local(access, Arc::new(|_| {}));
    Target::new(environment, clients.config())
}

fn of_form(body: &[u8]) -> Form {
    let url = reqwest::Url::parse(&format!(
        "http://localhost/?{}",
        String::from_utf8_lossy(body)
    ))
    .expect("a form");
    url.query_pairs().into_owned().collect()
}

fn of_json(target: &str, body: &[u8]) -> Form {
    let document: Value = serde_json::from_slice(body).expect("a JSON document");
    let fields = document.as_object().into_iter().flatten();
    let text = |value: &Value| {
        let text = value.as_str().map(str::to_owned);
        text.or_else(|| Some(value.as_number()?.to_string()))
    };
    let texts = fields.filter_map(|(name, value)| Some((name.clone(), text(value)?)));
    let action = target.rsplit('.').next().unwrap_or_default().to_owned();
    texts.chain([("Action".to_owned(), action)]).collect()
}
