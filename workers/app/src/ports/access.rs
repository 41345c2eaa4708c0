//! Issued staff tokens, and the audit log.

use domain::Timestamp;
use domain::access::StaffRole;
use uuid::Uuid;

use super::PortFuture;

/// The record of a staff token. The token itself is shown once and never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaffToken {
    pub id: Uuid,
    /// The name of the holder, who is the actor of every act with the token.
    pub name: String,
    pub role: StaffRole,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// The time of the revocation. `None` for a token that is not revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The store of staff tokens.
pub trait StaffTokens: Send + Sync {
    /// Stores the record of a token, before the token is issued.
    fn record_token(&self, token: &StaffToken) -> impl PortFuture<()>;

    /// Returns every recorded token, newest first.
    fn staff_tokens(&self) -> impl PortFuture<Vec<StaffToken>>;

    /// Revokes a token. A token that is already revoked keeps its first time of revocation. Returns
    /// the record from before the call, or `None` when no token has this id.
    fn revoke_token(&self, id: Uuid, at: Timestamp) -> impl PortFuture<Option<StaffToken>>;

    /// Returns the ids of tokens that were revoked and have not expired at `now`.
    fn revoked_tokens(&self, now: Timestamp) -> impl PortFuture<Vec<Uuid>>;
}

/// One act by a member of staff or an operator. `before` and `after` are JSON without personal data
/// of customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub actor: String,
    /// The action, such as `order.move`.
    pub action: String,
    /// The object of the act, such as `order/01954f0c-6b00-7000-8000-000000000047`.
    pub subject: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// The id of an act that can be repeated, such as `stock/espresso/delivery-7`. Its entry is
    /// written once.
    pub act_id: Option<String>,
}

/// The audit log.
pub trait AuditLog: Send + Sync {
    /// Appends an entry unless one with the same `act_id` exists. Entries are never changed or
    /// removed.
    fn append_audit(&self, entry: &AuditEntry) -> impl PortFuture<()>;

    /// Returns the newest entries, newest first, at most `limit`.
    fn audit_entries(&self, limit: u32) -> impl PortFuture<Vec<AuditEntry>>;
}
