//! Failures of AWS calls, each as one line with the cause and the next step.

use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// The cause of a failed call, which decides the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No profile, variable or role has credentials.
    NoCredentials,
    /// The session of the credentials has ended.
    Expired,
    /// AWS does not accept the credentials, or they cannot be read.
    Credentials,
    /// No response arrived.
    Network,
    /// The response is not from AWS: a page of a proxy or a captive portal, or another program that
    /// listens on the port.
    NotAws,
    /// The endpoint is not a valid URL.
    Endpoint,
    /// AWS throttled every attempt for several minutes.
    Throttled,
    /// Another deployment is changing the same stack.
    Busy,
    /// Another refusal, which the service's message explains.
    Refused,
}

/// An error of a service's operation.
pub trait ServiceError: std::error::Error + ProvideErrorMetadata + 'static {}

impl<E: std::error::Error + ProvideErrorMetadata + 'static> ServiceError for E {}

/// A failed call. `Display` shows the cause and the next step, without the SDK's nested types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsFailure {
    pub cause: Cause,
    /// The service's message, or the reason why no service answered.
    pub said: String,
}

impl std::error::Error for AwsFailure {}

impl fmt::Display for AwsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Refused => f.write_str(&self.said),
            cause => write!(f, "{}: {}", self.reason(), cause.next()),
        }
    }
}

impl Cause {
    /// Returns a description of the cause.
    pub fn meaning(self) -> &'static str {
        match self {
            Cause::NoCredentials => "no AWS credentials found",
            Cause::Expired => "the AWS credentials have expired",
            Cause::Credentials => "the AWS credentials are not accepted",
            Cause::Network => "AWS cannot be reached",
            Cause::NotAws => "the server that answered is not AWS",
            Cause::Endpoint => "the AWS endpoint is not usable",
            Cause::Throttled => "AWS is still throttling after several minutes of retries",
            Cause::Busy => "another deployment is changing this stack",
            Cause::Refused => "AWS refused the call",
        }
    }

    /// Returns whether all calls of this caller fail for this cause, not only this one.
    fn is_of_the_caller(self) -> bool {
        match self {
            Cause::NoCredentials
            | Cause::Expired
            | Cause::Credentials
            | Cause::Network
            | Cause::NotAws
            | Cause::Endpoint
            | Cause::Throttled => true,
            Cause::Busy | Cause::Refused => false,
        }
    }

    /// Returns the next step: a command, or what to check.
    pub fn next(self) -> &'static str {
        match self {
            Cause::NoCredentials => {
                "run `aws sso login --profile NAME`, and set AWS_PROFILE to NAME, one of `aws configure list-profiles`"
            }
            Cause::Expired => "run `aws sso login`, with the profile in AWS_PROFILE",
            Cause::Credentials => {
                "sign in again (aws sso login) or set AWS_PROFILE to one of `aws configure list-profiles`, check with \
                 `aws sts get-caller-identity`, and repeat the command"
            }
            Cause::Network => {
                "check the network, HTTPS_PROXY, NO_PROXY and AWS_ENDPOINT_URL; `haven doctor ENV` tries again"
            }
            Cause::NotAws => {
                "check AWS_ENDPOINT_URL, --endpoint and HTTPS_PROXY; `haven doctor ENV` tries again"
            }
            Cause::Endpoint => {
                "set AWS_ENDPOINT_URL or --endpoint to a URL such as https://HOST:PORT, or unset it"
            }
            Cause::Throttled => "wait a few minutes and repeat the command",
            Cause::Busy => {
                "wait until `haven status ENV` shows no change in progress, and repeat the command"
            }
            Cause::Refused => "run `haven doctor ENV`",
        }
    }
}

impl AwsFailure {
    /// Returns the cause with the message. Without credentials, the SDK's message explains nothing.
    pub fn reason(&self) -> String {
        match self.cause {
            cause @ Cause::NoCredentials => cause.meaning().to_owned(),
            cause => format!("{} ({})", cause.meaning(), self.said),
        }
    }

    /// Determines the cause and the message of a failed call.
    pub fn of<E: ServiceError>(error: &SdkError<E, HttpResponse>) -> AwsFailure {
        if let Some(page) = error.raw_response().and_then(web_page) {
            return AwsFailure {
                cause: Cause::NotAws,
                said: page,
            };
        }
        match error.as_service_error() {
            Some(service) => {
                let (code, message) = (service.code(), service.message());
                let cause = cause_of(code.unwrap_or_default(), message.unwrap_or_default());
                let said = match (cause, code, message) {
                    // Show the message alone: nearly all errors of CloudFormation have the code
                    // "ValidationError".
                    (Cause::Refused | Cause::Busy, _, Some(message)) => message.to_owned(),
                    (_, Some(code), Some(message)) => format!("{code}: {message}"),
                    (_, Some(text), None) | (_, None, Some(text)) => text.to_owned(),
                    (_, None, None) => match error.raw_response() {
                        Some(response) => {
                            format!("HTTP {} without a message", response.status().as_u16())
                        }
                        None => "no message".to_owned(),
                    },
                };
                AwsFailure { cause, said }
            }
            // Join the chain of sources, down to "connection refused", without the types.
            None => {
                let mut parts: Vec<String> = Vec::new();
                for part in std::iter::successors(Some(error as &dyn std::error::Error), |error| {
                    error.source()
                }) {
                    let part = part.to_string();
                    if parts.last() != Some(&part) {
                        parts.push(part);
                    }
                }
                // Without credentials, the SDK appends a line for each provider that it has tried.
                let said = parts
                    .join(": ")
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let said = said.trim_end_matches(" Attempted:").to_owned();
                AwsFailure {
                    cause: cause_of_call(&said),
                    said,
                }
            }
        }
    }
}

/// Makes the error of a failed call: what was attempted, the cause and the next step.
pub fn failed<E: ServiceError>(
    attempt: impl fmt::Display,
    error: &SdkError<E, HttpResponse>,
) -> anyhow::Error {
    anyhow::Error::new(AwsFailure::of(error)).context(attempt.to_string())
}

/// Returns a function that makes an error out of a failed call: why `attempt` failed. For
/// `Result::map_err`.
pub fn failure_to<E: ServiceError>(
    attempt: impl fmt::Display,
) -> impl FnOnce(SdkError<E, HttpResponse>) -> anyhow::Error {
    let attempt = attempt.to_string();
    move |error| failed(attempt, &error)
}

/// Returns whether CloudFormation refused a call because the stack does not exist. It has no error
/// code of its own for this.
pub(crate) fn is_missing_stack<E: ServiceError>(error: &SdkError<E, HttpResponse>) -> bool {
    AwsFailure::of(error).said.contains("does not exist")
}

/// Returns the cause for an error code. Services use several codes for one cause (IAM User Guide,
/// and "Common Errors" in each API reference).
fn cause_of(code: &str, message: &str) -> Cause {
    const EXPIRED: [&str; 2] = ["ExpiredToken", "ExpiredTokenException"];
    const CREDENTIALS: [&str; 12] = [
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "UnrecognizedClient",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        // The names that services with JSON protocols use.
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "MissingAuthenticationTokenException",
        "AuthFailure",
    ];
    const THROTTLED: [&str; 7] = [
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "RequestThrottled",
        "SlowDown",
    ];
    // Another deployment has executed its own change set, which deletes the others or makes them
    // obsolete, or has just created the stack.
    const BUSY: [&str; 5] = [
        "OperationInProgressException",
        "OperationInProgress",
        "InvalidChangeSetStatus",
        "ChangeSetNotFound",
        "AlreadyExistsException",
    ];
    if EXPIRED.contains(&code) {
        Cause::Expired
    } else if CREDENTIALS.contains(&code) {
        Cause::Credentials
    } else if THROTTLED.contains(&code) {
        Cause::Throttled
    } else if BUSY.contains(&code) || is_under_way(message) {
        Cause::Busy
    } else {
        Cause::Refused
    }
}

/// Recognizes CloudFormation's message "Stack:arn:... is in UPDATE_IN_PROGRESS state and can not be
/// updated."
fn is_under_way(message: &str) -> bool {
    let mut words = message.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_'));
    message.contains(" is in ") && words.any(|word| word.ends_with("_IN_PROGRESS"))
}

/// Returns the cause of a call that no service answered. The SDK does not export its types for
/// these failures, so the text decides.
fn cause_of_call(said: &str) -> Cause {
    let said = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["no credentials found", "no providers in chain"]) {
        Cause::NoCredentials
    } else if says(&["credential", "profile", "sso token", "no identity"]) {
        if says(&["expired"]) {
            Cause::Expired
        } else {
            Cause::Credentials
        }
    } else if says(&[
        "endpoint",
        "invalid uri",
        "relative url",
        "construction failure",
    ]) {
        Cause::Endpoint
    } else if says(&["response error", "unhandled error", "deserialize", "parse"]) {
        Cause::NotAws
    } else {
        Cause::Network
    }
}

/// Returns the status and the beginning of a web page, if the response is one. All AWS services
/// answer in XML or JSON.
fn web_page(response: &HttpResponse) -> Option<String> {
    const SHOWN: usize = 60;
    let kind = response
        .headers()
        .get("content-type")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default()).into_owned();
    let begin: String = body
        .trim_start()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(SHOWN)
        .collect();
    let begins = begin.to_ascii_lowercase();
    let is_page = kind.starts_with("text/html")
        || begins.starts_with("<!doctype html")
        || begins.starts_with("<html");
    is_page.then(|| {
        format!(
            "HTTP {} with a web page: {begin}",
            response.status().as_u16()
        )
    })
}

/// The failures of calls that ran concurrently.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Several {
    text: String,
    /// The cause of the first failure that has one.
    pub cause: Option<Cause>,
}

impl Several {
    /// Joins the failures, one per line, and appends `and_then`. A cause that all calls share, such
    /// as expired credentials, is shown once.
    pub fn of(failures: &[anyhow::Error], and_then: &str) -> Several {
        let cause = failures
            .iter()
            .find_map(|error| Some(error.downcast_ref::<AwsFailure>()?.cause));
        let is_common = cause.is_some_and(Cause::is_of_the_caller);
        let shown = if is_common {
            &failures[..failures.len().min(1)]
        } else {
            failures
        };
        let mut lines: Vec<String> = shown.iter().map(|error| format!("{error:#}")).collect();
        lines.push(and_then.to_owned());
        Several {
            text: lines.join("\n"),
            cause,
        }
    }
}

/// Returns a client configuration that gives up after 20 seconds. The first call of a command uses
/// it, so that a network failure is reported at once instead of after minutes of retries.
pub fn quick(config: &SdkConfig) -> SdkConfig {
    const GIVES_UP_AFTER: Duration = Duration::from_secs(20);
    let retries = RetryConfig::standard().with_max_attempts(3);
    let timeouts = config
        .timeout_config()
        .map(TimeoutConfig::to_builder)
        .unwrap_or_default();
    let timeouts = timeouts.operation_timeout(GIVES_UP_AFTER).build();
    config
        .to_builder()
        .retry_config(retries)
        .timeout_config(timeouts)
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;
    use crate::Target;
    use crate::change_set::wait_until_gone;
    use crate::stack::find;
    use crate::testing::{Answer, stub};

    #[test]
    fn each_error_code_has_its_cause_and_remedy() {
        for (code, message, cause) in [
            (
                "ExpiredToken",
                "The security token included in the request is expired",
                Cause::Expired,
            ),
            (
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
                Cause::Credentials,
            ),
            ("Throttling", "Rate exceeded", Cause::Throttled),
            (
                "ValidationError",
                "Stack:arn:aws:cloudformation:eu-west-1:1:stack/brew-haven-dev-data/1 is in UPDATE_IN_PROGRESS state and \
                 can not be updated.",
                Cause::Busy,
            ),
            (
                "OperationInProgressException",
                "Another Operation on StackSet arn is in progress",
                Cause::Busy,
            ),
            (
                "InvalidChangeSetStatus",
                "ChangeSet [arn] cannot be executed in its current execution status of [OBSOLETE]",
                Cause::Busy,
            ),
            (
                "ChangeSetNotFound",
                "ChangeSet [haven-1] does not exist",
                Cause::Busy,
            ),
            (
                "AlreadyExistsException",
                "Stack [brew-haven-dev-data] already exists",
                Cause::Busy,
            ),
            (
                "InvalidSignatureException",
                "The signature is not right",
                Cause::Credentials,
            ),
            (
                "ValidationError",
                "Stack with id brew-haven-dev-data does not exist",
                Cause::Refused,
            ),
            (
                "AccessDenied",
                "User: u is not authorized to perform: cloudformation:ListExports",
                Cause::Refused,
            ),
        ] {
            assert_eq!(cause_of(code, message), cause, "{code}: {message}");
        }
    }

    #[test]
    fn every_known_cause_names_the_next_step() {
        for cause in [
            Cause::Expired,
            Cause::Credentials,
            Cause::Network,
            Cause::NotAws,
            Cause::Endpoint,
            Cause::Throttled,
            Cause::Busy,
        ] {
            let line = AwsFailure {
                cause,
                said: "why".to_owned(),
            }
            .to_string();
            assert!(
                line.contains("(why)") && line.ends_with(cause.next()) && !line.contains('\n'),
                "{line}"
            );
        }
    }

    #[test]
    fn missing_credentials_are_one_sentence_without_the_words_of_the_sdk() {
        let said = "dispatch failure: other: the credential provider was not enabled: no credentials found in chain.";
        let failure = AwsFailure {
            cause: cause_of_call(said),
            said: said.to_owned(),
        };
        assert_eq!(
            failure.to_string(),
            "no AWS credentials found: run `aws sso login --profile NAME`, and set AWS_PROFILE to NAME, one of `aws configure list-profiles`"
        );
    }

    fn cause_of_error(error: &anyhow::Error) -> Option<Cause> {
        error
            .downcast_ref::<AwsFailure>()
            .map(|failure| failure.cause)
    }

    const STACK: &str = "brew-haven-dev-data";

    fn stack_that_is(status: &str) -> String {
        format!(
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>{STACK}</StackName>\
             <CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>{status}</StackStatus></member></Stacks>\
             </DescribeStacksResult></DescribeStacksResponse>"
        )
    }

    /// Returns a target with the retries of an administrator's client and pauses that fit a test.
    fn patient(config: &SdkConfig) -> Target {
        let retries = RetryConfig::standard()
            .with_max_attempts(24)
            .with_initial_backoff(Duration::from_millis(1))
            .with_max_backoff(Duration::from_millis(5));
        let dev = blueprint::Environment::named("dev").expect("known");
        Target::new(dev, &config.to_builder().retry_config(retries).build())
    }

    #[tokio::test]
    async fn concurrent_throttled_calls_are_retried_until_each_succeeds() {
        const THROTTLES: usize = 160;
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let aws = stub(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
            0..THROTTLES => Answer::refused("Throttling", "Rate exceeded"),
            _ => stack_that_is("CREATE_COMPLETE").into(),
        })
        .await;
        let target = patient(&aws.config);
        // These need more retries than the SDK's retry budget for all calls together.
        let found = join_all((0..16).map(|_| find(&target.cloudformation, STACK))).await;
        for found in found {
            assert!(found.expect("it was answered in the end").is_some());
        }
        assert_eq!(asked.load(Ordering::Relaxed), THROTTLES + 16);
    }

    #[tokio::test]
    async fn the_first_call_of_a_command_is_retried_while_throttled() {
        const THROTTLES: usize = 10;
        let asked = AtomicUsize::new(0);
        let aws = stub(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0..THROTTLES => Answer::refused("Throttling", "Rate exceeded"),
            _ => "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>\
                  </GetCallerIdentityResult></GetCallerIdentityResponse>"
                .to_owned()
                .into(),
        })
        .await;
        let account = crate::account::account(&patient(&aws.config))
            .await
            .expect("answered in the end");
        assert_eq!(account, "123456789012");
    }

    #[tokio::test]
    async fn credentials_that_expire_during_a_wait_are_reported_as_expired() {
        let asked = AtomicUsize::new(0);
        let aws = stub(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0..3 => stack_that_is("DELETE_IN_PROGRESS").into(),
            _ => Answer::refused(
                "ExpiredToken",
                "The security token included in the request is expired",
            ),
        })
        .await;
        let error = wait_until_gone(&patient(&aws.config), STACK)
            .await
            .expect_err("expired");
        let line = format!("{error:#}");
        assert!(
            line.contains(STACK) && line.contains("aws sso login") && !line.contains('\n'),
            "{line}"
        );
        assert_eq!(cause_of_error(&error), Some(Cause::Expired), "{line}");
    }

    #[tokio::test]
    async fn a_second_deployment_gets_the_advice_to_wait() {
        let aws = stub(|_| {
            Answer::refused(
                "ValidationError",
                "Stack:arn:aws:cloudformation:eu-west-1:1:stack/brew-haven-dev-data/1 is in UPDATE_IN_PROGRESS state and can \
                 not be updated.",
            )
        })
        .await;
        let error = find(&patient(&aws.config).cloudformation, STACK)
            .await
            .expect_err("busy");
        let line = format!("{error:#}");
        assert!(
            line.contains("another deployment is changing this stack")
                && line.contains("haven status"),
            "{line}"
        );
        assert_eq!(cause_of_error(&error), Some(Cause::Busy));
    }

    #[test]
    fn a_common_cause_of_several_stacks_is_reported_once() {
        let of = |cause, name: &str| {
            anyhow::Error::new(AwsFailure {
                cause,
                said: "why".to_owned(),
            })
            .context(format!("look for {name}"))
        };
        let common = Several::of(
            &[of(Cause::Credentials, "a"), of(Cause::Credentials, "b")],
            "then",
        )
        .to_string();
        assert_eq!(
            (common.matches("look for").count(), common.lines().count()),
            (1, 2),
            "{common}"
        );
        let own =
            Several::of(&[of(Cause::Refused, "a"), of(Cause::Refused, "b")], "then").to_string();
        assert_eq!(own.lines().count(), 3, "{own}");
    }
}
