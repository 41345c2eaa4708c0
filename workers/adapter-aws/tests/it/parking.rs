//! Reading and redriving dead letters.

use std::collections::BTreeSet;
use std::time::Duration;

use adapter_aws::{Clients, Parked, SqsInbox, SqsParking};
use chassis::inbox::{Delivery, Inbox as _};
use contract::queue::{ORDERS, PAYMENTS, Queue};
use tokio_util::sync::CancellationToken;

use super::inbox::queue;

const LEASE: Duration = Duration::from_secs(30);

async fn queues(clients: &Clients, of: &'static Queue) -> (SqsInbox, SqsParking) {
    let url = queue(clients, of.slug, of.fifo).await;
    let parking_url = queue(clients, &of.parking_slug(), of.fifo).await;
    let (client, polls) = (clients.sqs(), clients.sqs_polls());
    let inbox = SqsInbox {
        client: client.clone(),
        polls: polls.clone(),
        queue: of,
        url: url.clone(),
        parking_url: parking_url.clone(),
    };
    (
        inbox,
        SqsParking {
            client,
            polls,
            queue: of,
            url,
            parking_url,
        },
    )
}

/// Parks a message as a consumer does.
async fn park(inbox: &SqsInbox, group: &str, body: &str) {
    let delivery = Delivery {
        message_id: super::unique("m"),
        handle: String::new(),
        body: body.to_owned(),
        group: inbox.queue.fifo.then(|| group.to_owned()),
        attempt: 7,
        sent_at: None,
        traceparent: None,
    };
    inbox
        .park(&delivery, "it cannot happen")
        .await
        .expect("parked");
}

async fn read(parking: &SqsParking) -> Vec<Parked> {
    parking
        .read(1_000, &CancellationToken::new())
        .await
        .expect("read")
}

async fn waiting(inbox: &SqsInbox) -> Vec<Delivery> {
    inbox
        .receive(10, Duration::from_secs(1), LEASE)
        .await
        .expect("received")
}

#[tokio::test]
async fn reading_dead_letters_deletes_and_hides_none() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    for of in [&ORDERS, &PAYMENTS] {
        let (inbox, parking) = queues(&clients, of).await;
        let bodies: BTreeSet<String> = (0..23).map(|number| format!("body {number}")).collect();
        for body in &bodies {
            park(&inbox, body, body).await;
        }
        for look in 0..2 {
            let seen = read(&parking).await;
            assert_eq!(
                seen.iter()
                    .map(|parked| parked.body.clone())
                    .collect::<BTreeSet<_>>(),
                bodies,
                "look {look}"
            );
            assert!(
                seen.iter()
                    .all(|parked| parked.reason == "it cannot happen"
                        && parked.deliveries == Some(7))
            );
        }
        // A canceled read returns the messages that it has received.
        let stopped = CancellationToken::new();
        stopped.cancel();
        assert_eq!(parking.read(1_000, &stopped).await, Ok(Vec::new()));
        assert!(!parking.receive().await.expect("received").is_empty());
    }
}

#[tokio::test]
async fn a_recently_sent_message_is_redriven_once() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (inbox, parking) = queues(&clients, &ORDERS).await;
    // Sends the message as the relay does, with the event id for deduplication.
    let send = inbox
        .client
        .send_message()
        .queue_url(&inbox.url)
        .message_body("body")
        .message_group_id("order");
    send.message_deduplication_id("event")
        .send()
        .await
        .expect("sent");
    let received = waiting(&inbox).await;
    inbox
        .park(&received[0], "it cannot happen")
        .await
        .expect("parked");
    inbox
        .delete(&[received[0].handle.clone()])
        .await
        .expect("deleted");

    let parked = parking
        .receive()
        .await
        .expect("received")
        .pop()
        .expect("parked");
    assert_eq!(parked.original_id.as_ref(), Some(&received[0].message_id));
    let sent = parking.send_back(&parked).await.expect("sent");
    // After a crash before the delete, the next operator sends the message again.
    parking.send_back(&parked).await.expect("sent again");
    parking.delete(&parked).await.expect("deleted");

    let again = waiting(&inbox).await;
    let [delivery] = again.as_slice() else {
        panic!("{again:?}")
    };
    assert_eq!(
        (
            &delivery.message_id,
            delivery.body.as_str(),
            delivery.group.as_deref()
        ),
        (&sent, "body", Some("order"))
    );
    inbox
        .delete(std::slice::from_ref(&delivery.handle))
        .await
        .expect("deleted");
    assert!(waiting(&inbox).await.is_empty(), "once");
    assert!(read(&parking).await.is_empty());
}
