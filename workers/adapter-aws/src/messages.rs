//! The parts of SQS messages and calls that work queues and dead-letter queues share.

use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use chassis::inbox::QueueError;
use contract::cause::Cause;
use domain::Timestamp;

/// Returns the error of a call.
pub fn failed<E, R>(error: SdkError<E, R>) -> QueueError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    QueueError(crate::cause(error))
}

/// Returns the error of a part that cannot be built.
pub fn unfit(error: BuildError) -> QueueError {
    QueueError(Cause::new(error))
}

/// Builds a text attribute.
pub fn text_value(value: &str) -> Result<MessageAttributeValue, BuildError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
}

/// Returns an attribute that the sender set.
pub fn text_of(message: &Message, name: &str) -> Option<String> {
    let attribute = message.message_attributes.as_ref()?.get(name)?;
    attribute.string_value.clone()
}

/// Returns an attribute that SQS set.
pub fn system(message: &Message, name: MessageSystemAttributeName) -> Option<String> {
    message.attributes.as_ref()?.get(&name).cloned()
}

/// Returns the time at which a message was sent to its queue.
pub fn sent_at(message: &Message) -> Option<Timestamp> {
    let sent = system(message, MessageSystemAttributeName::SentTimestamp)?;
    let millis: i128 = sent.parse().ok()?;
    Timestamp::from_unix_timestamp_nanos(millis * 1_000_000).ok()
}
