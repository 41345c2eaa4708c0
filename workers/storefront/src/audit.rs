//! Writes acts of staff into the audit log after they were performed. A change of an order is
//! recorded in the transaction of the change (`app::use_cases::change_order`).

use app::ports::access::{AuditEntry, AuditLog as _};
use contract::cause::chain;
use domain::access::Action;
use serde_json::Value;
use uuid::Uuid;

use crate::ports::Ports;
use crate::state::App;

/// Appends an entry, once per `act_id`. When the audit log cannot be written, the act stays in
/// effect and the entry is logged as an error.
pub async fn append<P: Ports>(
    app: &App<P>,
    actor: String,
    action: Action,
    subject: String,
    after: Option<Value>,
    act_id: Option<String>,
) {
    let (at, after) = (app.now(), after.map(|value| value.to_string()));
    let entry = AuditEntry {
        at,
        actor,
        action: action.code().to_owned(),
        subject,
        before: None,
        after,
        act_id,
    };
    if let Err(error) = app.orders().append_audit(&entry).await {
        let AuditEntry {
            actor,
            action,
            subject,
            ..
        } = entry;
        tracing::error!(error = %chain(&error), actor, action, subject, "An act could not be written into the audit log");
    }
}

/// Returns the audit subject of a staff token.
pub fn token(id: Uuid) -> String {
    format!("staff-token/{id}")
}
