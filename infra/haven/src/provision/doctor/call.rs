//! A signed question to a service whose SDK we do not carry: that of EC2 alone is larger than all of haven, and doctor
//! asks it three questions.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use aws_sdk_sts::config::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use serde_json::Value;

use super::super::Target;

/// Longer than any of these answers takes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Of an error, so much is worth reading.
const SAID_MAX: usize = 200;

/// A call of EC2's query protocol; the answer is XML.
pub async fn ec2(target: &Target, action: &str, arguments: &str) -> anyhow::Result<String> {
    let body = format!("Action={action}&Version=2016-11-15{arguments}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    ask(target, "ec2", "ec2", &headers, body).await.with_context(|| format!("ask EC2 ({action})"))
}

/// A call of the JSON 1.1 protocol. `host` is what the service's own host begins with.
pub async fn json(
    target: &Target,
    (service, host): (&str, &str),
    operation: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", operation)];
    let answer = ask(target, service, host, &headers, body.to_string()).await;
    let answer = answer.with_context(|| format!("ask {service} ({operation})"))?;
    serde_json::from_str(&answer).with_context(|| format!("read the answer of {service}"))
}

async fn ask(
    target: &Target,
    service: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: String,
) -> anyhow::Result<String> {
    let region = target.config.region().context("no region is set")?.as_ref().to_owned();
    let (url, own_endpoint) = match target.config.endpoint_url() {
        Some(endpoint) => (format!("{}/", endpoint.trim_end_matches('/')), true),
        None => (format!("https://{host}.{region}.amazonaws.com/"), false),
    };
    let provider = target.config.credentials_provider().context("there are no credentials")?;
    let identity = provider.provide_credentials().await.context("get credentials")?.into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(&region)
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .context("sign")?
        .into();
    let signable = SignableRequest::new("POST", &url, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()))?;
    let (signature, _) = sign(signable, &parameters).context("sign")?.into_parts();
    let mut client = reqwest::Client::builder().timeout(ANSWERED_WITHIN);
    if own_endpoint {
        client = client.no_proxy();
    }
    let mut request = client.build().context("an HTTP client")?.post(&url);
    for (name, value) in headers.iter().copied().chain(signature.headers()) {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{status}: {}", text.chars().take(SAID_MAX).collect::<String>());
    }
    Ok(text)
}
