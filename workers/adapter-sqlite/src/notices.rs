//! `NoticeStore` on SQLite.

use app::ports::Unavailable;
use app::ports::notices::{CLAIM, Notice, NoticeEnd, NoticeState, NoticeStore};
use domain::Timestamp;
use domain::ids::EventId;

use crate::rows::text_of;
use crate::{SqliteStore, unavailable};

impl NoticeStore for SqliteStore {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        const BEGIN: &str = "INSERT INTO notifications (event_id, channel, order_id, kind, state, attempts, created_at,
                claimed_until)
            VALUES (?1, ?2, ?3, ?4, 'pending', 1, ?5, ?6)
            ON CONFLICT (event_id, channel) DO UPDATE SET attempts = attempts + 1, claimed_until = ?6
                WHERE state = 'pending' AND (claimed_until IS NULL OR claimed_until <= ?5)
            RETURNING attempts";
        const STATE: &str = "SELECT state FROM notifications WHERE event_id = ? AND channel = ?";
        let row: Option<(i64,)> = sqlx::query_as(BEGIN)
            .bind(notice.event_id.to_string())
            .bind(notice.channel)
            .bind(notice.order_id.map(|id| id.to_string()))
            .bind(notice.kind)
            .bind(text_of(notice.at))
            .bind(text_of(notice.at + CLAIM))
            .fetch_optional(&self.writer)
            .await
            .map_err(unavailable)?;
        if let Some((attempt,)) = row {
            return Ok(NoticeState::Pending { attempt: u32::try_from(attempt).unwrap_or(u32::MAX) });
        }
        let (state,): (String,) = sqlx::query_as(STATE)
            .bind(notice.event_id.to_string())
            .bind(notice.channel)
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok(if state == "pending" { NoticeState::InHand } else { NoticeState::Ended })
    }

    async fn give_back_notice(&self, event_id: EventId, channel: &'static str) -> Result<(), Unavailable> {
        const GIVE_BACK: &str = "UPDATE notifications SET claimed_until = NULL WHERE event_id = ? AND channel = ?";
        let query = sqlx::query(GIVE_BACK).bind(event_id.to_string()).bind(channel);
        query.execute(&self.writer).await.map_err(unavailable)?;
        Ok(())
    }

    async fn end_notice(
        &self,
        event_id: EventId,
        channel: &'static str,
        end: NoticeEnd,
        at: Timestamp,
    ) -> Result<(), Unavailable> {
        const END: &str = "UPDATE notifications SET state = ?, sent_at = ? WHERE event_id = ? AND channel = ?";
        let sent_at = (end == NoticeEnd::Sent).then(|| text_of(at));
        sqlx::query(END)
            .bind(end.code())
            .bind(sent_at)
            .bind(event_id.to_string())
            .bind(channel)
            .execute(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}
