//! In-memory staff tokens and audit log.

use domain::Timestamp;
use uuid::Uuid;

use super::MemoryOrders;
use crate::ports::StoreError;
use crate::ports::access::{AuditEntry, AuditLog, StaffToken, StaffTokens};

impl StaffTokens for MemoryOrders {
    async fn record_token(&self, token: &StaffToken) -> Result<(), StoreError> {
        self.books().staff_tokens.push(token.clone());
        Ok(())
    }

    async fn staff_tokens(&self) -> Result<Vec<StaffToken>, StoreError> {
        let mut tokens = self.books().staff_tokens.clone();
        tokens.sort_by_key(|token| std::cmp::Reverse((token.issued_at, token.id)));
        Ok(tokens)
    }

    async fn revoke_token(
        &self,
        id: Uuid,
        at: Timestamp,
    ) -> Result<Option<StaffToken>, StoreError> {
        let mut books = self.books();
        let Some(token) = books.staff_tokens.iter_mut().find(|token| token.id == id) else {
            return Ok(None);
        };
        let before = token.clone();
        token.revoked_at.get_or_insert(at);
        Ok(Some(before))
    }

    async fn revoked_tokens(&self, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        let books = self.books();
        let revoked = books
            .staff_tokens
            .iter()
            .filter(|token| token.revoked_at.is_some() && token.expires_at > now);
        Ok(revoked.map(|token| token.id).collect())
    }
}

impl AuditLog for MemoryOrders {
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut books = self.books();
        if entry.act_id.is_none() || books.audit.iter().all(|known| known.act_id != entry.act_id) {
            books.audit.push(entry.clone());
        }
        Ok(())
    }

    async fn audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self
            .books()
            .audit
            .iter()
            .rev()
            .take(limit as usize)
            .cloned()
            .collect())
    }
}
