use adapter_aws::call::{Call, EVENT_BRIDGE, Operation, SNS};
use adapter_aws::{AwsPublisher, Clients, Destinations};
use app::ports::publisher::{PublishError, Publisher};
use aws_sdk_sqs::types::{Message as Received, MessageSystemAttributeName, QueueAttributeName};
use contract::event::Route;
use contract::messages::{Envelope, Message, Metadata, PaymentFailure};
use contract::queue::{ORDERS, PAYMENTS};
use contract::topic::{ORDER_CREATED, ORDER_STATUS_CHANGED};
use domain::ids::{EventId, OrderId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::inbox::queue;

fn envelope(order_id: OrderId, message: Message) -> Envelope {
    Envelope {
        event_id: EventId(Uuid::now_v7()),
        schema: message.kind().schema(),
        message,
        occurred_at: time::macros::datetime!(2026-03-01 08:00 UTC),
        order_id: Some(order_id),
        metadata: Metadata {
            source: "order-worker".to_owned(),
            version: "0".to_owned(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        },
    }
}

fn changed(order_id: OrderId, to: &str) -> Envelope {
    let message = Message::OrderStatusChanged {
        order_number: "A-001".to_owned(),
        from: None,
        to: to.to_owned(),
        step: "confirmed".to_owned(),
        reason: None,
    };
    envelope(order_id, message)
}

/// Calls an operation that must succeed.
async fn done(clients: &Clients, operation: &'static Operation, input: Value) -> Value {
    let call = Call::new(clients.config(), operation);
    call.send(input).await.expect("done")
}

/// Creates an event bus and returns its name.
async fn event_bus(clients: &Clients) -> String {
    const CREATE_EVENT_BUS: Operation = Operation::new(&EVENT_BRIDGE, "CreateEventBus");
    let bus = super::unique("events");
    done(clients, &CREATE_EVENT_BUS, json!({ "Name": bus })).await;
    bus
}

/// Receives all messages, in order.
async fn drain(clients: &Clients, url: &str) -> Vec<Received> {
    let mut all = Vec::new();
    loop {
        let call = clients
            .sqs()
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .wait_time_seconds(1);
        let call = call
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All);
        let received = call
            .send()
            .await
            .expect("received")
            .messages
            .unwrap_or_default();
        if received.is_empty() {
            return all;
        }
        for message in received {
            let handle = message.receipt_handle.clone().expect("a handle");
            clients
                .sqs()
                .delete_message()
                .queue_url(url)
                .receipt_handle(handle)
                .send()
                .await
                .expect("deleted");
            all.push(message);
        }
    }
}

async fn arn(clients: &Clients, url: &str) -> String {
    let call = clients
        .sqs()
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::QueueArn);
    let attributes = call
        .send()
        .await
        .expect("read")
        .attributes
        .expect("attributes");
    attributes[&QueueAttributeName::QueueArn].clone()
}

/// Publishes every message on all routes of its kind. Returns one result per message.
async fn publish(publisher: &AwsPublisher, messages: &[Envelope]) -> Vec<Result<(), PublishError>> {
    let routes = |message: &Envelope| message.message.kind().routes();
    let mut results = vec![Ok(()); messages.len()];
    let mut done: Vec<Route> = Vec::new();
    for route in messages.iter().flat_map(routes) {
        if done.contains(route) {
            continue;
        }
        done.push(*route);
        let (indexes, along): (Vec<usize>, Vec<Envelope>) = messages
            .iter()
            .cloned()
            .enumerate()
            .filter(|(_, message)| routes(message).contains(route))
            .unzip();
        for (index, sent) in indexes
            .into_iter()
            .zip(publisher.publish(*route, &along).await)
        {
            results[index] = results[index].clone().and(sent);
        }
    }
    results
}

fn event_id(body: &str) -> EventId {
    Envelope::decode(body).expect("an envelope").event_id
}

#[tokio::test]
async fn every_message_is_sent_on_all_routes_and_orders_keep_their_sequence() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (orders, payments) = (
        queue(&clients, "orders", true).await,
        queue(&clients, "payments", false).await,
    );
    let (heard, seen) = (
        queue(&clients, "heard", false).await,
        queue(&clients, "seen", false).await,
    );
    const CREATE_TOPIC: Operation = Operation::new(&SNS, "CreateTopic");
    const SUBSCRIBE: Operation = Operation::new(&SNS, "Subscribe");
    const PUT_RULE: Operation = Operation::new(&EVENT_BRIDGE, "PutRule");
    const PUT_TARGETS: Operation = Operation::new(&EVENT_BRIDGE, "PutTargets");
    let topic = json!({ "Name": super::unique("status") });
    let topic = done(&clients, &CREATE_TOPIC, topic).await;
    let topic = topic["TopicArn"].as_str().expect("an ARN").to_owned();
    let subscription = json!({
        "TopicArn": topic,
        "Protocol": "sqs",
        "Endpoint": arn(&clients, &heard).await,
        "Attributes": { "entry": [
            { "key": "RawMessageDelivery", "value": "true" },
            { "key": "FilterPolicy", "value": r#"{"status":["confirmed"]}"# },
        ] },
    });
    done(&clients, &SUBSCRIBE, subscription).await;
    let bus = event_bus(&clients).await;
    let rule = super::unique("rule");
    let pattern = r#"{"source":["brew-haven.order-worker"],"detail":{"data":{"to":["failed"]}}}"#;
    let named = json!({ "Name": rule, "EventBusName": bus, "EventPattern": pattern });
    done(&clients, &PUT_RULE, named).await;
    let target = json!({
        "Rule": rule,
        "EventBusName": bus,
        "Targets": [{ "Id": "seen", "Arn": arn(&clients, &seen).await }],
    });
    done(&clients, &PUT_TARGETS, target).await;
    let destinations = Destinations {
        queues: [
            (ORDERS.slug, orders.clone()),
            (PAYMENTS.slug, payments.clone()),
        ]
        .into(),
        topics: [(ORDER_STATUS_CHANGED.slug, topic)].into(),
        bus,
    };
    let publisher = AwsPublisher::new(&clients, destinations);

    let (one, two) = (OrderId(Uuid::now_v7()), OrderId(Uuid::now_v7()));
    let charge = Message::ChargeCard {
        amount_minor: 350,
        currency: "EUR".to_owned(),
    };
    let mut messages = vec![
        envelope(one, charge),
        changed(one, "confirmed"),
        changed(two, "failed"),
    ];
    // Twelve messages for the orders queue, alternating between two groups.
    messages.extend(
        (0..6)
            .flat_map(|_| [one, two])
            .map(|order| envelope(order, Message::ReserveStock {})),
    );
    let results = publish(&publisher, &messages).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");

    let taken = drain(&clients, &orders).await;
    for order in [one, two] {
        let sent: Vec<EventId> = messages[3..]
            .iter()
            .filter(|sent| sent.order_id == Some(order))
            .map(|sent| sent.event_id)
            .collect();
        let group = order.to_string();
        let of_group = taken.iter().filter(|message| {
            message
                .attributes
                .as_ref()
                .is_some_and(|all| all[&MessageSystemAttributeName::MessageGroupId] == group)
        });
        let came: Vec<EventId> = of_group
            .map(|message| event_id(message.body.as_deref().expect("a body")))
            .collect();
        assert_eq!(came, sent, "one group, one order");
    }
    let attribute = |message: &Received, name: &str| {
        message
            .message_attributes
            .as_ref()
            .and_then(|all| all.get(name)?.string_value.clone())
            .unwrap_or_default()
    };
    let charged = drain(&clients, &payments).await;
    assert_eq!(charged.len(), 1);
    assert_eq!(attribute(&charged[0], "event_type"), "ChargeCard");
    assert!(attribute(&charged[0], "traceparent").starts_with("00-0af7"));
    let confirmed = drain(&clients, &heard).await;
    assert_eq!(confirmed.len(), 1, "the filter let one through");
    assert_eq!(
        event_id(confirmed[0].body.as_deref().expect("raw")),
        messages[1].event_id
    );
    assert_eq!(attribute(&confirmed[0], "status"), "confirmed");
    let failed = drain(&clients, &seen).await;
    assert_eq!(failed.len(), 1, "the rule let one through");
    assert!(
        failed[0]
            .body
            .as_deref()
            .expect("an event")
            .contains(&messages[2].event_id.to_string())
    );

    // The same messages again: a FIFO queue drops repeats for five minutes.
    let again = publish(&publisher, &messages[3..]).await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    assert!(
        drain(&clients, &orders).await.is_empty(),
        "no repeat within five minutes"
    );
}

#[tokio::test]
async fn a_route_that_fails_fails_only_its_messages() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let orders = queue(&clients, "orders", true).await;
    let bus = event_bus(&clients).await;
    let destinations = Destinations {
        // The payments queue was deleted, and the publisher has no address of the topic for new
        // orders.
        queues: [
            (ORDERS.slug, orders.clone()),
            (PAYMENTS.slug, orders.replace("orders-", "gone-")),
        ]
        .into(),
        topics: Default::default(),
        bus,
    };
    let publisher = AwsPublisher::new(&clients, destinations);
    let order = OrderId(Uuid::now_v7());
    let created = Message::OrderCreated {
        order_number: "A-001".to_owned(),
        tenant_id: "t".to_owned(),
        location_id: "l".to_owned(),
        order_type: "pickup".to_owned(),
        items: Vec::new(),
        total_minor: 0,
        currency: "EUR".to_owned(),
    };
    let charge = Message::ChargeCard {
        amount_minor: 350,
        currency: "EUR".to_owned(),
    };
    let sent = [charge, created, Message::ReserveStock {}].map(|message| envelope(order, message));
    let results = publish(&publisher, &sent).await;
    assert!(
        results[0].is_err() && results[1].is_err() && results[2].is_ok(),
        "{results:?}"
    );
    assert!(
        results[1]
            .as_ref()
            .is_err_and(|error| error.cause.to_string().contains(ORDER_CREATED.slug))
    );
    // A message that is too large for the queue, and the next message of its group.
    let huge = Message::PaymentFailed {
        reason: "x".repeat(1_200_000),
        cause: PaymentFailure::Declined,
    };
    let sent = [
        envelope(order, huge),
        envelope(order, Message::ReleaseStock {}),
        envelope(OrderId(Uuid::now_v7()), Message::ReleaseStock {}),
    ];
    let results = publish(&publisher, &sent).await;
    assert!(
        results[0].is_err() && results[1].is_err(),
        "nothing overtakes what was not taken: {results:?}"
    );
    assert!(results[2].is_ok(), "{:?}", results[2]);
}
