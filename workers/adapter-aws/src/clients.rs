//! The SDK clients. They share one HTTP client, and this module sets all timeouts and retries.

use std::time::Duration;

use app::ports::notices::SEND_WITHIN;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::config::{IntoShared as _, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use contract::queue::{HANDLER_TIMEOUT_MIN, LONG_POLL};

use crate::access::LocalAccess;
use crate::call::{Call, PUBLISH, PUBLISH_BATCH, PUT_EVENTS, SEND_EMAIL};
use crate::call_count::{CallCount, OnCall, Service};
use crate::proxy::ByHost;

/// Time limit of one attempt. AWS answers within milliseconds; a local AWS on a busy laptop takes
/// longer.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(3);
/// Time limit of a call with its retries, well within a handler's time.
const CALL_WITHIN: Duration = Duration::from_secs(8);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const _: () = assert!(
    ATTEMPT_WITHIN.as_millis() <= SEND_WITHIN.as_millis(),
    "a mail takes longer than promised"
);
/// Number of attempts. Only this layer retries AWS calls; handlers retry through the queue.
const ATTEMPTS: u32 = 3;
const _: () = assert!(
    ATTEMPT_WITHIN.as_millis() < CALL_WITHIN.as_millis(),
    "no time for a second attempt"
);
const _: () = assert!(
    CALL_WITHIN.as_millis() < HANDLER_TIMEOUT_MIN.as_millis(),
    "a call outlives its handler"
);
/// Time limit of one attempt of an administrator's call. CloudFormation needs some seconds for a
/// large template.
const ADMIN_ATTEMPT_WITHIN: Duration = Duration::from_secs(60);
/// Number of attempts of an administrator's call. With the back-off below, the retries of a
/// throttled call last three minutes on average and more than six at most. All users of an account
/// share the limits of CloudFormation's API, and one refused call must not end a deployment of ten
/// minutes.
const ADMIN_ATTEMPTS: u32 = 24;
const ADMIN_BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// Time limit of an administrator's call: longer than all attempts of a throttled call, which AWS
/// refuses at once.
const ADMIN_CALL_WITHIN: Duration = Duration::from_secs(600);
/// Time after the wait of a receive until it is canceled. A receive can hang (aws-sdk-rust issue
/// 1094).
const POLL_SLACK: Duration = Duration::from_secs(5);

/// Creates clients on demand, so that a role has only those that it uses.
#[derive(Clone)]
pub struct Clients {
    config: SdkConfig,
    on_call: OnCall,
}

impl Clients {
    /// Reads region, endpoint and credentials from the environment, as the SDK does.
    pub async fn from_environment(on_call: OnCall) -> Clients {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_attempt_timeout(ATTEMPT_WITHIN)
            .operation_timeout(CALL_WITHIN)
            .build();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts)
            .http_client(http_client())
            .load()
            .await;
        Clients { config, on_call }
    }

    /// Uses a local AWS, whatever the environment of the process says.
    pub fn local(access: &LocalAccess, on_call: OnCall) -> Clients {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_timeout(Duration::from_secs(30))
            .build();
        let (id, secret) = (&access.access_key_id, &access.secret_access_key);
        let credentials =
            aws_sdk_sqs::config::Credentials::new(id, secret, None, None, "local AWS");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new(access.region.clone()))
            .endpoint_url(&access.endpoint)
            .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(
                credentials,
            ))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts)
            .http_client(http_client())
            .build();
        Clients { config, on_call }
    }

    /// Uses the environment's credentials for an administrator, with the given region and long
    /// retries. `profile` replaces the profile of `AWS_PROFILE`.
    pub async fn in_account(
        endpoint: Option<&str>,
        profile: Option<&str>,
        region: &str,
        on_call: OnCall,
    ) -> Clients {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_attempt_timeout(ADMIN_ATTEMPT_WITHIN)
            .operation_timeout(ADMIN_CALL_WITHIN)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ADMIN_ATTEMPTS)
            .with_initial_backoff(ADMIN_BACK_OFF.0)
            .with_max_backoff(ADMIN_BACK_OFF.1);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::new(region.to_owned()))
            .retry_config(retries)
            .timeout_config(timeouts)
            .http_client(http_client());
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        Clients {
            config: loader.load().await,
            on_call,
        }
    }

    /// Returns the shared configuration.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Returns a client of SQS for receives: one attempt, which may last as long as the poll.
    pub fn sqs_polls(&self) -> aws_sdk_sqs::Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .operation_attempt_timeout(LONG_POLL + POLL_SLACK)
            .operation_timeout(LONG_POLL + POLL_SLACK)
            .build();
        let config = aws_sdk_sqs::config::Builder::from(&self.config)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled())
            .interceptor(self.count(Service::Sqs));
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Prepares calls of `sns:PublishBatch`.
    pub fn publish_batch(&self) -> Call {
        Call::observed(&self.config, &PUBLISH_BATCH, self.count(Service::Sns))
    }

    /// Prepares calls of `sns:Publish` for text messages. As with mails, an attempt without an
    /// answer is not repeated here.
    pub fn publish_text(&self) -> Call {
        Call::observed(&self.once(), &PUBLISH, self.count(Service::Sms))
    }

    /// Prepares calls of `events:PutEvents`.
    pub fn put_events(&self) -> Call {
        Call::observed(&self.config, &PUT_EVENTS, self.count(Service::EventBridge))
    }

    /// Prepares calls of `ses:SendEmail`. A repeat would send a second mail, so an attempt without
    /// an answer is not repeated here. The queue retries later.
    pub fn send_email(&self) -> Call {
        Call::observed(&self.once(), &SEND_EMAIL, self.count(Service::Ses))
    }

    /// Returns the configuration for calls with one attempt.
    fn once(&self) -> SdkConfig {
        let config = self.config.clone().into_builder();
        config.retry_config(RetryConfig::disabled()).build()
    }

    fn count(&self, service: Service) -> CallCount {
        CallCount {
            service,
            on_call: self.on_call.clone(),
        }
    }
}

/// Makes the method for the client of each service, which counts its calls.
macro_rules! clients {
    ($($(#[$doc:meta])* $method:ident: $sdk:ident counts $service:ident;)*) => {
        impl Clients {
            $($(#[$doc])*
            pub fn $method(&self) -> $sdk::Client {
                let config = $sdk::config::Builder::from(&self.config);
                let config = config.interceptor(self.count(Service::$service));
                $sdk::Client::from_conf(config.build())
            })*
        }
    };
}

clients! {
    /// Returns a client of SQS.
    sqs: aws_sdk_sqs counts Sqs;
    /// Returns a client of DynamoDB.
    dynamodb: aws_sdk_dynamodb counts DynamoDb;
    /// Returns a client of DynamoDB Streams.
    streams: aws_sdk_dynamodbstreams counts DynamoDbStreams;
    /// Returns a client of Parameter Store.
    ssm: aws_sdk_ssm counts ParameterStore;
    /// Returns a client of Secrets Manager.
    secrets: aws_sdk_secretsmanager counts SecretsManager;
    /// Returns a client of CloudWatch.
    cloudwatch: aws_sdk_cloudwatch counts CloudWatch;
}

/// Returns the HTTP client of all services, so that they share connections and certificates.
fn http_client() -> SharedHttpClient {
    let direct = http_client_by(ProxyConfig::disabled);
    ByHost {
        direct,
        proxied: http_client_by(ProxyConfig::from_env),
    }
    .into_shared()
}

/// Builds an HTTP client as the SDK does, with this proxy configuration.
fn http_client_by(proxy: fn() -> ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector =
            ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(proxy()));
        connector.build()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttled_call_of_an_administrator_is_retried_for_minutes() {
        // The SDK waits a random part of each pause, on average half of it.
        let pause = |retry: u32| {
            ADMIN_BACK_OFF
                .0
                .saturating_mul(2_u32.saturating_pow(retry))
                .min(ADMIN_BACK_OFF.1)
        };
        let most: Duration = (0..ADMIN_ATTEMPTS - 1).map(pause).sum();
        assert!(most / 2 >= Duration::from_secs(180), "{most:?}");
        assert!(most < ADMIN_CALL_WITHIN, "the call ends before its retries");
    }
}
