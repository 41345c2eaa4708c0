//! Staff tokens that were issued, and the audit log.

use std::future::Future;

use domain::Timestamp;
use domain::access::StaffRole;
use uuid::Uuid;

use super::Unavailable;

/// What is recorded about a staff token. The token itself is shown once and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaffToken {
    pub id: Uuid,
    /// Who it was issued for: the actor of everything that is done with it.
    pub name: String,
    pub role: StaffRole,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

pub trait StaffTokens: Send + Sync {
    /// Records a token that is about to be handed out.
    fn record_token(
        &self,
        token: &StaffToken,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns every recorded token, newest first.
    fn staff_tokens(&self) -> impl Future<Output = Result<Vec<StaffToken>, Unavailable>> + Send;

    /// Revokes a token; one that is revoked already keeps its time. Returns the token as it was
    /// before, and `None` when there is none of this id.
    fn revoke_token(
        &self,
        id: Uuid,
        at: Timestamp,
    ) -> impl Future<Output = Result<Option<StaffToken>, Unavailable>> + Send;

    /// Returns the ids of tokens that were revoked and have not expired at `now`.
    fn revoked_tokens(
        &self,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Uuid>, Unavailable>> + Send;
}

/// One act of a person. `before` and `after` are JSON without personal data of customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub actor: String,
    /// Such as `order.move`.
    pub action: String,
    /// What it was done to, such as `order/01954f0c-6b00-7000-8000-000000000047`.
    pub subject: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// Names an act that may come twice, such as `stock/espresso/delivery-7`: its row is written
    /// once.
    pub act_id: Option<String>,
}

pub trait AuditLog: Send + Sync {
    /// Appends an entry, unless there is one with its `act_id`. No entry can be changed or removed.
    fn append_audit(
        &self,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Returns the newest entries, newest first, at most `limit`.
    fn audit_entries(
        &self,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<AuditEntry>, Unavailable>> + Send;
}
