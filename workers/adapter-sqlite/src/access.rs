//! `StaffTokens` and `AuditLog` on SQLite.

use app::ports::Unavailable;
use app::ports::access::{AuditEntry, AuditLog, StaffToken, StaffTokens};
use domain::Timestamp;
use domain::access::StaffRole;
use sqlx::{FromRow, SqliteConnection};
use uuid::Uuid;

use crate::rows::{corrupt, optional_time, text_of, time_of};
use crate::{SqliteStore, unavailable};

#[derive(FromRow)]
struct TokenRow {
    id: String,
    name: String,
    role: String,
    issued_at: String,
    expires_at: String,
    revoked_at: Option<String>,
}

impl TokenRow {
    fn into_token(self) -> Result<StaffToken, Unavailable> {
        Ok(StaffToken {
            id: token_id(&self.id)?,
            role: StaffRole::from_code(&self.role)
                .ok_or_else(|| corrupt("a staff role", &self.role))?,
            issued_at: time_of(&self.issued_at)?,
            expires_at: time_of(&self.expires_at)?,
            revoked_at: optional_time(self.revoked_at.as_deref())?,
            name: self.name,
        })
    }
}

fn token_id(text: &str) -> Result<Uuid, Unavailable> {
    text.parse().map_err(|_| corrupt("a token's id", text))
}

impl StaffTokens for SqliteStore {
    async fn record_token(&self, token: &StaffToken) -> Result<(), Unavailable> {
        const RECORD: &str =
            "INSERT INTO staff_tokens (id, name, role, issued_at, expires_at, revoked_at)
            VALUES (?, ?, ?, ?, ?, ?)";
        let query = sqlx::query(RECORD)
            .bind(token.id.to_string())
            .bind(&token.name)
            .bind(token.role.code())
            .bind(text_of(token.issued_at))
            .bind(text_of(token.expires_at))
            .bind(token.revoked_at.map(text_of));
        query.execute(&self.writer).await.map_err(unavailable)?;
        Ok(())
    }

    async fn staff_tokens(&self) -> Result<Vec<StaffToken>, Unavailable> {
        const LIST: &str =
            "SELECT id, name, role, issued_at, expires_at, revoked_at FROM staff_tokens
            ORDER BY issued_at DESC, id DESC";
        let rows: Vec<TokenRow> = sqlx::query_as(LIST)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(TokenRow::into_token).collect()
    }

    async fn revoke_token(
        &self,
        id: Uuid,
        at: Timestamp,
    ) -> Result<Option<StaffToken>, Unavailable> {
        const READ: &str = "SELECT id, name, role, issued_at, expires_at, revoked_at FROM staff_tokens WHERE id = ?";
        const REVOKE: &str =
            "UPDATE staff_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
        let read = sqlx::query_as(READ).bind(id.to_string());
        let row: Option<TokenRow> = read
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let revoke = sqlx::query(REVOKE).bind(text_of(at)).bind(id.to_string());
        revoke.execute(&self.writer).await.map_err(unavailable)?;
        row.into_token().map(Some)
    }

    async fn revoked_tokens(&self, now: Timestamp) -> Result<Vec<Uuid>, Unavailable> {
        const REVOKED: &str =
            "SELECT id FROM staff_tokens WHERE revoked_at IS NOT NULL AND expires_at > ?";
        let query = sqlx::query_scalar(REVOKED).bind(text_of(now));
        let ids: Vec<String> = query.fetch_all(&self.readers).await.map_err(unavailable)?;
        ids.iter().map(|id| token_id(id)).collect()
    }
}

#[derive(FromRow)]
struct AuditRow {
    at: String,
    actor: String,
    action: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
    act_id: Option<String>,
}

/// Appends an entry to the audit log, on its own or in the transaction of the change that it
/// describes. An entry whose `act_id` exists already is ignored.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    entry: &AuditEntry,
) -> Result<(), sqlx::Error> {
    const APPEND: &str = r#"INSERT INTO audit (at, actor, action, subject, "before", "after", act_id)
        VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (act_id) DO NOTHING"#;
    let query = sqlx::query(APPEND)
        .bind(text_of(entry.at))
        .bind(&entry.actor)
        .bind(&entry.action)
        .bind(&entry.subject)
        .bind(&entry.before)
        .bind(&entry.after)
        .bind(&entry.act_id);
    query.execute(connection).await.map(drop)
}

impl AuditLog for SqliteStore {
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), Unavailable> {
        let mut connection = self.writer.acquire().await.map_err(unavailable)?;
        append(&mut connection, entry).await.map_err(unavailable)
    }

    async fn audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, Unavailable> {
        const NEWEST: &str = r#"SELECT at, actor, action, subject, "before", "after", act_id FROM audit
            ORDER BY audit_id DESC LIMIT ?"#;
        let query = sqlx::query_as(NEWEST).bind(i64::from(limit));
        let rows: Vec<AuditRow> = query.fetch_all(&self.readers).await.map_err(unavailable)?;
        let entry = |row: AuditRow| {
            let AuditRow {
                actor,
                action,
                subject,
                before,
                after,
                act_id,
                ..
            } = row;
            Ok(AuditEntry {
                at: time_of(&row.at)?,
                actor,
                action,
                subject,
                before,
                after,
                act_id,
            })
        };
        rows.into_iter().map(entry).collect()
    }
}
