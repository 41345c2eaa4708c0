//! `StaffTokens` and `AuditLog` on PostgreSQL.

use app::ports::Unavailable;
use app::ports::access::{AuditEntry, AuditLog, StaffToken, StaffTokens};
use domain::Timestamp;
use domain::access::StaffRole;
use sqlx::FromRow;
use uuid::Uuid;

use crate::rows::corrupt;
use crate::{PostgresStore, unavailable};

#[derive(FromRow)]
struct TokenRow {
    id: Uuid,
    name: String,
    role: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

impl TokenRow {
    fn into_token(self) -> Result<StaffToken, Unavailable> {
        let role =
            StaffRole::from_code(&self.role).ok_or_else(|| corrupt("a staff role", &self.role))?;
        let TokenRow {
            id,
            name,
            issued_at,
            expires_at,
            revoked_at,
            ..
        } = self;
        Ok(StaffToken {
            id,
            name,
            role,
            issued_at,
            expires_at,
            revoked_at,
        })
    }
}

impl StaffTokens for PostgresStore {
    async fn record_token(&self, token: &StaffToken) -> Result<(), Unavailable> {
        const RECORD: &str =
            "INSERT INTO staff_tokens (id, name, role, issued_at, expires_at, revoked_at)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(RECORD)
            .bind(token.id)
            .bind(&token.name)
            .bind(token.role.code())
            .bind(token.issued_at)
            .bind(token.expires_at)
            .bind(token.revoked_at);
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    async fn staff_tokens(&self) -> Result<Vec<StaffToken>, Unavailable> {
        const LIST: &str =
            "SELECT id, name, role, issued_at, expires_at, revoked_at FROM staff_tokens
            ORDER BY issued_at DESC, id DESC";
        let rows: Vec<TokenRow> = sqlx::query_as(LIST)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(TokenRow::into_token).collect()
    }

    async fn revoke_token(
        &self,
        id: Uuid,
        at: Timestamp,
    ) -> Result<Option<StaffToken>, Unavailable> {
        const REVOKE: &str = "WITH before AS (SELECT * FROM staff_tokens WHERE id = $1 FOR UPDATE),
                revoked AS (UPDATE staff_tokens SET revoked_at = coalesce(staff_tokens.revoked_at, $2) FROM before
                    WHERE staff_tokens.id = before.id)
            SELECT id, name, role, issued_at, expires_at, revoked_at FROM before";
        let query = sqlx::query_as(REVOKE).bind(id).bind(at);
        let row: Option<TokenRow> = query
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        row.map(TokenRow::into_token).transpose()
    }

    async fn revoked_tokens(&self, now: Timestamp) -> Result<Vec<Uuid>, Unavailable> {
        const REVOKED: &str =
            "SELECT id FROM staff_tokens WHERE revoked_at IS NOT NULL AND expires_at > $1";
        sqlx::query_scalar(REVOKED)
            .bind(now)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)
    }
}

#[derive(FromRow)]
struct AuditRow {
    at: Timestamp,
    actor: String,
    action: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
    act_id: Option<String>,
}

impl AuditLog for PostgresStore {
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), Unavailable> {
        const APPEND: &str = "INSERT INTO audit (at, actor, action, subject, before, after, act_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (act_id) DO NOTHING";
        let query = sqlx::query(APPEND)
            .bind(entry.at)
            .bind(&entry.actor)
            .bind(&entry.action)
            .bind(&entry.subject)
            .bind(&entry.before)
            .bind(&entry.after)
            .bind(&entry.act_id);
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    async fn audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, Unavailable> {
        const NEWEST: &str = "SELECT at, actor, action, subject, before, after, act_id FROM audit
            ORDER BY audit_id DESC LIMIT $1";
        let query = sqlx::query_as(NEWEST).bind(i64::from(limit));
        let rows: Vec<AuditRow> = query.fetch_all(&self.pool).await.map_err(unavailable)?;
        let entry = |row: AuditRow| {
            let AuditRow {
                at,
                actor,
                action,
                subject,
                before,
                after,
                act_id,
            } = row;
            AuditEntry {
                at,
                actor,
                action,
                subject,
                before,
                after,
                act_id,
            }
        };
        Ok(rows.into_iter().map(entry).collect())
    }
}
