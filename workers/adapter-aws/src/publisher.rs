//! Sends messages from the outbox to a queue, a topic or the event bus, up to ten per call.
//!
//! `publish` returns one result per message, in the order of the messages. The outbox relay marks
//! the rows of successful messages as published, and sends the others again later. Every message is
//! therefore sent at least once, and sometimes twice; consumers recognize a repeat by its event id.
//!
//! A message succeeds only if the service confirms it. A batch can be accepted in part, so the code
//! does not count entries as sent because they are missing from the list of failures. When a whole
//! call fails, all its messages fail, although the service may have accepted some of them.
//!
//! On a FIFO queue the messages of one order must also keep their order:
//!
//! 1. `send` sends one batch after the other, never two at a time.
//! 2. A batch has at most one message per group. SQS may refuse one entry of a batch and accept the
//!    next one. If both were of one group, the second would overtake the first.
//! 3. `next_batch` skips a group for the rest of the batch once it has seen one of its messages,
//!    even if that message did not fit. A smaller message further down must not be sent first.
//! 4. After a failure, `send` fails the later messages of that group without sending them
//!    (`held_back`). The relay then retries all of them in order.
//! 5. The deduplication id is the event id. SQS drops a repeat within five minutes; the consumer's
//!    inbox recognizes a later one.
//!
//! Topics and the event bus guarantee no order, so their batches are filled without these rules.

use std::collections::{HashMap, HashSet};

use app::ports::publisher::{PublishError, Publisher};
use contract::cause::{BoxError, Cause};
use contract::event::Route;
use contract::messages::{Envelope, Message};
use contract::queue::{BATCH_MAX, Queue};
use contract::topic::Topic;
use contract::{EVENT_TYPE_ATTRIBUTE, STATUS_ATTRIBUTE, TRACEPARENT_ATTRIBUTE};
use serde_json::{Value, json};

use crate::call::{Call, text_attribute};
use crate::messages::text_value;
use crate::{Clients, ServiceError};

/// Maximum bytes of a call, entries and attributes together. SNS and EventBridge accept no more.
/// SQS accepts more but charges per 64 KB.
const CALL_BYTES_MAX: usize = 256 * 1024;
/// Estimated bytes of an entry besides its body: attributes, ids, source.
const ENTRY_BYTES: usize = 512;

/// The addresses of all destinations.
#[derive(Debug, Clone, Default)]
pub struct Destinations {
    /// Queue URLs by the slug of the queue.
    pub queues: HashMap<&'static str, String>,
    /// Topic ARNs by the slug of the topic.
    pub topics: HashMap<&'static str, String>,
    /// Name of the event bus.
    pub bus: String,
}

/// Sends messages to SQS, SNS and EventBridge.
#[derive(Clone)]
pub struct AwsPublisher {
    sqs: aws_sdk_sqs::Client,
    publish_batch: Call,
    put_events: Call,
    destinations: Destinations,
}

/// A message to send: its index in the request, and its encoded body.
struct Letter<'a> {
    index: usize,
    envelope: &'a Envelope,
    body: String,
}

/// Indexes of failed messages with the causes.
type Failures = Vec<(usize, Cause)>;

impl AwsPublisher {
    /// Creates a publisher for these destinations.
    pub fn new(clients: &Clients, destinations: Destinations) -> AwsPublisher {
        AwsPublisher {
            sqs: clients.sqs(),
            publish_batch: clients.publish_batch(),
            put_events: clients.put_events(),
            destinations,
        }
    }
}

impl Publisher for AwsPublisher {
    async fn publish(&self, route: Route, messages: &[Envelope]) -> Vec<Result<(), PublishError>> {
        let letter = |(index, envelope)| Letter {
            index,
            envelope,
            body: body(envelope),
        };
        let letters = messages.iter().enumerate().map(letter).collect();
        let failures = match route {
            Route::Queue(queue) => self.send(queue, letters).await,
            Route::Topic(topic) => self.say(topic, letters).await,
            Route::Bus => self.put(letters).await,
        };
        let mut results = vec![Ok(()); messages.len()];
        for (index, cause) in failures {
            results[index] = Err(PublishError { route, cause });
        }
        results
    }
}

impl AwsPublisher {
    /// Sends messages to a queue, one batch after the other, so that each group keeps its order.
    async fn send(&self, queue: &'static Queue, letters: Vec<Letter<'_>>) -> Failures {
        use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
        let Some(url) = self.destinations.queues.get(queue.slug) else {
            return all_failed(&letters, format!("the queue {} has no URL", queue.slug));
        };
        let mut failures = Failures::new();
        // On a FIFO queue, no message may overtake a failed message of its group.
        let mut held_back: HashSet<String> = HashSet::new();
        let mut waiting = letters;
        while !waiting.is_empty() {
            let (batch, rest) = next_batch(waiting, queue.fifo);
            waiting = rest;
            let mut entries = Vec::with_capacity(batch.len());
            let mut sent = Vec::with_capacity(batch.len());
            for letter in batch {
                if queue.fifo && held_back.contains(&group(letter.envelope)) {
                    failures.push((
                        letter.index,
                        Cause::new("an earlier message of its group was not taken"),
                    ));
                    continue;
                }
                let mut entry = SendMessageBatchRequestEntry::builder()
                    .id(letter.index.to_string())
                    .message_body(&letter.body);
                for (name, value) in attributes(letter.envelope) {
                    match text_value(&value) {
                        Ok(attribute) => entry = entry.message_attributes(name, attribute),
                        Err(error) => {
                            tracing::warn!(error = %error, name, "Sent without an attribute")
                        }
                    }
                }
                if queue.fifo {
                    entry = entry
                        .message_group_id(group(letter.envelope))
                        .message_deduplication_id(letter.envelope.event_id.to_string());
                }
                match entry.build() {
                    Ok(entry) => {
                        entries.push(entry);
                        sent.push(letter);
                    }
                    Err(error) => {
                        held_back.insert(group(letter.envelope));
                        failures.push((letter.index, Cause::new(error)));
                    }
                }
            }
            if entries.is_empty() {
                continue;
            }
            let answer = self
                .sqs
                .send_message_batch()
                .queue_url(url)
                .set_entries(Some(entries))
                .send()
                .await;
            let failed = match answer {
                Ok(answer) => not_taken(
                    &sent,
                    answer.successful.iter().map(|entry| entry.id.as_str()),
                    answer
                        .failed
                        .iter()
                        .map(|entry| refusal(&entry.id, &entry.code, entry.message.as_deref())),
                ),
                Err(error) => all_failed(&sent, crate::cause(error)),
            };
            for letter in &sent {
                if failed.iter().any(|(index, _)| *index == letter.index) {
                    held_back.insert(group(letter.envelope));
                }
            }
            failures.extend(failed);
        }
        failures
    }

    /// Publishes messages to a topic.
    async fn say(&self, topic: &'static Topic, letters: Vec<Letter<'_>>) -> Failures {
        let Some(arn) = self.destinations.topics.get(topic.slug) else {
            return all_failed(&letters, format!("the topic {} has no ARN", topic.slug));
        };
        let mut failures = Failures::new();
        let mut waiting = letters;
        while !waiting.is_empty() {
            let (batch, rest) = next_batch(waiting, false);
            waiting = rest;
            let entry = |letter: &Letter<'_>| {
                let attributes = attributes(letter.envelope).into_iter();
                let attributes: Vec<Value> = attributes
                    .map(|(name, value)| text_attribute(name, &value))
                    .collect();
                json!({
                    "Id": letter.index.to_string(),
                    "Message": letter.body,
                    "MessageAttributes": { "entry": attributes },
                })
            };
            let entries: Vec<Value> = batch.iter().map(entry).collect();
            let request = json!({
                "TopicArn": arn,
                "PublishBatchRequestEntries": { "member": entries },
            });
            match self.publish_batch.send(request).await {
                Ok(answer) => {
                    let taken = members(&answer["Successful"]);
                    let refused = members(&answer["Failed"]).map(|entry| {
                        let text = |field: &str| entry[field].as_str();
                        let error = ServiceError::new(text("Code"), text("Message"));
                        (text("Id").unwrap_or_default(), error)
                    });
                    let taken = taken.filter_map(|entry| entry["Id"].as_str());
                    failures.extend(not_taken(&batch, taken, refused));
                }
                Err(error) => failures.extend(all_failed(&batch, crate::cause(error))),
            }
        }
        failures
    }

    /// Puts messages on the event bus.
    async fn put(&self, letters: Vec<Letter<'_>>) -> Failures {
        let mut failures = Failures::new();
        let mut waiting = letters;
        while !waiting.is_empty() {
            let (batch, rest) = next_batch(waiting, false);
            waiting = rest;
            let entry = |letter: &Letter<'_>| {
                json!({
                    "EventBusName": self.destinations.bus,
                    "Source": format!("brew-haven.{}", letter.envelope.metadata.source),
                    "DetailType": letter.envelope.message.kind().name(),
                    "Detail": letter.body,
                })
            };
            let entries: Vec<Value> = batch.iter().map(entry).collect();
            match self.put_events.send(json!({ "Entries": entries })).await {
                // HTTP 200 does not confirm the entries. Each accepted entry has an id, in the
                // order of the request.
                Ok(answer) => {
                    let mut results = answer["Entries"].as_array().into_iter().flatten();
                    failures.extend(batch.iter().filter_map(|letter| {
                        let Some(entry) = results.next() else {
                            return Some((letter.index, Cause::new(NOT_SAID)));
                        };
                        let code = entry["ErrorCode"].as_str()?;
                        let error = ServiceError::new(Some(code), entry["ErrorMessage"].as_str());
                        Some((letter.index, Cause::new(error)))
                    }));
                }
                Err(error) => failures.extend(all_failed(&batch, crate::cause(error))),
            }
        }
        failures
    }
}

/// Returns the entries of a list in a response of SNS.
fn members(list: &Value) -> impl Iterator<Item = &Value> {
    list["member"].as_array().into_iter().flatten()
}

/// Returns the messages of the next call, in order and within the limits of a call, and the rest.
/// With `one_a_group`, a call has at most one message of each group, because a batch may fail in
/// part.
fn next_batch(waiting: Vec<Letter<'_>>, one_a_group: bool) -> (Vec<Letter<'_>>, Vec<Letter<'_>>) {
    let (mut batch, mut rest) = (Vec::new(), Vec::new());
    let mut groups = HashSet::new();
    let mut bytes = 0;
    for letter in waiting {
        let weight = letter.body.len() + ENTRY_BYTES;
        let full =
            batch.len() == BATCH_MAX || (!batch.is_empty() && bytes + weight > CALL_BYTES_MAX);
        // A skipped group stays skipped for this batch. Otherwise its messages would change places.
        let passed_over = one_a_group && !groups.insert(group(letter.envelope));
        if full || passed_over {
            rest.push(letter);
        } else {
            bytes += weight;
            batch.push(letter);
        }
    }
    (batch, rest)
}

/// An entry that a service refused: its id and the error.
type Refusal<'a> = (&'a str, ServiceError);

fn refusal<'a>(id: &'a str, code: &str, message: Option<&str>) -> Refusal<'a> {
    (id, ServiceError::new(Some(code), message))
}

const NOT_SAID: &str = "the service did not say whether it was taken";

/// Returns the messages that the service did not confirm, with the causes that it reported.
fn not_taken<'a>(
    sent: &[Letter<'_>],
    taken: impl Iterator<Item = &'a str>,
    refused: impl Iterator<Item = Refusal<'a>>,
) -> Failures {
    let taken: HashSet<&str> = taken.collect();
    let mut errors: HashMap<&str, ServiceError> = refused.collect();
    let failures = sent.iter().filter_map(|letter| {
        let id = letter.index.to_string();
        (!taken.contains(id.as_str())).then(|| {
            let error = errors.remove(id.as_str());
            let cause = error.map_or_else(|| Cause::new(NOT_SAID), Cause::new);
            (letter.index, cause)
        })
    });
    failures.collect()
}

fn all_failed(letters: &[Letter<'_>], why: impl Into<BoxError>) -> Failures {
    let cause = Cause::new(why);
    letters
        .iter()
        .map(|letter| (letter.index, cause.clone()))
        .collect()
}

/// Returns the envelope as JSON that SQS and SNS accept. They refuse the noncharacters U+FFFE and
/// U+FFFF, which JSON allows. Both can occur only within strings, where an escape has the same
/// meaning.
fn body(envelope: &Envelope) -> String {
    let body = envelope.encode();
    if body.contains(['\u{fffe}', '\u{ffff}']) {
        return body
            .replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff");
    }
    body
}

/// Returns the message group: one per order, and one per message without an order.
fn group(envelope: &Envelope) -> String {
    envelope.order_id.map_or_else(
        || envelope.event_id.to_string(),
        |order_id| order_id.to_string(),
    )
}

/// Returns the attributes that filter policies and consumers read without parsing the body.
fn attributes(envelope: &Envelope) -> Vec<(&'static str, String)> {
    let mut attributes = vec![(
        EVENT_TYPE_ATTRIBUTE,
        envelope.message.kind().name().to_owned(),
    )];
    if let Message::OrderStatusChanged { to, .. } = &envelope.message {
        attributes.push((STATUS_ATTRIBUTE, to.clone()));
    }
    if let Some(traceparent) = &envelope.metadata.traceparent {
        attributes.push((TRACEPARENT_ATTRIBUTE, traceparent.clone()));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use contract::event::EventKind;
    use contract::messages::{Metadata, PaymentFailure};
    use domain::ids::{EventId, OrderId};
    use uuid::Uuid;

    use super::*;

    fn envelope(order: u128, number: u128, reason: &str) -> Envelope {
        Envelope {
            event_id: EventId(Uuid::from_u128(number)),
            message: Message::PaymentFailed {
                reason: reason.to_owned(),
                cause: PaymentFailure::Declined,
            },
            schema: EventKind::PaymentFailed.schema(),
            occurred_at: domain::Timestamp::UNIX_EPOCH,
            order_id: Some(OrderId(Uuid::from_u128(order))),
            metadata: Metadata {
                source: "test".to_owned(),
                version: "0".to_owned(),
                traceparent: None,
            },
        }
    }

    fn letters(envelopes: &[Envelope]) -> Vec<Letter<'_>> {
        let letter = |(index, envelope)| Letter {
            index,
            envelope,
            body: body(envelope),
        };
        envelopes.iter().enumerate().map(letter).collect()
    }

    /// Returns the orders of each batch, by number.
    fn batches(envelopes: &[Envelope], one_a_group: bool) -> Vec<Vec<u128>> {
        let mut waiting = letters(envelopes);
        let mut batches = Vec::new();
        while !waiting.is_empty() {
            let (batch, rest) = next_batch(waiting, one_a_group);
            let order = |letter: &Letter<'_>| {
                letter
                    .envelope
                    .order_id
                    .map_or(0, |order_id| order_id.0.as_u128())
            };
            batches.push(batch.iter().map(order).collect());
            waiting = rest;
        }
        batches
    }

    #[test]
    fn a_batch_has_one_message_of_a_group_and_the_rest_keep_their_order() {
        let envelopes: Vec<_> = [1, 1, 2, 1, 3, 2]
            .iter()
            .zip(1..)
            .map(|(order, number)| envelope(*order, number, ""))
            .collect();
        assert_eq!(
            batches(&envelopes, true),
            [vec![1, 2, 3], vec![1, 2], vec![1]]
        );
        assert_eq!(batches(&envelopes, false), [vec![1, 1, 2, 1, 3, 2]]);
    }

    #[test]
    fn a_batch_has_at_most_ten_messages_and_the_maximum_size_of_a_call() {
        let small: Vec<_> = (1..=23)
            .map(|number| envelope(number, number, ""))
            .collect();
        let sizes = |envelopes: &[Envelope]| {
            batches(envelopes, true)
                .iter()
                .map(Vec::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&small), [10, 10, 3]);
        let large: Vec<_> = (1..=5)
            .map(|number| envelope(number, number, &"x".repeat(100_000)))
            .collect();
        assert_eq!(sizes(&large), [2, 2, 1]);
        let huge = [envelope(1, 1, &"x".repeat(300_000)), envelope(2, 2, "")];
        assert_eq!(sizes(&huge), [1, 1], "the service refuses it, and only it");
    }

    #[test]
    fn characters_that_sqs_refuses_arrive_as_they_were() {
        let sent = envelope(1, 1, "a\u{fffe}b\u{ffff}c");
        let body = body(&sent);
        assert!(!body.contains(['\u{fffe}', '\u{ffff}']), "{body}");
        assert_eq!(Envelope::decode(&body), Ok(sent));
    }

    #[test]
    fn a_message_missing_in_the_response_was_not_accepted() {
        let envelopes: Vec<_> = (1..=3).map(|number| envelope(number, number, "")).collect();
        let refused = [refusal("2", "Internal", None)];
        let failures = not_taken(&letters(&envelopes), ["0"].into_iter(), refused.into_iter());
        assert_eq!(
            failures,
            [
                (1, Cause::new(NOT_SAID)),
                (2, Cause::new("Internal: no message"))
            ]
        );
    }
}
