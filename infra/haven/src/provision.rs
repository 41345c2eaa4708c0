//! Stacks, deployed by change sets, watched, and taken away.

mod changes;
mod deploy;
mod destroy;
mod events;
mod left_out;
mod report;
mod status;
mod synth;

pub use deploy::{Deployed, Outcome, StackOutcome, deploy};
pub use destroy::{Destroyed, destroy};
pub use left_out::print_left_out;
pub use report::Reporter;
pub use status::{NOT_DEPLOYED, StackStatus, status};
pub use synth::synth;

/// Where stacks go.
#[derive(Clone)]
pub struct Target {
    pub environment: blueprint::Environment,
    pub cloudformation: aws_sdk_cloudformation::Client,
}

/// A call's failure as its own words, not the SDK's tree of types.
fn why<E, R>(error: &aws_sdk_cloudformation::error::SdkError<E, R>) -> String
where
    E: std::error::Error + aws_sdk_cloudformation::error::ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    match error.as_service_error() {
        Some(service) => service.message().or(service.code()).unwrap_or("no message").to_owned(),
        None => aws_sdk_cloudformation::error::DisplayErrorContext(error).to_string(),
    }
}
