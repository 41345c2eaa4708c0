//! An SQS queue as an `Inbox`.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageError;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
};
use chassis::inbox::{Delivery, EntryError, Inbox, QueueError};
use contract::cause::Cause;
use contract::queue::Queue;
use contract::{
    DELIVERIES_ATTRIBUTE, ORIGINAL_ID_ATTRIBUTE, PARK_REASON_ATTRIBUTE, TRACEPARENT_ATTRIBUTE,
};
use uuid::Uuid;

use crate::ServiceError;
use crate::messages::{failed, sent_at, system, text_of, text_value, unfit};

/// Maximum characters of the reason that is stored with a dead letter, short enough for a list.
const REASON_MAX: usize = 256;

/// A work queue and its dead-letter queue.
#[derive(Clone)]
pub struct SqsInbox {
    /// A client for all calls except receives.
    pub client: Client,
    /// A client whose receives may last as long as a long poll.
    pub polls: Client,
    /// The queue in the contract.
    pub queue: &'static Queue,
    /// URL of the work queue.
    pub url: String,
    /// URL of the dead-letter queue.
    pub parking_url: String,
}

impl SqsInbox {
    async fn poll(
        &self,
        max: usize,
        wait: Duration,
        lease: Duration,
        attempt_id: Option<&str>,
    ) -> Result<Vec<Message>, SdkError<ReceiveMessageError>> {
        let received = self
            .polls
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, 10)).unwrap_or(10))
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(0))
            .visibility_timeout(i32::try_from(lease.as_secs()).unwrap_or(i32::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names(TRACEPARENT_ATTRIBUTE)
            .set_receive_request_attempt_id(attempt_id.map(str::to_owned))
            .send()
            .await;
        Ok(received?.messages.unwrap_or_default())
    }
}

impl Inbox for SqsInbox {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        lease: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        // Without an answer, the service may have delivered messages. On a FIFO queue, a repeat
        // with the same attempt id returns them. Otherwise their groups would stay blocked for a
        // whole lease.
        let attempt_id = self.queue.fifo.then(|| Uuid::now_v7().to_string());
        let received = match self.poll(max, wait, lease, attempt_id.as_deref()).await {
            Err(lost) if attempt_id.is_some() && lost.as_service_error().is_none() => {
                self.poll(max, Duration::ZERO, lease, attempt_id.as_deref())
                    .await
            }
            other => other,
        };
        Ok(received
            .map_err(failed)?
            .into_iter()
            .map(delivery)
            .collect())
    }

    async fn delete(&self, handles: &[String]) -> Result<Vec<Result<(), EntryError>>, QueueError> {
        if handles.is_empty() {
            // SQS rejects an empty batch.
            return Ok(Vec::new());
        }
        let entries = handles.iter().enumerate().map(|(index, handle)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(handle)
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unfit)?;
        let answer = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await;
        let answer = answer.map_err(failed)?;
        Ok(per_entry(handles.len(), &answer.failed))
    }

    async fn hide(
        &self,
        handles: &[(String, Duration)],
    ) -> Result<Vec<Result<(), EntryError>>, QueueError> {
        hide(&self.client, &self.url, handles).await
    }

    async fn park(&self, delivery: &Delivery, reason: &str) -> Result<(), QueueError> {
        let (reason, deliveries) = (reason_text(reason), delivery.attempt.to_string());
        let mut call = self
            .client
            .send_message()
            .queue_url(&self.parking_url)
            .message_body(&delivery.body);
        let attributes = [
            (PARK_REASON_ATTRIBUTE, Some(reason.as_str())),
            (ORIGINAL_ID_ATTRIBUTE, Some(delivery.message_id.as_str())),
            (DELIVERIES_ATTRIBUTE, Some(deliveries.as_str())),
            // A redrive continues the trace of the message.
            (TRACEPARENT_ATTRIBUTE, delivery.traceparent.as_deref()),
        ];
        for (name, value) in attributes {
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                continue;
            };
            let value = text_value(value).map_err(unfit)?;
            call = call.message_attributes(name, value);
        }
        if self.queue.fifo {
            call = call
                .message_group_id(delivery.group.as_deref().unwrap_or("none"))
                .message_deduplication_id(format!("{}-parked", delivery.message_id));
        }
        call.send().await.map(|_| ()).map_err(failed)
    }
}

/// Makes messages of a queue invisible for these times, or visible after a time of zero.
pub async fn hide(
    client: &Client,
    url: &str,
    handles: &[(String, Duration)],
) -> Result<Vec<Result<(), EntryError>>, QueueError> {
    if handles.is_empty() {
        return Ok(Vec::new());
    }
    let entries = handles.iter().enumerate().map(|(index, (handle, hidden))| {
        ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(index.to_string())
            .receipt_handle(handle)
            .visibility_timeout(whole_seconds(*hidden))
            .build()
    });
    let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unfit)?;
    let call = client.change_message_visibility_batch().queue_url(url);
    let answer = call.set_entries(Some(entries)).send().await;
    let answer = answer.map_err(failed)?;
    Ok(per_entry(handles.len(), &answer.failed))
}

/// Returns a reason that SQS accepts as an attribute: without control characters and noncharacters,
/// and not empty.
fn reason_text(reason: &str) -> String {
    let legal = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let reason: String = reason.chars().filter(legal).take(REASON_MAX).collect();
    if reason.is_empty() {
        "no reason was given".to_owned()
    } else {
        reason
    }
}

/// Returns whole seconds, as SQS requires. Rounds up, so that a short back-off does not become
/// zero.
fn whole_seconds(hidden: Duration) -> i32 {
    let seconds = hidden.as_secs() + u64::from(hidden.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

fn delivery(message: Message) -> Delivery {
    let attempt = system(
        &message,
        MessageSystemAttributeName::ApproximateReceiveCount,
    );
    Delivery {
        group: system(&message, MessageSystemAttributeName::MessageGroupId),
        attempt: attempt.and_then(|count| count.parse().ok()).unwrap_or(1),
        sent_at: sent_at(&message),
        traceparent: text_of(&message, TRACEPARENT_ATTRIBUTE),
        message_id: message.message_id.unwrap_or_default(),
        handle: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
    }
}

fn per_entry(count: usize, failed: &[BatchResultErrorEntry]) -> Vec<Result<(), EntryError>> {
    let mut results = vec![Ok(()); count];
    for entry in failed {
        let Some(result) = entry
            .id
            .parse::<usize>()
            .ok()
            .and_then(|index| results.get_mut(index))
        else {
            continue;
        };
        let message = entry.message.as_deref().unwrap_or_default();
        let expired = is_expired(&entry.code, message);
        *result = Err(if expired {
            EntryError::HandleExpired
        } else {
            EntryError::Failed(Cause::new(ServiceError::new(
                Some(&entry.code),
                entry.message.as_deref(),
            )))
        });
    }
    results
}

/// Returns true if SQS reports an expired lease. A FIFO queue reports the handle as an invalid
/// parameter, and so does every queue for a message that is not in flight. Other invalid parameters
/// are our own mistakes.
fn is_expired(code: &str, message: &str) -> bool {
    let about_the_handle = [
        "ReceiptHandle",
        "receipt handle",
        "not available for visibility timeout change",
    ];
    code.contains("ReceiptHandleIsInvalid")
        || code.contains("MessageNotInflight")
        || (code.contains("InvalidParameterValue")
            && about_the_handle.iter().any(|part| message.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_handle_is_distinguished_from_other_errors() {
        for (code, message) in [
            (
                "ReceiptHandleIsInvalid",
                "The input receipt handle is invalid.",
            ),
            ("AWS.SimpleQueueService.MessageNotInflight", ""),
            (
                "InvalidParameterValue",
                "Value AQ for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
            ),
            (
                "InvalidParameterValue",
                "Reason: Message does not exist or is not available for visibility timeout change.",
            ),
        ] {
            assert!(is_expired(code, message), "{code}: {message}");
        }
        let ours = "Value 99999 for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.";
        assert!(!is_expired("InvalidParameterValue", ours));
        assert!(!is_expired("InternalError", "receipt handle"));
    }

    #[test]
    fn a_reason_is_a_valid_sqs_attribute() {
        assert_eq!(reason_text("bad\0 \u{ffff}line\n"), "bad line");
        assert_eq!(reason_text("\r\n"), "no reason was given");
        assert_eq!(
            reason_text(&"\u{e9}".repeat(300)).chars().count(),
            REASON_MAX
        );
    }

    #[test]
    fn a_short_back_off_is_not_rounded_to_zero() {
        let waits = [
            Duration::ZERO,
            Duration::from_millis(1),
            Duration::from_millis(1500),
        ];
        assert_eq!(waits.map(whole_seconds), [0, 1, 2]);
    }
}
