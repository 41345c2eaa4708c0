//! Ends the claims of killed processes at once, instead of waiting until they expire. Messages are
//! hidden for 20 seconds, outbox rows claimed for 10, notifications for 30, and shards leased for
//! 15. With hundreds of points, these times would be most of a run. `--patient` waits instead, and
//! shows that nothing relies on this module.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use contract::address::Address;
use contract::role::{Role, RoleId};
use contract::table::LEASES;
use faults::Call;
use serde_json::Value;

use crate::shop::Shop;

/// The receipt handles that each role received.
#[derive(Clone, Default)]
pub struct Given(Arc<Mutex<HashMap<String, Vec<Handle>>>>);

struct Handle {
    asked: Instant,
    queue: String,
    handle: String,
}

impl Given {
    /// Records the receipt handles in a reply to a role's receive call.
    pub fn note(&self, call: &Call, reply: &[u8]) {
        if call.name != "sqs.ReceiveMessage" {
            return;
        }
        let Some(body) = reply
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .map(|at| &reply[at + 4..])
        else {
            return;
        };
        let (Ok(body), Ok(request)) = (
            serde_json::from_slice::<Value>(body),
            serde_json::from_slice::<Value>(&call.body),
        ) else {
            return;
        };
        let handles = body["Messages"].as_array().into_iter().flatten();
        let handles = handles.filter_map(|message| message["ReceiptHandle"].as_str());
        let queue = request["QueueUrl"].as_str().unwrap_or_default();
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = given.entry(call.client.to_string()).or_default();
        kept.extend(handles.map(|handle| Handle {
            asked: call.at,
            queue: queue.to_owned(),
            handle: handle.to_owned(),
        }));
        // Older handles belong to messages that were settled long ago.
        let excess = kept.len().saturating_sub(500);
        kept.drain(..excess);
    }

    /// Removes and returns the handles that a role requested before `than`. A poll can be answered
    /// after its process was killed, so the time of the request counts.
    fn take_older(&self, role: &str, than: Instant) -> Vec<Handle> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = given.get_mut(role) else {
            return Vec::new();
        };
        let (older, newer) = std::mem::take(kept)
            .into_iter()
            .partition(|handle| handle.asked < than);
        *kept = newer;
        older
    }
}

/// Makes the messages visible again that a role's earlier process received.
pub async fn show_messages(shop: &Shop, role: &str, given: &Given) {
    let Some(life) = shop.life(role) else { return };
    for Handle { queue, handle, .. } in given.take_older(role, life.since) {
        let show = shop
            .aws
            .sqs()
            .change_message_visibility()
            .queue_url(queue)
            .receipt_handle(handle);
        // Fails for a message that was settled before the kill, which has no claim.
        let _ = show.visibility_timeout(0).send().await;
    }
}

/// Ends all claims of a role's earlier process: messages, outbox rows, notifications and leases.
///
/// # Errors
/// Returns an error if a claim cannot be ended.
pub async fn end_claims(shop: &Shop, role: &str, given: &Given) -> anyhow::Result<()> {
    show_messages(shop, role, given).await;
    match Role::by_slug(role).map(|role| role.id) {
        Some(RoleId::OutboxRelay) => {
            shop.views
                .execute("UPDATE outbox SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by IS NOT NULL")
                .await?;
        }
        Some(RoleId::NotificationWorker) => {
            shop.views
                .execute(
                    "UPDATE notifications SET claimed_until = NULL WHERE claimed_until IS NOT NULL",
                )
                .await?;
        }
        Some(RoleId::InventoryWorker) => end_leases(shop).await?,
        // The other roles claim messages only.
        Some(
            RoleId::Storefront
            | RoleId::OrderWorker
            | RoleId::PaymentWorker
            | RoleId::FulfilmentWorker
            | RoleId::ProjectionWorker
            | RoleId::Sweeper,
        )
        | None => {}
    }
    Ok(())
}

async fn end_leases(shop: &Shop) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let table = &shop.surroundings.addresses[&Address::Table(&LEASES).variable()];
    let client = shop.aws.dynamodb();
    let leases = client
        .scan()
        .table_name(table)
        .send()
        .await
        .context("read the leases")?;
    for lease in leases.items() {
        let (Some(id), Some(owner)) = (lease.get("lease_id"), lease.get("owner")) else {
            continue;
        };
        if owner.as_s().is_ok_and(String::is_empty) {
            continue;
        }
        let mut free = lease.clone();
        free.remove("owner");
        let put = client
            .put_item()
            .table_name(table)
            .set_item(Some(free))
            .condition_expression("lease_id = :id");
        put.expression_attribute_values(":id", id.clone())
            .send()
            .await
            .context("end a lease")?;
    }
    Ok(())
}
