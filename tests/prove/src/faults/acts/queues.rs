//! Unexpected messages on the queues, and queues that deny access.

use contract::address::Address;
use contract::queue::{NOTIFICATIONS, ORDERS, PAYMENTS};
use faults::{Dependency, Fault, Rule};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Outcome, PATIENCE, until};
use crate::customer;
use crate::shop::Shop;

fn envelope(kind: &str, order_id: &str, data: Value, schema: u16) -> String {
    json!({ "event_id": Uuid::now_v7(), "type": kind, "data": data, "schema": schema,
        "occurred_at": "2026-11-21T08:30:00Z", "order_id": order_id,
        "metadata": { "source": "prove", "version": "0" } })
    .to_string()
}

/// A queue, and a function that returns the message about an order.
type Letter = (&'static contract::queue::Queue, fn(&str) -> String);

/// Returns messages that no worker expects for a confirmed order.
pub fn out_of_order() -> Vec<Letter> {
    vec![
        (&ORDERS, |id| envelope("ReleaseStock", id, json!({}), 1)),
        (&ORDERS, |id| {
            envelope(
                "PaymentRefunded",
                id,
                json!({ "payment_id": "x", "amount_minor": 1, "currency": "USD" }),
                1,
            )
        }),
    ]
}

/// Returns messages that no consumer can read.
pub fn poison() -> Vec<Letter> {
    vec![
        (&ORDERS, |_| "not a message".to_owned()),
        (&PAYMENTS, |id| {
            envelope(
                "ChargeCard",
                id,
                json!({ "amount_minor": 1, "currency": "USD" }),
                999,
            )
        }),
        (&PAYMENTS, |_| "{}".to_owned()),
        (&NOTIFICATIONS, |_| "\u{1F4A9}".to_owned()),
    ]
}

/// Sends messages about a confirmed order. Each must become a dead letter and change nothing.
///
/// # Errors
/// Returns an error if the order is not confirmed or a message cannot be sent.
pub async fn messages(shop: &Shop, letters: Vec<Letter>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let placed = customer::must_order(shop, "latte", 1, "tok_ok").await?;
    customer::until(shop, &placed, &["confirmed"]).await?;
    let before = parked(shop).await?;
    for (queue, letter) in letters {
        let url = &shop.surroundings.addresses[&Address::Queue(queue).variable()];
        let mut send = shop
            .aws
            .sqs()
            .send_message()
            .queue_url(url)
            .message_body(letter(&placed.order_id));
        if queue.fifo {
            send = send
                .message_group_id(&placed.order_id)
                .message_deduplication_id(Uuid::now_v7().to_string());
        }
        send.send().await?;
        outcome.hits += 1;
    }
    outcome.parked = outcome.hits;
    outcome.placed.push(placed);
    let all = before + outcome.hits;
    if !until(PATIENCE, async || Ok(parked(shop).await? >= all)).await? {
        outcome.failures.push(format!(
            "I4 {} messages did not become dead letters",
            all - parked(shop).await?
        ));
    }
    Ok(outcome)
}

/// Returns the number of messages in all dead-letter queues.
///
/// # Errors
/// Returns an error if a queue cannot be read.
pub async fn parked(shop: &Shop) -> anyhow::Result<u64> {
    use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages as Waiting;
    let mut parked = 0;
    for queue in contract::queue::QUEUES {
        let url = &shop.surroundings.addresses[&Address::ParkingQueue(queue).variable()];
        let asked = shop
            .aws
            .sqs()
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(Waiting)
            .send()
            .await?;
        parked += asked
            .attributes
            .and_then(|all| all.get(&Waiting)?.parse::<u64>().ok())
            .unwrap_or_default();
    }
    Ok(parked)
}

/// Denies the order worker's receives. Its readiness probe must then fail.
pub async fn deny_queues(shop: &Shop) -> anyhow::Result<Outcome> {
    let denied = Fault::Fail {
        status: 403,
        code: "AccessDeniedException",
    };
    let hits = shop
        .faults
        .add(Rule::on(Dependency::Aws, "sqs.ReceiveMessage", denied).of("order-worker"));
    let loud = until(PATIENCE, async || Ok(!shop.is_ready("order-worker").await)).await?;
    shop.faults.clear();
    let failures = if loud {
        Vec::new()
    } else {
        vec!["I12 a worker without its queue says it is ready".to_owned()]
    };
    Ok(Outcome {
        hits: hits.count(),
        failures,
        ..Outcome::default()
    })
}
