//! The environment to deploy, and the account.

use aws_sdk_cloudformation::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_cloudformation::types::Tag;

/// The environment to deploy, and the AWS clients for it.
#[derive(Clone)]
pub struct Target {
    pub environment: blueprint::Environment,
    pub cloudformation: aws_sdk_cloudformation::Client,
    pub config: aws_config::SdkConfig,
}

impl Target {
    /// Makes a target for an environment with the clients of an account.
    pub fn new(environment: blueprint::Environment, config: &aws_config::SdkConfig) -> Target {
        // The SDK limits retries with one budget for all calls of a client. With several stacks
        // that are throttled at the same time, the last would fail.
        let retries = RetryPartition::custom("haven")
            .token_bucket(TokenBucket::unlimited())
            .build();
        let settings = aws_sdk_cloudformation::config::Builder::from(config)
            .retry_partition(retries)
            .build();
        let cloudformation = aws_sdk_cloudformation::Client::from_conf(settings);
        Target {
            environment,
            cloudformation,
            config: config.clone(),
        }
    }

    /// Returns the tags of a stack, which CloudFormation passes on to nearly every resource.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        let tags = self.environment.tags();
        let tags = tags.as_array().into_iter().flatten();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        tags.map(|tag| {
            Tag::builder()
                .key(text(&tag["Key"]))
                .value(text(&tag["Value"]))
                .build()
        })
        .collect()
    }
}
