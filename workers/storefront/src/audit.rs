//! What staff did, written into the audit log after it was done.

use app::ports::Source as _;
use app::ports::access::{AuditEntry, AuditLog as _};
use serde_json::Value;
use uuid::Uuid;

use crate::{App, Ports};

/// Appends an entry. The act is done already: when the log cannot be written, the act stands and the entry goes into the
/// process's log as an error.
pub async fn append<P: Ports>(
    app: &App<P>,
    actor: String,
    action: &str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
) {
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    let at = app.ports.source().now();
    let entry = AuditEntry { at, actor, action: action.to_owned(), subject, before: text(before), after: text(after) };
    if let Err(error) = app.ports.orders().append_audit(&entry).await {
        let AuditEntry { actor, action, subject, .. } = entry;
        tracing::error!(%error, actor, action, subject, "An act could not be written into the audit log");
    }
}

/// The subject of what is done to a staff token.
pub fn token(id: Uuid) -> String {
    format!("staff-token/{id}")
}
