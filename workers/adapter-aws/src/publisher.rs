//! From the outbox to queues, topics and the bus, ten messages a call.

use std::collections::{HashMap, HashSet};

use app::ports::publisher::Publisher;
use contract::event::Route;
use contract::messages::{Envelope, Message};
use contract::queue::{BATCH_MAX, Queue};
use contract::topic::Topic;
use contract::{EVENT_TYPE_ATTRIBUTE, STATUS_ATTRIBUTE, TRACEPARENT_ATTRIBUTE};

use crate::Clients;

/// Where each destination is.
#[derive(Debug, Clone, Default)]
pub struct Destinations {
    /// Queue URLs by the queue's slug.
    pub queues: HashMap<&'static str, String>,
    /// Topic ARNs by the topic's slug.
    pub topics: HashMap<&'static str, String>,
    /// The bus's name.
    pub bus: String,
}

#[derive(Clone)]
pub struct AwsPublisher {
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
    events: aws_sdk_eventbridge::Client,
    destinations: Destinations,
}

/// Which of the messages failed on one route, and why.
type Failures = Vec<(usize, String)>;

impl AwsPublisher {
    pub fn new(clients: &Clients, destinations: Destinations) -> AwsPublisher {
        AwsPublisher { sqs: clients.sqs(), sns: clients.sns(), events: clients.eventbridge(), destinations }
    }
}

impl Publisher for AwsPublisher {
    async fn publish(&self, messages: &[Envelope]) -> Vec<Result<(), String>> {
        let mut to_queues: HashMap<&str, (&'static Queue, Vec<usize>)> = HashMap::new();
        let mut to_topics: HashMap<&str, (&'static Topic, Vec<usize>)> = HashMap::new();
        let mut to_bus = Vec::new();
        for (index, envelope) in messages.iter().enumerate() {
            for route in envelope.message.kind().routes() {
                match route {
                    Route::Queue(queue) => to_queues.entry(queue.slug).or_insert((queue, Vec::new())).1.push(index),
                    Route::Topic(topic) => to_topics.entry(topic.slug).or_insert((topic, Vec::new())).1.push(index),
                    Route::Bus => to_bus.push(index),
                }
            }
        }
        let queues =
            futures::future::join_all(to_queues.values().map(|(queue, indexes)| self.send(queue, messages, indexes)));
        let topics =
            futures::future::join_all(to_topics.values().map(|(topic, indexes)| self.say(topic, messages, indexes)));
        let (queues, topics, bus) = futures::future::join3(queues, topics, self.put(messages, &to_bus)).await;

        let mut results = vec![Ok(()); messages.len()];
        for (index, why) in queues.into_iter().chain(topics).flatten().chain(bus) {
            results[index] = Err(why);
        }
        results
    }
}

impl AwsPublisher {
    /// One batch after the other: the order within a group is the order of sending.
    async fn send(&self, queue: &'static Queue, messages: &[Envelope], indexes: &[usize]) -> Failures {
        use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
        let mut failures = Failures::new();
        let Some(url) = self.destinations.queues.get(queue.slug) else {
            return indexes.iter().map(|index| (*index, format!("the queue {} has no URL", queue.slug))).collect();
        };
        // On a FIFO queue nothing of a group may overtake a message of it that was not taken.
        let mut held_back: HashSet<String> = HashSet::new();
        for batch in indexes.chunks(BATCH_MAX) {
            let mut entries = Vec::with_capacity(batch.len());
            for index in batch {
                let envelope = &messages[*index];
                if queue.fifo && held_back.contains(&group(envelope)) {
                    failures.push((*index, "an earlier message of its group was not taken".to_owned()));
                    continue;
                }
                let mut entry =
                    SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(envelope.encode());
                for (name, value) in attributes(envelope) {
                    match MessageAttributeValue::builder().data_type("String").string_value(value).build() {
                        Ok(attribute) => entry = entry.message_attributes(name, attribute),
                        Err(error) => tracing::warn!(error = %error, name, "Sent without an attribute"),
                    }
                }
                if queue.fifo {
                    entry =
                        entry.message_group_id(group(envelope)).message_deduplication_id(envelope.event_id.to_string());
                }
                match entry.build() {
                    Ok(entry) => entries.push(entry),
                    Err(error) => failures.push((*index, error.to_string())),
                }
            }
            if entries.is_empty() {
                continue;
            }
            let sent = self.sqs.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await;
            let failed: Failures = match sent {
                Ok(answer) => answer
                    .failed
                    .iter()
                    .filter_map(|entry| Some((entry.id.parse().ok()?, format!("{}: {:?}", entry.code, entry.message))))
                    .collect(),
                Err(error) => batch.iter().map(|index| (*index, crate::why(&error))).collect(),
            };
            held_back.extend(failed.iter().map(|(index, _)| group(&messages[*index])));
            failures.extend(failed);
        }
        failures
    }

    async fn say(&self, topic: &'static Topic, messages: &[Envelope], indexes: &[usize]) -> Failures {
        use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
        let mut failures = Failures::new();
        let Some(arn) = self.destinations.topics.get(topic.slug) else {
            return indexes.iter().map(|index| (*index, format!("the topic {} has no ARN", topic.slug))).collect();
        };
        for batch in indexes.chunks(BATCH_MAX) {
            let mut entries = Vec::with_capacity(batch.len());
            for index in batch {
                let envelope = &messages[*index];
                let mut entry = PublishBatchRequestEntry::builder().id(index.to_string()).message(envelope.encode());
                for (name, value) in attributes(envelope) {
                    match MessageAttributeValue::builder().data_type("String").string_value(value).build() {
                        Ok(attribute) => entry = entry.message_attributes(name, attribute),
                        Err(error) => tracing::warn!(error = %error, name, "Published without an attribute"),
                    }
                }
                match entry.build() {
                    Ok(entry) => entries.push(entry),
                    Err(error) => failures.push((*index, error.to_string())),
                }
            }
            let sent = self.sns.publish_batch().topic_arn(arn);
            match sent.set_publish_batch_request_entries(Some(entries)).send().await {
                Ok(answer) => failures.extend(answer.failed.unwrap_or_default().iter().filter_map(|entry| {
                    Some((entry.id.parse().ok()?, format!("{}: {:?}", entry.code, entry.message)))
                })),
                Err(error) => failures.extend(batch.iter().map(|index| (*index, crate::why(&error)))),
            }
        }
        failures
    }

    async fn put(&self, messages: &[Envelope], indexes: &[usize]) -> Failures {
        use aws_sdk_eventbridge::types::PutEventsRequestEntry;
        let mut failures = Failures::new();
        for batch in indexes.chunks(BATCH_MAX) {
            let entries = batch.iter().map(|index| {
                let envelope = &messages[*index];
                PutEventsRequestEntry::builder()
                    .event_bus_name(&self.destinations.bus)
                    .source(format!("brew-haven.{}", envelope.metadata.source))
                    .detail_type(envelope.message.kind().name())
                    .detail(envelope.encode())
                    .build()
            });
            match self.events.put_events().set_entries(Some(entries.collect())).send().await {
                // HTTP 200 says nothing about the entries.
                Ok(answer) => {
                    let results = answer.entries.unwrap_or_default();
                    failures.extend(batch.iter().zip(results).filter_map(|(index, entry)| {
                        let code = entry.error_code?;
                        Some((*index, format!("{code}: {}", entry.error_message.unwrap_or_default())))
                    }));
                }
                Err(error) => failures.extend(batch.iter().map(|index| (*index, crate::why(&error)))),
            }
        }
        failures
    }
}

/// Messages of one order are one group; those about no order are groups of their own.
fn group(envelope: &Envelope) -> String {
    envelope.order_id.map_or_else(|| envelope.event_id.to_string(), |order_id| order_id.to_string())
}

/// What filter policies and consumers read without opening the body.
fn attributes(envelope: &Envelope) -> Vec<(&'static str, String)> {
    let mut attributes = vec![(EVENT_TYPE_ATTRIBUTE, envelope.message.kind().name().to_owned())];
    if let Message::OrderStatusChanged { to, .. } = &envelope.message {
        attributes.push((STATUS_ATTRIBUTE, to.clone()));
    }
    if let Some(traceparent) = &envelope.metadata.traceparent {
        attributes.push((TRACEPARENT_ATTRIBUTE, traceparent.clone()));
    }
    attributes
}
