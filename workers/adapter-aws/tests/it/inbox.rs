use std::collections::HashMap;
use std::time::Duration;

use adapter_aws::{Clients, SqsInbox};
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use chassis::inbox::{EntryError, Inbox};
use contract::queue::{NOTIFICATIONS, ORDERS, Queue};
use contract::{PARK_REASON_ATTRIBUTE, TRACEPARENT_ATTRIBUTE};

use super::lossy::Lossy;

const LEASE: Duration = Duration::from_secs(1);
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Creates a queue and returns its URL.
pub async fn queue(clients: &Clients, slug: &str, fifo: bool) -> String {
    let mut name = super::unique(slug);
    let mut call = clients.sqs().create_queue();
    if fifo {
        name.push_str(".fifo");
        call = call.attributes(QueueAttributeName::FifoQueue, "true");
    }
    call.queue_name(name)
        .send()
        .await
        .expect("the queue is made")
        .queue_url
        .expect("with a URL")
}

async fn inbox(clients: &Clients, queue: &'static Queue) -> SqsInbox {
    SqsInbox {
        client: clients.sqs(),
        polls: clients.sqs_polls(),
        queue,
        url: self::queue(clients, queue.slug, queue.fifo).await,
        parking_url: self::queue(clients, &queue.parking_slug(), queue.fifo).await,
    }
}

async fn send(inbox: &SqsInbox, group: &str, body: &str) {
    let mut call = inbox
        .client
        .send_message()
        .queue_url(&inbox.url)
        .message_body(body)
        .message_attributes(
            TRACEPARENT_ATTRIBUTE,
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(TRACE)
                .build()
                .expect("text"),
        );
    if inbox.queue.fifo {
        call = call
            .message_group_id(group)
            .message_deduplication_id(super::unique("d"));
    }
    call.send().await.expect("sent");
}

async fn receive(inbox: &SqsInbox) -> Vec<chassis::inbox::Delivery> {
    inbox
        .receive(10, Duration::from_secs(1), LEASE)
        .await
        .expect("received")
}

#[tokio::test]
async fn a_group_waits_for_its_message_and_an_expired_handle_is_reported() {
    let aws = servers::local_aws().await;
    let inbox = inbox(&super::clients(&aws.access), &ORDERS).await;
    for (group, body) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        send(&inbox, group, body).await;
    }
    let first = inbox
        .receive(1, Duration::from_secs(1), LEASE)
        .await
        .expect("received");
    let [a1] = first.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!(
        (a1.body.as_str(), a1.group.as_deref(), a1.attempt),
        ("a1", Some("a"), 1)
    );
    assert_eq!(a1.traceparent.as_deref(), Some(TRACE));
    assert!(a1.sent_at.is_some());
    let others = receive(&inbox).await;
    assert_eq!(
        others
            .iter()
            .map(|other| other.body.as_str())
            .collect::<Vec<_>>(),
        ["b1"],
        "its group waits"
    );

    // After its return the message is delivered again at once, with a higher count.
    let hidden = inbox
        .hide(&[(a1.handle.clone(), Duration::ZERO)])
        .await
        .expect("answered");
    assert_eq!(hidden, [Ok(())]);
    let again = inbox
        .receive(1, Duration::from_secs(1), LEASE)
        .await
        .expect("received");
    let [again] = again.as_slice() else {
        panic!("{again:?}")
    };
    assert_eq!((again.body.as_str(), again.attempt), ("a1", 2));
    assert_eq!(again.message_id, a1.message_id);

    // The lease expires, and another consumer receives the message.
    tokio::time::sleep(LEASE + Duration::from_millis(300)).await;
    let taken = inbox
        .receive(1, Duration::from_secs(1), Duration::from_secs(30))
        .await
        .expect("received");
    assert_eq!(taken[0].body, "a1");
    let results = inbox
        .delete(&[
            again.handle.clone(),
            "nonsense".to_owned(),
            taken[0].handle.clone(),
        ])
        .await;
    let results = results.expect("answered");
    assert_eq!(results[1], Err(EntryError::HandleExpired));
    println!(
        "delete with the handle of a lease that ended: {:?}",
        results[0]
    );
    let results = inbox
        .hide(&[("nonsense".to_owned(), LEASE)])
        .await
        .expect("answered");
    assert_eq!(results, [Err(EntryError::HandleExpired)]);
    assert_eq!(inbox.delete(&[]).await, Ok(vec![]));
    assert_eq!(inbox.hide(&[]).await, Ok(vec![]));
}

#[tokio::test]
async fn a_dead_letter_has_its_reason_and_the_original_content() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    for queue in [&ORDERS, &NOTIFICATIONS] {
        let inbox = inbox(&clients, queue).await;
        send(&inbox, "a", "{not json").await;
        let received = receive(&inbox).await;
        let [delivery] = received.as_slice() else {
            panic!("{received:?}")
        };
        // A crash between the two steps of parking creates two dead letters on a standard queue.
        inbox
            .park(delivery, "not an envelope:\u{0}\n expected `,`")
            .await
            .expect("parked");
        inbox.park(delivery, "").await.expect("parked again");
        let handles: Vec<String> = received
            .iter()
            .map(|delivery| delivery.handle.clone())
            .collect();
        assert_eq!(inbox.delete(&handles).await.expect("deleted"), [Ok(())]);

        let mut parked = Vec::new();
        for _ in 0..2 {
            let call = clients
                .sqs()
                .receive_message()
                .queue_url(&inbox.parking_url)
                .max_number_of_messages(10);
            let call = call.message_attribute_names("All").wait_time_seconds(1);
            parked.extend(
                call.send()
                    .await
                    .expect("received")
                    .messages
                    .unwrap_or_default(),
            );
        }
        assert_eq!(
            parked.len(),
            if queue.fifo { 1 } else { 2 },
            "{}",
            queue.slug
        );
        let reasons: HashMap<_, _> = parked[0].message_attributes.clone().unwrap_or_default();
        let text = |name: &str| {
            reasons
                .get(name)
                .and_then(|value| value.string_value.clone())
                .unwrap_or_default()
        };
        assert_eq!(parked[0].body.as_deref(), Some("{not json"));
        assert_eq!(text("original_message_id"), delivery.message_id);
        assert_eq!(text(TRACEPARENT_ATTRIBUTE), TRACE);
        let mut expected = vec!["not an envelope: expected `,`", "no reason was given"];
        expected.truncate(parked.len());
        assert!(expected.contains(&text(PARK_REASON_ATTRIBUTE).as_str()));
    }
}

#[tokio::test]
async fn a_receive_without_a_response_is_repeated_with_its_attempt_id() {
    let aws = servers::local_aws().await;
    let lossy = Lossy::before(&aws.access).await;
    let direct = inbox(&super::clients(&aws.access), &ORDERS).await;
    let proxied = super::clients(&lossy.access);
    let inbox = SqsInbox {
        client: proxied.sqs(),
        polls: proxied.sqs_polls(),
        ..direct.clone()
    };
    lossy.lose("ReceiveMessage", 1);
    send(&direct, "a", "a1").await;
    let received = receive(&inbox).await;
    receive(&inbox).await;
    println!("recovered by the attempt's id: {}", received.len());
    let attempts: Vec<String> = lossy
        .sent("ReceiveMessage")
        .iter()
        .filter_map(|body| {
            Some(
                body.split("\"ReceiveRequestAttemptId\":\"")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .to_owned(),
            )
        })
        .collect();
    let [lost, again, next] = attempts.as_slice() else {
        panic!("{attempts:?}")
    };
    assert_eq!(lost, again, "the same receive");
    assert_ne!(again, next, "another receive");
}
