//! Checks the invariants when a shop is quiet. The checks use only public interfaces: the SQL
//! views, the DynamoDB items, the payment gateway's ledger, and the mailbox.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use contract::address::Address;
use contract::queue::QUEUES;
use contract::table::{PRODUCTS, RESERVATIONS};
use serde_json::Value;

use crate::shop::Shop;
use crate::views::{HistoryRow, of_orders};

/// How long after the end of a fault the shop may take to become quiet.
pub const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// An order as its customer knows it.
#[derive(Debug, Clone)]
pub struct Known {
    pub order_id: String,
    pub email: String,
}

/// Maximum number of mails that may be sent twice. A sender that dies before it recorded a sent
/// mail sends the mail again, because the mail service does not deduplicate.
#[derive(Debug, Clone, Copy)]
pub struct MailsTwice(pub usize);

/// Statuses of an order that is sold.
const SOLD: [&str; 4] = ["confirmed", "preparing", "ready", "completed"];
/// Status changes that are allowed.
const LEGAL: [(&str, &[&str]); 5] = [
    ("pending", &["pending", "confirmed", "cancelled", "failed"]),
    (
        "confirmed",
        &["confirmed", "preparing", "cancelled", "failed"],
    ),
    ("preparing", &["preparing", "ready", "cancelled", "failed"]),
    ("ready", &["completed"]),
    ("completed", &[]),
];

/// Checks that no order is pending and that the outbox and the queues are empty. Returns the reason
/// if the shop is not quiet.
///
/// # Errors
/// Returns an error if the database or a queue cannot be read.
pub async fn is_quiet(shop: &Shop) -> anyhow::Result<Result<(), String>> {
    let (pending, unpublished) = (shop.views.pending().await?, shop.views.unpublished().await?);
    if pending > 0 || unpublished > 0 {
        return Ok(Err(format!(
            "{pending} orders pending, {unpublished} messages in the outbox"
        )));
    }
    let sqs = shop.aws.sqs();
    for queue in QUEUES {
        use aws_sdk_sqs::types::QueueAttributeName as Attribute;
        let url = &shop.surroundings.addresses[&Address::Queue(queue).variable()];
        let asked = sqs
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(Attribute::All)
            .send()
            .await;
        let attributes = asked
            .with_context(|| format!("ask about {}", queue.slug))?
            .attributes
            .unwrap_or_default();
        let count = |name: &Attribute| {
            attributes
                .get(name)
                .and_then(|count| count.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let waiting = count(&Attribute::ApproximateNumberOfMessages);
        let in_hand = count(&Attribute::ApproximateNumberOfMessagesNotVisible);
        let late = count(&Attribute::ApproximateNumberOfMessagesDelayed);
        if waiting + in_hand + late > 0 {
            return Ok(Err(format!(
                "queue {}: {waiting} visible, {in_hand} in flight",
                queue.slug
            )));
        }
    }
    Ok(Ok(()))
}

/// Waits until the shop is quiet, and calls `meanwhile` between two checks. Returns the reason if
/// the shop is not quiet in time.
pub async fn until_quiet(
    shop: &Shop,
    within: Duration,
    meanwhile: impl AsyncFn(),
) -> Option<String> {
    let begun = Instant::now();
    loop {
        let why = match is_quiet(shop).await {
            Ok(Ok(())) => return None,
            Ok(Err(why)) => why,
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > within {
            return Some(format!("I11 not quiet after {} s: {why}", within.as_secs()));
        }
        meanwhile().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the violations. The known orders are checked one by one; stock is checked as a whole.
///
/// # Errors
/// Returns an error if an interface cannot be read.
pub async fn violations(
    shop: &Shop,
    known: &[Known],
    twice: MailsTwice,
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let ids: Vec<String> = known.iter().map(|known| known.order_id.clone()).collect();
    let of = of_orders(&ids);
    let orders = if ids.is_empty() {
        Vec::new()
    } else {
        shop.views.orders(&of).await?
    };
    let by_id: BTreeMap<&str, _> = orders
        .iter()
        .map(|order| (order.order_id.as_str(), order))
        .collect();
    for id in &ids {
        if !by_id.contains_key(id.as_str()) {
            found.push(format!("I4 order {id} was accepted and is not there"));
        }
    }
    let keys: BTreeSet<&str> = orders.iter().map(|order| order.key_hash.as_str()).collect();
    if keys.len() != orders.len() {
        found.push("I6 a key has more than one order".to_owned());
    }
    let mut histories: BTreeMap<String, Vec<HistoryRow>> = BTreeMap::new();
    if !ids.is_empty() {
        for row in shop.views.history(&of).await? {
            histories.entry(row.order_id.clone()).or_default().push(row);
        }
    }
    for order in &orders {
        let history = histories
            .get(&order.order_id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        found.extend(of_history(&order.order_id, &order.status, history));
    }
    money(shop, &of, &orders, &mut found).await?;
    stock(shop, &mut found).await?;
    notices(shop, &of, known, &histories, twice, &mut found).await?;
    // A stream record can add a message to the outbox after everything else is quiet.
    let begun = Instant::now();
    let mut unpublished = shop.views.unpublished().await?;
    while unpublished > 0 && begun.elapsed() < QUIET_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
        unpublished = shop.views.unpublished().await?;
    }
    if unpublished > 0 {
        found.push(format!("I10 {unpublished} messages never left the outbox"));
    }
    Ok(found)
}

/// Checks I5 and I9.
fn of_history(id: &str, status: &str, history: &[HistoryRow]) -> Vec<String> {
    let mut found = Vec::new();
    let mut before: Option<&HistoryRow> = None;
    for (row, expected) in history.iter().zip(1..) {
        if row.seq != expected {
            found.push(format!(
                "I9 order {id}: history {} follows {}",
                row.seq,
                expected - 1
            ));
        }
        if row.from_status.as_deref() != before.map(|before| before.to_status.as_str()) {
            found.push(format!(
                "I9 order {id}: history {} comes from {:?}",
                row.seq, row.from_status
            ));
        }
        if let Some(from) = row.from_status.as_deref()
            && from != row.to_status
            && !LEGAL
                .iter()
                .any(|(known, to)| *known == from && to.contains(&row.to_status.as_str()))
        {
            let rule = if matches!(from, "failed" | "cancelled" | "completed") {
                "I5"
            } else {
                "I9"
            };
            found.push(format!(
                "{rule} order {id} went from {from} to {}",
                row.to_status
            ));
        }
        if row.actor.is_empty() {
            found.push(format!("I9 order {id}: history {} has no actor", row.seq));
        }
        before = Some(row);
    }
    if before.map(|last| last.to_status.as_str()) != Some(status) {
        found.push(format!(
            "I9 order {id} is {status}, its history says {:?}",
            before.map(|last| &last.to_status)
        ));
    }
    found
}

/// Checks I7: the payment gateway's ledger against the orders.
async fn money(
    shop: &Shop,
    of: &str,
    orders: &[crate::views::OrderRow],
    found: &mut Vec<String>,
) -> anyhow::Result<()> {
    let url = format!("{}/v1/ledger", shop.surroundings.payment_url);
    let key = shop.surroundings.payment_api_key()?;
    let books: Value = shop
        .http
        .get(url)
        .bearer_auth(key)
        .send()
        .await
        .context("ask for the gateway's books")?
        .json()
        .await?;
    let mut captures: BTreeMap<String, (usize, i64)> = BTreeMap::new();
    for entry in books["entries"].as_array().into_iter().flatten() {
        let sum = captures
            .entry(entry["reference"].as_str().unwrap_or_default().to_owned())
            .or_default();
        let amount = entry["amount_minor"].as_i64().unwrap_or_default();
        match (entry["kind"].as_str(), entry["status"].as_str()) {
            (Some("charge"), Some("captured")) => *sum = (sum.0 + 1, sum.1 + amount),
            (Some("refund"), _) => sum.1 -= amount,
            _ => {}
        }
    }
    for order in orders {
        let (count, net) = captures.get(&order.order_id).copied().unwrap_or_default();
        let due = if SOLD.contains(&order.status.as_str()) {
            order.total_minor
        } else {
            0
        };
        if count > 1 {
            found.push(format!(
                "I7 order {} was charged {count} times",
                order.order_id
            ));
        }
        if net != due {
            found.push(format!(
                "I7 order {} is {}: {due} due, {net} kept",
                order.order_id, order.status
            ));
        }
    }
    if orders.is_empty() {
        return Ok(());
    }
    for payment in shop.views.payments(of).await? {
        let (count, _) = captures.get(&payment.order_id).copied().unwrap_or_default();
        let open = matches!(payment.state.as_str(), "unknown")
            || (payment.kind == "refund" && payment.state != "refunded");
        if open
            || (payment.kind == "charge"
                && (payment.state == "captured") != (count == 1)
                && payment.amount_minor > 0)
        {
            found.push(format!(
                "I7 order {}: our {} is {}, the gateway has {count} captures",
                payment.order_id, payment.kind, payment.state
            ));
        }
    }
    Ok(())
}

/// Checks I1, I2, and I3's rule that no stock hold is left over.
async fn stock(shop: &Shop, found: &mut Vec<String>) -> anyhow::Result<()> {
    let table = |table| &shop.surroundings.addresses[&Address::Table(table).variable()];
    let client = shop.aws.dynamodb();
    let sold: BTreeMap<String, i64> = shop
        .views
        .sold()
        .await?
        .into_iter()
        .map(|row| (row.product_id, row.units))
        .collect();
    let products = client
        .scan()
        .table_name(table(&PRODUCTS))
        .consistent_read(true)
        .send()
        .await;
    for item in products.context("read the products")?.items() {
        let number = |name: &str| -> i64 {
            item.get(name)
                .and_then(|value| value.as_n().ok())
                .and_then(|text| text.parse().ok())
                .unwrap_or(i64::MIN)
        };
        let id = item
            .get("product_id")
            .and_then(|value| value.as_s().ok())
            .cloned()
            .unwrap_or_default();
        let [available, reserved, out, written_off, received] =
            ["available", "reserved", "sold", "written_off", "received"].map(number);
        if [available, reserved, out, written_off]
            .iter()
            .any(|count| *count < 0)
            || received != available + reserved + out + written_off
        {
            found.push(format!("I1 {id}: {received} received, {available} + {reserved} + {out} + {written_off} there"));
        }
        if reserved != 0 {
            found.push(format!("I1 {id}: {reserved} reserved, and nobody waits"));
        }
        let due = sold.get(&id).copied().unwrap_or_default();
        if out != due {
            found.push(format!("I2 {id}: {out} sold, orders have {due}"));
        }
    }
    let held = client
        .scan()
        .table_name(table(&RESERVATIONS))
        .consistent_read(true);
    let held = held
        .filter_expression("#state = :held")
        .expression_attribute_names("#state", "state");
    let held = held.expression_attribute_values(
        ":held",
        aws_sdk_dynamodb::types::AttributeValue::S("held".to_owned()),
    );
    let stranded = held.send().await.context("read the holds")?.count;
    if stranded > 0 {
        found.push(format!("I3 {stranded} holds are stranded"));
    }
    Ok(())
}

/// Checks I8: each due notification was sent and recorded once, and no other was.
async fn notices(
    shop: &Shop,
    of: &str,
    known: &[Known],
    histories: &BTreeMap<String, Vec<HistoryRow>>,
    twice: MailsTwice,
    found: &mut Vec<String>,
) -> anyhow::Result<()> {
    if known.is_empty() {
        return Ok(());
    }
    let mut recorded: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in shop.views.notices(of).await? {
        recorded
            .entry((row.order_id, row.kind))
            .or_default()
            .push(row.state);
    }
    let mails = mails(shop).await?;
    let mut doubles = 0;
    for order in known {
        let history = histories
            .get(&order.order_id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let reached = |status: &str| history.iter().any(|row| row.to_status == status);
        let mut due = 0;
        for status in ["confirmed", "ready", "cancelled", "failed"] {
            let states = recorded
                .remove(&(order.order_id.clone(), format!("order_{status}")))
                .unwrap_or_default();
            match (reached(status), states.as_slice()) {
                (true, [state]) if state == "sent" => due += 1,
                (false, []) => {}
                (was, states) => found.push(format!(
                    "I8 order {}: {status} {was}, notifications {states:?}",
                    order.order_id
                )),
            }
        }
        let got: Vec<&String> = mails
            .iter()
            .filter(|(to, _)| *to == order.email)
            .map(|(_, subject)| subject)
            .collect();
        let different: BTreeSet<&&String> = got.iter().collect();
        if different.len() != due {
            found.push(format!(
                "I8 order {}: {due} notifications due, mails {got:?}",
                order.order_id
            ));
        }
        doubles += got.len() - different.len();
    }
    if doubles > twice.0 {
        found.push(format!(
            "I8 {doubles} mails came twice, at most {} may have",
            twice.0
        ));
    }
    Ok(())
}

/// Returns the recipient and the subject of every mail that was sent.
///
/// # Errors
/// Returns an error if the mailbox cannot be read.
pub async fn mails(shop: &Shop) -> anyhow::Result<Vec<(String, String)>> {
    let mails = shop
        .aws
        .kept_mails()
        .await
        .context("read the mails that were sent")?;
    Ok(mails
        .into_iter()
        .map(|mail| (mail.to.into_iter().next().unwrap_or_default(), mail.subject))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(statuses: &[(&str, &str)]) -> Vec<HistoryRow> {
        let row = |(seq, (from, to)): (i64, &(&str, &str))| HistoryRow {
            order_id: "o".to_owned(),
            seq,
            from_status: (!from.is_empty()).then(|| (*from).to_owned()),
            to_status: (*to).to_owned(),
            actor: "order-worker".to_owned(),
        };
        (1..).zip(statuses).map(row).collect()
    }

    #[test]
    fn an_impossible_history_is_reported_with_its_rule() {
        let sold = [
            ("", "pending"),
            ("pending", "pending"),
            ("pending", "confirmed"),
        ];
        assert!(of_history("o", "confirmed", &history(&sold)).is_empty());
        for (statuses, now, rule) in [
            (
                vec![
                    ("", "pending"),
                    ("pending", "failed"),
                    ("failed", "confirmed"),
                ],
                "confirmed",
                "I5",
            ),
            (vec![("", "pending"), ("confirmed", "ready")], "ready", "I9"),
            (vec![("", "pending")], "confirmed", "I9"),
            (Vec::new(), "pending", "I9"),
        ] {
            let found = of_history("o", now, &history(&statuses));
            assert!(
                found.iter().any(|what| what.starts_with(rule)),
                "{statuses:?}: {found:?}"
            );
        }
        let mut gap = history(&sold);
        gap.remove(1);
        assert!(of_history("o", "confirmed", &gap)[0].starts_with("I9"));
    }
}
