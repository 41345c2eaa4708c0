//! The dead-letter queue of a work queue, for operators: reading, returning and redriving dead
//! letters.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use chassis::inbox::QueueError;
use contract::queue::{BATCH_MAX, Queue};
use contract::{
    DELIVERIES_ATTRIBUTE, ORIGINAL_ID_ATTRIBUTE, PARK_REASON_ATTRIBUTE, TRACEPARENT_ATTRIBUTE,
};
use domain::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::inbox::hide;
use crate::messages::{failed, sent_at, system, text_of, text_value, unfit};

/// Visibility timeout in seconds of a receive: long enough to read all dead letters and return
/// them. If the reader dies, they are visible again after this time.
const LEASE_S: i32 = 60;
/// Wait time in seconds. A receive without a wait can miss messages; a long poll queries all
/// servers of SQS.
const WAIT_S: i32 = 1;
/// SQS itself moves a message here after the last delivery, without a reason.
const NO_REASON: &str = "the queue moved it here after its last delivery, without a reason";

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Id of the message in the dead-letter queue.
    pub message_id: String,
    /// Receipt handle of this delivery, invalid after the message was returned.
    pub handle: String,
    /// The envelope.
    pub body: String,
    /// The message group on a FIFO queue.
    pub group: Option<String>,
    /// Why the message could not be handled.
    pub reason: String,
    /// Id that the message had in the work queue.
    pub original_id: Option<String>,
    /// Number of deliveries from the work queue.
    pub deliveries: Option<u32>,
    /// When the message was moved here.
    pub parked_at: Option<Timestamp>,
    /// The trace that the message belongs to.
    pub traceparent: Option<String>,
}

/// The dead-letter queue of a work queue.
#[derive(Clone)]
pub struct SqsParking {
    /// A client for all calls except receives.
    pub client: Client,
    /// A client whose receives may last as long as a long poll.
    pub polls: Client,
    /// The work queue in the contract.
    pub queue: &'static Queue,
    /// URL of the work queue.
    pub url: String,
    /// URL of the dead-letter queue.
    pub parking_url: String,
}

impl SqsParking {
    /// Reads up to `max` dead letters, oldest first, and makes them visible again before it
    /// returns, even when `stop` is canceled. SQS delivers only ten messages of one FIFO group at a
    /// time.
    ///
    /// # Errors
    /// Returns the cause when a receive fails or the messages cannot be returned.
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

    /// Receives up to ten dead letters with a visibility timeout of one minute. The caller must
    /// delete or return them.
    ///
    /// # Errors
    /// Returns the cause when the call fails.
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
        let answer = call.send().await.map_err(failed)?;
        Ok(answer
            .messages
            .unwrap_or_default()
            .into_iter()
            .map(parked)
            .collect())
    }

    /// Makes dead letters visible again at once. A message whose lease has expired is visible
    /// already.
    ///
    /// # Errors
    /// Returns the cause when a call fails.
    pub async fn hand_back(&self, parked: &[Parked]) -> Result<(), QueueError> {
        for batch in parked.chunks(BATCH_MAX) {
            let batch = batch.iter().map(|it| (it.handle.clone(), Duration::ZERO));
            let batch: Vec<_> = batch.collect();
            hide(&self.client, &self.parking_url, &batch).await?;
        }
        Ok(())
    }

    /// Sends a copy to the work queue and returns its message id. The caller deletes the dead
    /// letter afterwards.
    ///
    /// On a FIFO queue the deduplication id is made of the dead letter's own id:
    ///
    /// - The event id would be wrong, because SQS drops a repeat for five minutes after the first
    ///   sending.
    /// - A new id would be wrong, because a repeat after a crash must not send a second copy.
    ///
    /// After those five minutes a repeat is delivered, and the inbox of the consumer recognizes the
    /// event id.
    ///
    /// # Errors
    /// Returns the cause when the call fails.
    pub async fn send_back(&self, parked: &Parked) -> Result<String, QueueError> {
        let mut call = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(&parked.body);
        if let Some(traceparent) = &parked.traceparent {
            let attribute = text_value(traceparent).map_err(unfit)?;
            call = call.message_attributes(TRACEPARENT_ATTRIBUTE, attribute);
        }
        if self.queue.fifo {
            call = call
                .message_group_id(parked.group.as_deref().unwrap_or("none"))
                .message_deduplication_id(format!("redrive-{}", parked.message_id));
        }
        let sent = call.send().await.map_err(failed)?;
        Ok(sent.message_id.unwrap_or_default())
    }

    /// Deletes a dead letter.
    ///
    /// # Errors
    /// Returns the cause when the call fails.
    pub async fn delete(&self, parked: &Parked) -> Result<(), QueueError> {
        let call = self
            .client
            .delete_message()
            .queue_url(&self.parking_url)
            .receipt_handle(&parked.handle);
        call.send().await.map(|_| ()).map_err(failed)
    }
}

fn parked(message: Message) -> Parked {
    let text = |name: &str| text_of(&message, name);
    Parked {
        group: system(&message, MessageSystemAttributeName::MessageGroupId),
        reason: text(PARK_REASON_ATTRIBUTE).unwrap_or_else(|| NO_REASON.to_owned()),
        original_id: text(ORIGINAL_ID_ATTRIBUTE),
        deliveries: text(DELIVERIES_ATTRIBUTE).and_then(|count| count.parse().ok()),
        parked_at: sent_at(&message),
        traceparent: text(TRACEPARENT_ATTRIBUTE),
        message_id: message.message_id.unwrap_or_default(),
        handle: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
    }
}
