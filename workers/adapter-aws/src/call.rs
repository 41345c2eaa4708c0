//! Calls AWS services of which one or two operations are needed, without their SDK crates.
//!
//! An SDK crate compiles every operation of its service. The crates that this module replaces were
//! half of the SDK code of the first build (ADR 0018). A call goes through the same runtime as
//! an SDK crate's: orchestrator, retries, time limits, interceptors, signature and user agent come
//! from the SDK's own libraries and from [`SdkConfig`]. Only requests and responses are built here,
//! from JSON values, for the three protocols of these services.
//!
//! FIPS and dual-stack endpoints are refused, not ignored: their names differ by service, and only
//! the SDK crates have the table.

use aws_config::SdkConfig;
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::ServiceClockSkewInterceptor;
use aws_runtime::user_agent::{ApiMetadata, UserAgentInterceptor};
use aws_smithy_runtime::client::orchestrator::operation::{Operation as Runtime, OperationBuilder};
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use aws_types::service_config::ServiceConfigKey;
use serde_json::{Value, json};

pub use self::services::*;
pub use self::wire::Refused;
use self::wire::{answer, request};

mod services;
mod wire;

/// A failed call.
pub type CallError = SdkError<Refused, HttpResponse>;

/// An operation that is ready to be called.
#[derive(Clone)]
pub struct Call {
    runtime: Runtime<Value, Value, Refused>,
}

impl Call {
    /// Prepares calls of `operation` with the settings of `config`.
    pub fn new(config: &SdkConfig, operation: &'static Operation) -> Call {
        Call {
            runtime: Call::prepare(config, operation).build(),
        }
    }

    /// Prepares calls as [`Call::new`], observed by an interceptor.
    pub fn observed(
        config: &SdkConfig,
        operation: &'static Operation,
        interceptor: impl Intercept + 'static,
    ) -> Call {
        let prepared = Call::prepare(config, operation);
        Call {
            runtime: prepared.interceptor(interceptor).build(),
        }
    }

    fn prepare(
        config: &SdkConfig,
        operation: &'static Operation,
    ) -> OperationBuilder<Value, Value, Refused> {
        let service = operation.service;
        let mut layer = Layer::new("call");
        let mut parts = RuntimeComponentsBuilder::new("call");
        layer.store_put(SigV4OperationSigningConfig {
            region: signing_region(config, service),
            name: Some(SigningName::from_static(service.sign_as)),
            ..Default::default()
        });
        layer.store_put(ApiMetadata::new(service.id, env!("CARGO_PKG_VERSION")));
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        if let Some(name) = config.app_name() {
            layer.store_put(name.clone());
        }
        if let Some(protection) = config.stalled_stream_protection() {
            layer.store_put(protection);
        }
        parts.push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
        parts.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
            StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
        )));
        if let Some(credentials) = config.credentials_provider() {
            parts.set_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(credentials));
        }
        if let Some(cache) = config.identity_cache() {
            parts.set_identity_cache(Some(cache));
        }
        parts.set_http_client(config.http_client());
        parts.set_sleep_impl(config.sleep_impl());
        parts.set_time_source(config.time_source());
        let mut builder = Runtime::builder()
            .service_name(service.id)
            .operation_name(operation.name)
            .endpoint_url(&endpoint(config, service))
            .standard_retry(
                &config
                    .retry_config()
                    .cloned()
                    .unwrap_or_else(RetryConfig::standard),
            )
            .timeout_config(
                config
                    .timeout_config()
                    .cloned()
                    .unwrap_or_else(TimeoutConfig::disabled),
            )
            .retry_classifier(TransientErrorClassifier::<Refused>::new())
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(AwsErrorCodeClassifier::<Refused>::new())
            .interceptor(ServiceClockSkewInterceptor::new())
            .interceptor(UserAgentInterceptor::new())
            .with_connection_poisoning()
            .runtime_plugin(
                StaticRuntimePlugin::new()
                    .with_config(layer.freeze())
                    .with_runtime_components(parts),
            );
        if let Some(version) = config.behavior_version() {
            builder = builder.behavior_version(version);
        }
        let is_refused = config.use_fips() == Some(true) || config.use_dual_stack() == Some(true);
        builder
            .serializer(move |input: Value| {
                if is_refused {
                    return Err("FIPS and dual-stack endpoints are not supported for this \
                                service; unset AWS_USE_FIPS_ENDPOINT and \
                                AWS_USE_DUALSTACK_ENDPOINT"
                        .into());
                }
                request(operation, input)
            })
            .deserializer(move |response: &HttpResponse| {
                answer(operation, response).map_err(OrchestratorError::operation)
            })
    }

    /// Sends a request, with retries. Input and output have the field names of the service's API
    /// reference. A list of a Query API is an array under `member`, and a map is an array under
    /// `entry`, in both directions; its values are strings.
    ///
    /// # Errors
    /// When the service refuses the call, does not answer in time, or answers with what its
    /// protocol does not allow.
    pub async fn send(&self, input: Value) -> Result<Value, CallError> {
        self.runtime.invoke(input).await
    }
}

/// Returns the region that is signed: the one region of a global service in the public partition
/// (IAM User Guide, "AWS Identity and Access Management endpoints"), or the region of the settings.
fn signing_region(config: &SdkConfig, service: &Service) -> Option<SigningRegion> {
    let region = config.region()?;
    let is_public = !region.as_ref().starts_with("cn-") && !region.as_ref().starts_with("us-gov-");
    Some(if service.host == GLOBAL_HOST && is_public {
        SigningRegion::from_static("us-east-1")
    } else {
        SigningRegion::from(region.clone())
    })
}

/// Returns the endpoint: the one of the service in environment or profile, the one of all services,
/// or the public one of the region (AWS General Reference, "Service endpoints").
fn endpoint(config: &SdkConfig, service: &Service) -> String {
    let key = ServiceConfigKey::builder()
        .service_id(service.id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = key
        .ok()
        .and_then(|key| config.service_config()?.load_config(key));
    if let Some(url) = own.or_else(|| config.endpoint_url().map(str::to_owned)) {
        return url;
    }
    let host = service.host;
    let region = config.region().map_or("us-east-1", AsRef::as_ref);
    let is_chinese = region.starts_with("cn-");
    let suffix = if is_chinese {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    if host != GLOBAL_HOST {
        format!("https://{host}.{region}.{suffix}")
    } else if is_chinese {
        format!("https://{host}.cn-north-1.{suffix}")
    } else if region.starts_with("us-gov-") {
        format!("https://{host}.us-gov.{suffix}")
    } else {
        format!("https://{host}.{suffix}")
    }
}

/// Returns an entry of SNS's `MessageAttributes` with a text.
pub fn text_attribute(name: &str, value: &str) -> Value {
    json!({ "Name": name, "Value": { "DataType": "String", "StringValue": value } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_follows_region_and_settings() {
        let of = |region: &'static str, service: &Service| {
            let region = aws_types::region::Region::from_static(region);
            endpoint(&SdkConfig::builder().region(region).build(), service)
        };
        assert_eq!(
            of("eu-west-1", &ECR),
            "https://api.ecr.eu-west-1.amazonaws.com"
        );
        assert_eq!(
            of("cn-north-1", &ECS),
            "https://ecs.cn-north-1.amazonaws.com.cn"
        );
        assert_eq!(of("eu-west-1", &IAM), "https://iam.amazonaws.com");
        assert_eq!(
            of("us-gov-west-1", &IAM),
            "https://iam.us-gov.amazonaws.com"
        );
        let local = SdkConfig::builder()
            .endpoint_url("http://127.0.0.1:1")
            .build();
        assert_eq!(endpoint(&local, &IAM), "http://127.0.0.1:1");
    }
}
