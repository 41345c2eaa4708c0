//! `NoticeStore` on SQLite: the notifications, and how many each recipient got in a day.

use app::ports::Unavailable;
use app::ports::notices::{
    CLAIM, MESSAGES_PER_DAY, NOTICES_MAX, Notice, NoticeEnd, NoticeFilter, NoticeRow, NoticeState,
    NoticeStatus, NoticeStore, TOO_MANY,
};
use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::EventId;
use time::UtcOffset;

use crate::rows::{corrupt, optional_time, order_id, text_of, time_of};
use crate::{SqliteStore, unavailable};

impl NoticeStore for SqliteStore {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        const KNOWN: &str =
            "SELECT EXISTS (SELECT 1 FROM notifications WHERE event_id = ? AND channel = ?)";
        const COUNT: &str =
            "INSERT INTO notice_counts (recipient, day, messages) VALUES (?1, ?2, 1)
            ON CONFLICT (recipient, day) DO UPDATE SET messages = messages + 1 WHERE messages < ?3";
        const SUPPRESS: &str =
            "INSERT INTO notifications (event_id, channel, order_id, kind, state, attempts,
                created_at, reason)
            VALUES (?, ?, ?, ?, 'suppressed', 1, ?, ?)";
        const BEGIN: &str = "INSERT INTO notifications (event_id, channel, order_id, kind, state, attempts, created_at,
                claimed_until)
            VALUES (?1, ?2, ?3, ?4, 'pending', 1, ?5, ?6)
            ON CONFLICT (event_id, channel) DO UPDATE SET attempts = attempts + 1, claimed_until = ?6
                WHERE state = 'pending' AND (claimed_until IS NULL OR claimed_until <= ?5)
            RETURNING attempts";
        const STATE: &str = "SELECT state FROM notifications WHERE event_id = ? AND channel = ?";
        let mut transaction = self.write().await.map_err(unavailable)?;
        if let Some(recipient) = &notice.recipient {
            let (known,): (bool,) = sqlx::query_as(KNOWN)
                .bind(notice.event_id.to_string())
                .bind(notice.channel.code())
                .fetch_one(&mut *transaction)
                .await
                .map_err(unavailable)?;
            let counted = sqlx::query(COUNT)
                .bind(recipient)
                .bind(notice.at.to_offset(UtcOffset::UTC).date().to_string())
                .bind(i64::from(MESSAGES_PER_DAY));
            if !known
                && counted
                    .execute(&mut *transaction)
                    .await
                    .map_err(unavailable)?
                    .rows_affected()
                    == 0
            {
                sqlx::query(SUPPRESS)
                    .bind(notice.event_id.to_string())
                    .bind(notice.channel.code())
                    .bind(notice.order_id.map(|id| id.to_string()))
                    .bind(notice.kind.code())
                    .bind(text_of(notice.at))
                    .bind(TOO_MANY)
                    .execute(&mut *transaction)
                    .await
                    .map_err(unavailable)?;
                transaction.commit().await.map_err(unavailable)?;
                return Ok(NoticeState::NotSent);
            }
        }
        let row: Option<(i64,)> = sqlx::query_as(BEGIN)
            .bind(notice.event_id.to_string())
            .bind(notice.channel.code())
            .bind(notice.order_id.map(|id| id.to_string()))
            .bind(notice.kind.code())
            .bind(text_of(notice.at))
            .bind(text_of(notice.at + CLAIM))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        if let Some((attempt,)) = row {
            return Ok(NoticeState::Pending {
                attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            });
        }
        let (state,): (String,) = sqlx::query_as(STATE)
            .bind(notice.event_id.to_string())
            .bind(notice.channel.code())
            .fetch_one(&self.readers)
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
            "UPDATE notifications SET state = ?, sent_at = ?, message_id = ?, reason = ?
            WHERE event_id = ? AND channel = ? AND state = 'pending'";
        let ended = sqlx::query(END)
            .bind(end.code())
            .bind(end.message_id().map(|_| text_of(at)))
            .bind(end.message_id())
            .bind(end.reason())
            .bind(event_id.to_string())
            .bind(channel.code())
            .execute(&self.writer)
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
        const GIVE_BACK: &str = "UPDATE notifications SET claimed_until = NULL, reason = ?
            WHERE event_id = ? AND channel = ? AND state = 'pending'";
        let query = sqlx::query(GIVE_BACK)
            .bind(why)
            .bind(event_id.to_string())
            .bind(channel.code());
        query.execute(&self.writer).await.map_err(unavailable)?;
        Ok(())
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, Unavailable> {
        const LIST: &str =
            "SELECT event_id, order_id, kind, channel, state, attempts, reason, message_id,
                created_at, sent_at
            FROM contract_notifications
            WHERE (?1 IS NULL OR order_id = ?1)
                AND (NOT ?2 OR state = 'failed' OR (state = 'pending' AND reason IS NOT NULL))
            ORDER BY created_at DESC, event_id DESC, channel LIMIT ?3";
        let rows: Vec<Row> = sqlx::query_as(LIST)
            .bind(filter.order_id.map(|id| id.to_string()))
            .bind(filter.failed)
            .bind(i64::from(NOTICES_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(Row::into_notice).collect()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    event_id: String,
    order_id: Option<String>,
    kind: String,
    channel: String,
    state: String,
    attempts: i64,
    reason: Option<String>,
    message_id: Option<String>,
    created_at: String,
    sent_at: Option<String>,
}

impl Row {
    fn into_notice(self) -> Result<NoticeRow, Unavailable> {
        Ok(NoticeRow {
            event_id: self
                .event_id
                .parse()
                .map_err(|_| corrupt("an event id", &self.event_id))?,
            order_id: self.order_id.as_deref().map(order_id).transpose()?,
            kind: self.kind,
            channel: Channel::from_code(&self.channel)
                .ok_or_else(|| corrupt("a channel", &self.channel))?,
            state: NoticeStatus::from_code(&self.state)
                .ok_or_else(|| corrupt("a state", &self.state))?,
            attempts: u32::try_from(self.attempts).unwrap_or_default(),
            reason: self.reason,
            message_id: self.message_id,
            created_at: time_of(&self.created_at)?,
            sent_at: optional_time(self.sent_at.as_deref())?,
        })
    }
}
