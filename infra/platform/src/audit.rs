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
    append_as(None, store, actor, action, subject, before, after).await
}

/// Appends an entry for an act that may have an id. A repetition with the same `act_id` adds no
/// row.
///
/// # Errors
/// When the database refuses the row.
pub(crate) async fn append_as(
    act_id: Option<String>,
    store: &Store,
    actor: &str,
    action: &str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
) -> anyhow::Result<()> {
    let entry = AuditEntry {
        at: SystemSource.now(),
        actor: actor.to_owned(),
        action: action.to_owned(),
        subject,
        before: before.map(|value| value.to_string()),
        after: after.map(|value| value.to_string()),
        act_id,
    };
    let written = store.append_audit(&entry).await;
    written.context("write to the audit log")
}
