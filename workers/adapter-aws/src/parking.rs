//! The parking queue beside a work queue, as an operator handles it: read whole, handed back, sent
//! back to work.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue,
    MessageSystemAttributeName,
};
use chassis::inbox::QueueError;
use contract::queue::{BATCH_MAX, Queue};
use contract::{
    DELIVERIES_ATTRIBUTE, ORIGINAL_ID_ATTRIBUTE, PARK_REASON_ATTRIBUTE, TRACEPARENT_ATTRIBUTE,
};
use domain::Timestamp;
use tokio_util::sync::CancellationToken;

/// What is read is hidden from others for so long if its reader dies: long enough to read it all
/// and hand it back.
const LEASE_S: i32 = 60;
/// A short poll may overlook messages; this one asks everywhere.
const WAIT_S: i32 = 1;
/// SQS moves a message here by itself after the last delivery, and says nothing.
const NO_REASON: &str = "the queue moved it here after its last delivery, without a reason";

/// A message in a parking queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub message_id: String,
    /// Names this read of it; worthless once it was handed back.
    pub handle: String,
    pub body: String,
    pub group: Option<String>,
    pub reason: String,
    /// The message that it was in the work queue.
    pub original_id: Option<String>,
    /// How often it had been delivered there.
    pub deliveries: Option<u32>,
    pub parked_at: Option<Timestamp>,
    pub traceparent: Option<String>,
}

/// A work queue's parking queue.
#[derive(Clone)]
pub struct SqsParking {
    pub client: Client,
    /// A client whose receives may take as long as a long poll.
    pub polls: Client,
    pub queue: &'static Queue,
    pub url: String,
    pub parking_url: String,
}

impl SqsParking {
    /// All that is parked, oldest first, up to `max`; handed back before this returns, also when it
    /// is told to stop. Of one group of a FIFO queue SQS shows ten at a time.
    pub async fn read(
        &self,
        max: usize,
        stop: &CancellationToken,
    ) -> Result<Vec<Parked>, QueueError> {
        let mut parked = Vec::new();
        let outcome = loop {
            if parked.len() >= max || stop.is_cancelled() {
                break Ok(());
            }
            match self.receive().await {
                Ok(some) if some.is_empty() => break Ok(()),
                Ok(some) => parked.extend(some),
                Err(error) => break Err(error),
            }
        };
        self.hand_back(&parked).await?;
        outcome?;
        parked.sort_by_key(|parked| parked.parked_at);
        Ok(parked)
    }

    /// Up to ten, hidden from others for a minute: hand back what is not deleted.
    pub async fn receive(&self) -> Result<Vec<Parked>, QueueError> {
        let call = self
            .polls
            .receive_message()
            .queue_url(&self.parking_url)
            .max_number_of_messages(BATCH_MAX as i32)
            .wait_time_seconds(WAIT_S)
            .visibility_timeout(LEASE_S)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let answer = call
            .send()
            .await
            .map_err(|error| QueueError(crate::why(&error)))?;
        Ok(answer
            .messages
            .unwrap_or_default()
            .into_iter()
            .map(parked)
            .collect())
    }

    /// Whatever is left of a lease is given up at once. One whose lease has ended is back already.
    pub async fn hand_back(&self, parked: &[Parked]) -> Result<(), QueueError> {
        for batch in parked.chunks(BATCH_MAX) {
            let entries = batch.iter().enumerate().map(|(index, parked)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&parked.handle)
                    .visibility_timeout(0)
                    .build()
            });
            let entries = entries
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| QueueError(error.to_string()))?;
            let call = self
                .client
                .change_message_visibility_batch()
                .queue_url(&self.parking_url);
            call.set_entries(Some(entries))
                .send()
                .await
                .map_err(|error| QueueError(crate::why(&error)))?;
        }
        Ok(())
    }

    /// Puts a copy on the work queue and gives the copy's id. The caller deletes the parked one
    /// afterwards.
    ///
    /// On a FIFO queue the copy is deduplicated by the parked message's own id. Not by the event's:
    /// SQS would swallow it for five minutes after it was first sent. And not by a new one: sent
    /// again after a crash, it is the same sending. After those five minutes a repeat arrives, and
    /// the inbox knows it by the event's id.
    pub async fn send_back(&self, parked: &Parked) -> Result<String, QueueError> {
        let mut call = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(&parked.body);
        if let Some(traceparent) = &parked.traceparent {
            let attribute = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(traceparent)
                .build();
            let attribute = attribute.map_err(|error| QueueError(error.to_string()))?;
            call = call.message_attributes(TRACEPARENT_ATTRIBUTE, attribute);
        }
        if self.queue.fifo {
            call = call
                .message_group_id(parked.group.as_deref().unwrap_or("none"))
                .message_deduplication_id(format!("redrive-{}", parked.message_id));
        }
        let sent = call
            .send()
            .await
            .map_err(|error| QueueError(crate::why(&error)))?;
        Ok(sent.message_id.unwrap_or_default())
    }

    /// Removes a parked message for good.
    pub async fn delete(&self, parked: &Parked) -> Result<(), QueueError> {
        let call = self
            .client
            .delete_message()
            .queue_url(&self.parking_url)
            .receipt_handle(&parked.handle);
        call.send()
            .await
            .map(|_| ())
            .map_err(|error| QueueError(crate::why(&error)))
    }
}

fn parked(message: Message) -> Parked {
    let system = |name| {
        message
            .attributes
            .as_ref()
            .and_then(|all| all.get(&name))
            .cloned()
    };
    let parked_at = system(MessageSystemAttributeName::SentTimestamp)
        .and_then(|millis| millis.parse::<i128>().ok())
        .and_then(|millis| Timestamp::from_unix_timestamp_nanos(millis * 1_000_000).ok());
    let text = |name: &str| {
        let attribute = message
            .message_attributes
            .as_ref()
            .and_then(|all| all.get(name));
        attribute.and_then(|attribute| attribute.string_value.clone())
    };
    Parked {
        group: system(MessageSystemAttributeName::MessageGroupId),
        reason: text(PARK_REASON_ATTRIBUTE).unwrap_or_else(|| NO_REASON.to_owned()),
        original_id: text(ORIGINAL_ID_ATTRIBUTE),
        deliveries: text(DELIVERIES_ATTRIBUTE).and_then(|count| count.parse().ok()),
        parked_at,
        traceparent: text(TRACEPARENT_ATTRIBUTE),
        message_id: message.message_id.unwrap_or_default(),
        handle: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
    }
}
