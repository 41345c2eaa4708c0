//! `StaffTokens` and `AuditLog`: the tokens that were issued, and what staff and operators did.

use app::ports::StoreError;
use app::ports::access::{AuditEntry, AuditLog, StaffToken, StaffTokens};
use domain::Timestamp;
use domain::access::StaffRole;
use uuid::Uuid;

use crate::Store;
use crate::rows::corrupt;
use crate::values::{At, Id};

row! {
    struct TokenRow {
        id: Id,
        name: String,
        role: String,
        issued_at: Timestamp,
        expires_at: Timestamp,
        revoked_at: Option<Timestamp>,
    }
}

impl TokenRow {
    fn into_token(self) -> Result<StaffToken, StoreError> {
        Ok(StaffToken {
            id: self.id.0,
            role: StaffRole::from_code(&self.role)
                .ok_or_else(|| corrupt("a staff role", &self.role))?,
            name: self.name,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
        })
    }
}

impl StaffTokens for Store {
    async fn record_token(&self, token: &StaffToken) -> Result<(), StoreError> {
        const RECORD: &str =
            "INSERT INTO staff_tokens (id, name, role, issued_at, expires_at, revoked_at)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let query = self
            .write(RECORD)
            .bind(Id(token.id))
            .bind(&token.name)
            .bind(token.role.code())
            .bind(At(token.issued_at))
            .bind(At(token.expires_at))
            .bind(token.revoked_at.map(At));
        query.execute().await.map(drop)
    }

    async fn staff_tokens(&self) -> Result<Vec<StaffToken>, StoreError> {
        const LIST: &str =
            "SELECT id, name, role, issued_at, expires_at, revoked_at FROM staff_tokens
            ORDER BY issued_at DESC, id DESC";
        let rows: Vec<TokenRow> = self.read(LIST).fetch_all().await?;
        rows.into_iter().map(TokenRow::into_token).collect()
    }

    async fn revoke_token(
        &self,
        id: Uuid,
        at: Timestamp,
    ) -> Result<Option<StaffToken>, StoreError> {
        // The row is locked, so that of two revocations only one finds the token unrevoked.
        const BEFORE: &str = "SELECT id, name, role, issued_at, expires_at, revoked_at
            FROM staff_tokens WHERE id = $1 FOR UPDATE";
        const REVOKE: &str =
            "UPDATE staff_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1";
        let mut transaction = self.begin().await?;
        let before = transaction.query(BEFORE).bind(Id(id)).fetch_optional();
        let before: Option<TokenRow> = before.await?;
        let revoke = transaction.query(REVOKE).bind(Id(id)).bind(At(at));
        revoke.execute().await?;
        transaction.commit().await?;
        before.map(TokenRow::into_token).transpose()
    }

    async fn revoked_tokens(&self, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        const REVOKED: &str =
            "SELECT id FROM staff_tokens WHERE revoked_at IS NOT NULL AND expires_at > $1";
        let rows: Vec<(Id,)> = self.read(REVOKED).bind(At(now)).fetch_all().await?;
        Ok(rows.into_iter().map(|(id,)| id.0).collect())
    }
}

row! {
    struct AuditRow(AuditEntry) { at, actor, action, subject, before, after, act_id }
}

impl AuditLog for Store {
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        const APPEND: &str = r#"INSERT INTO audit (at, actor, action, subject, "before", "after", act_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (act_id) DO NOTHING"#;
        let query = self
            .write(APPEND)
            .bind(At(entry.at))
            .bind(&entry.actor)
            .bind(&entry.action)
            .bind(&entry.subject)
            .bind(&entry.before)
            .bind(&entry.after)
            .bind(&entry.act_id);
        query.execute().await.map(drop)
    }

    async fn audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        const NEWEST: &str = r#"SELECT at, actor, action, subject, "before", "after", act_id FROM audit
            ORDER BY audit_id DESC LIMIT $1"#;
        let query = self.read(NEWEST).bind(i64::from(limit));
        let rows: Vec<AuditRow> = query.fetch_all().await?;
        Ok(rows.into_iter().map(|AuditRow(entry)| entry).collect())
    }
}
