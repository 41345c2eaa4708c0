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

/// An entry of the audit log.
pub struct Act(AuditEntry);

impl Act {
    /// Makes an entry of now: what `actor` did to `subject`.
    pub fn new(actor: &str, action: &str, subject: impl Into<String>) -> Act {
        Act(AuditEntry {
            at: SystemSource.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.into(),
            before: None,
            after: None,
            act_id: None,
        })
    }

    /// Adds the state before the act.
    pub fn before(mut self, before: &Value) -> Act {
        self.0.before = Some(before.to_string());
        self
    }

    /// Adds the state after the act.
    pub fn after(mut self, after: &Value) -> Act {
        self.0.after = Some(after.to_string());
        self
    }

    /// Adds the id of the act. A repetition with the same id adds no row.
    pub(crate) fn id(mut self, id: String) -> Act {
        self.0.act_id = Some(id);
        self
    }

    /// Appends the entry to the audit log.
    ///
    /// # Errors
    /// When the database refuses the row.
    pub async fn append(&self, store: &Store) -> anyhow::Result<()> {
        let written = store.append_audit(&self.0).await;
        written.context("write to the audit log")
    }
}
