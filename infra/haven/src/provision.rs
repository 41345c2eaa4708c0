//! Deploys the stacks through change sets, watches them, compares them with their templates, and
//! deletes them. Commands that only read templates are here too.

mod advice;
mod apply;
pub mod bootstrap;
mod cause;
mod change_set;
pub mod check;
mod commands;
pub mod completions;
pub mod config;
pub mod cost;
mod denied;
mod deploy;
mod destroy;
pub mod doctor;
pub mod drift;
mod events;
mod guard;
mod history;
mod image;
mod left_out;
pub mod live;
pub mod outputs;
mod plan;
mod preflight;
mod present;
mod promote;
mod protection;
mod quotas;
mod reading;
mod rehearse;
mod report;
mod standing;
mod status;
mod stopped;
pub mod synth;
pub mod why;

use apply::apply;
pub use change_set::{find, resources, wait_until_gone};
pub use commands::{apply_command, deploy_command, destroy_command, diff_command, plan_and_show};
pub use deploy::{Deployed, Outcome, StackOutcome, deploy, deploy_stacks};
pub use guard::Named;
pub use left_out::print_left_out;
pub use live::{account, exports, parameter_versions, parameters_of};
pub use promote::promote;
pub use rehearse::rehearse;
pub use report::Reporter;
pub use status::{NOT_DEPLOYED, StackStatus, status};

use aws_sdk_cloudformation::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_cloudformation::types::Tag;

use crate::failed::{AwsFailure, failed};

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
    fn tags(&self) -> Vec<Tag> {
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

/// Returns the message of a failed call, without the SDK's nested types.
pub(crate) fn why<E>(error: &aws_sdk_cloudformation::error::SdkError<E>) -> String
where
    E: std::error::Error + aws_sdk_cloudformation::error::ProvideErrorMetadata + 'static,
{
    AwsFailure::of(error).to_string()
}
