//! `NoticeStore` on PostgreSQL: the notifications, and how many each recipient got in a day.

use app::ports::Unavailable;
use app::ports::notices::{
    CLAIM, MESSAGES_PER_DAY, NOTICES_MAX, Notice, NoticeEnd, NoticeFilter, NoticeRow, NoticeState,
    NoticeStatus, NoticeStore, TOO_MANY,
};
use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::{EventId, OrderId};
use uuid::Uuid;

use crate::rows::corrupt;
use crate::{PostgresStore, unavailable};

impl NoticeStore for PostgresStore {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        // The first attempt counts toward the recipient's daily limit. Two concurrent first
        // attempts for one notification can both count; the recipient then gets fewer messages,
        // never more.
        const BEGIN: &str = "WITH counted AS (
                INSERT INTO notice_counts AS counts (recipient, day, messages)
                SELECT $7, ($5 AT TIME ZONE 'UTC')::date, 1
                WHERE $7::text IS NOT NULL
                    AND NOT EXISTS (SELECT 1 FROM notifications WHERE event_id = $1 AND channel = $2)
                ON CONFLICT (recipient, day) DO UPDATE SET messages = counts.messages + 1 WHERE counts.messages < $8
                RETURNING 1
            ), checked AS (SELECT $7::text IS NULL OR EXISTS (SELECT 1 FROM counted) AS may)
            INSERT INTO notifications AS known (event_id, channel, order_id, kind, state, attempts, created_at,
                claimed_until, reason)
            SELECT $1, $2, $3, $4, CASE WHEN may THEN 'pending' ELSE 'suppressed' END, 1, $5,
                CASE WHEN may THEN $6::timestamptz END, CASE WHEN may THEN NULL ELSE $9 END
            FROM checked
            ON CONFLICT (event_id, channel) DO UPDATE SET attempts = known.attempts + 1, claimed_until = $6
                WHERE known.state = 'pending' AND (known.claimed_until IS NULL OR known.claimed_until <= $5)
            RETURNING attempts, state";
        const STATE: &str = "SELECT state FROM notifications WHERE event_id = $1 AND channel = $2";
        let row: Option<(i32, String)> = sqlx::query_as(BEGIN)
            .bind(notice.event_id.0)
            .bind(notice.channel.code())
            .bind(notice.order_id.map(|id| id.0))
            .bind(notice.kind.code())
            .bind(notice.at)
            .bind(notice.at + CLAIM)
            .bind(&notice.recipient)
            .bind(MESSAGES_PER_DAY as i32)
            .bind(TOO_MANY)
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        if let Some((attempt, state)) = row {
            if state == "suppressed" {
                return Ok(NoticeState::NotSent);
            }
            return Ok(NoticeState::Pending {
                attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            });
        }
        let (state,): (String,) = sqlx::query_as(STATE)
            .bind(notice.event_id.0)
            .bind(notice.channel.code())
            .fetch_one(&self.pool)
            .await
            .map_err(unavailable)?;
        NoticeState::of_row(&state).ok_or_else(|| corrupt("a state", &state))
    }

    async fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> Result<bool, Unavailable> {
        const END: &str =
            "UPDATE notifications SET state = $1, sent_at = $2, message_id = $3, reason = $4
            WHERE event_id = $5 AND channel = $6 AND state = 'pending'";
        let ended = sqlx::query(END)
            .bind(end.code())
            .bind(end.message_id().map(|_| at))
            .bind(end.message_id())
            .bind(end.reason())
            .bind(event_id.0)
            .bind(channel.code())
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(ended.rows_affected() == 1)
    }

    async fn give_back_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        why: &str,
    ) -> Result<(), Unavailable> {
        const GIVE_BACK: &str = "UPDATE notifications SET claimed_until = NULL, reason = $1
            WHERE event_id = $2 AND channel = $3 AND state = 'pending'";
        let query = sqlx::query(GIVE_BACK)
            .bind(why)
            .bind(event_id.0)
            .bind(channel.code());
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, Unavailable> {
        const LIST: &str =
            "SELECT event_id, order_id, kind, channel, state, attempts, reason, message_id,
                created_at, sent_at
            FROM contract.notifications
            WHERE ($1::uuid IS NULL OR order_id = $1)
                AND (NOT $2 OR state = 'failed' OR (state = 'pending' AND reason IS NOT NULL))
            ORDER BY created_at DESC, event_id DESC, channel LIMIT $3";
        let rows: Vec<Row> = sqlx::query_as(LIST)
            .bind(filter.order_id.map(|id| id.0))
            .bind(filter.failed)
            .bind(i64::from(NOTICES_MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(Row::into_notice).collect()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    event_id: Uuid,
    order_id: Option<Uuid>,
    kind: String,
    channel: String,
    state: String,
    attempts: i32,
    reason: Option<String>,
    message_id: Option<String>,
    created_at: Timestamp,
    sent_at: Option<Timestamp>,
}

impl Row {
    fn into_notice(self) -> Result<NoticeRow, Unavailable> {
        Ok(NoticeRow {
            event_id: EventId(self.event_id),
            order_id: self.order_id.map(OrderId),
            kind: self.kind,
            channel: Channel::from_code(&self.channel)
                .ok_or_else(|| corrupt("a channel", &self.channel))?,
            state: NoticeStatus::from_code(&self.state)
                .ok_or_else(|| corrupt("a state", &self.state))?,
            attempts: u32::try_from(self.attempts).unwrap_or_default(),
            reason: self.reason,
            message_id: self.message_id,
            created_at: self.created_at,
            sent_at: self.sent_at,
        })
    }
}
