//! Stacks, deployed by change sets, watched, and taken away.

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
mod live;
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
pub use change_set::{find, resources};
pub use commands::{apply_command, deploy_command, destroy_command, diff_command, plan_and_show};
pub use deploy::{Deployed, Outcome, StackOutcome, deploy, deploy_stacks};
pub use guard::Named;
pub use left_out::print_left_out;
pub use live::{exports, parameter_versions};
pub use promote::promote;
pub use rehearse::rehearse;
pub use report::Reporter;
pub use status::{NOT_DEPLOYED, StackStatus, status};

use aws_sdk_cloudformation::types::Tag;

/// Where stacks go.
#[derive(Clone)]
pub struct Target {
    pub environment: blueprint::Environment,
    pub cloudformation: aws_sdk_cloudformation::Client,
    pub config: aws_config::SdkConfig,
}

impl Target {
    pub fn new(environment: blueprint::Environment, config: &aws_config::SdkConfig) -> Target {
        let cloudformation = aws_sdk_cloudformation::Client::new(config);
        Target { environment, cloudformation, config: config.clone() }
    }

    /// On the stack, from which CloudFormation hands them to nearly every resource.
    fn tags(&self) -> Vec<Tag> {
        let tags = self.environment.tags();
        let tags = tags.as_array().into_iter().flatten();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        tags.map(|tag| Tag::builder().key(text(&tag["Key"])).value(text(&tag["Value"])).build()).collect()
    }
}

/// A call's failure as its own words, not the SDK's tree of types.
pub(crate) fn why<E, R>(error: &aws_sdk_cloudformation::error::SdkError<E, R>) -> String
where
    E: std::error::Error + aws_sdk_cloudformation::error::ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    match error.as_service_error() {
        Some(service) => service.message().or(service.code()).unwrap_or("no message").to_owned(),
        // What it is made of, down to "connection refused", without the types.
        None => std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": "),
    }
}
