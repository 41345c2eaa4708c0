//! Writes the acts of operators into the audit log.

use anyhow::Context as _;
use app::ports::Source as _;
use app::ports::access::{AuditEntry, AuditLog as _};
use app::use_cases::staff_tokens::actor_name;
use chassis::config::{Environment as _, ProcessEnvironment};
use serde_json::Value;
use worker::stores::{Store, SystemSource};

/// Returns the account that runs the command, from `USER`, or `operator` if `USER` is not a valid
/// name.
pub fn operator() -> String {
    let user = ProcessEnvironment.get("USER");
    user.and_then(|user| actor_name("USER", &user).ok())
        .unwrap_or_else(|| "operator".to_owned())
}

/// Appends an entry to the audit log.
///
/// # Errors
/// When the database refuses the row.
pub async fn append(
    store: &Store,
    actor: &str,
    action: &str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
) -> anyhow::Result<()> {
    write(store, &entry(actor, action, subject, before, after)).await
}

/// Appends an entry for an act with an id. A repetition with the same `act_id` adds no row.
///
/// # Errors
/// When the database refuses the row.
pub(crate) async fn append_once(
    store: &Store,
    act_id: String,
    actor: &str,
    action: &str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
) -> anyhow::Result<()> {
    let entry = entry(actor, action, subject, before, after);
    write(
        store,
        &AuditEntry {
            act_id: Some(act_id),
            ..entry
        },
    )
    .await
}

fn entry(
    actor: &str,
    action: &str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
) -> AuditEntry {
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    AuditEntry {
        at: SystemSource.now(),
        actor: actor.to_owned(),
        action: action.to_owned(),
        subject,
        before: text(before),
        after: text(after),
        act_id: None,
    }
}

async fn write(store: &Store, entry: &AuditEntry) -> anyhow::Result<()> {
    store
        .append_audit(entry)
        .await
        .context("write to the audit log")
}
