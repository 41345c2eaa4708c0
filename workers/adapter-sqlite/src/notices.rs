//! `NoticeStore` on SQLite.

use app::ports::Unavailable;
use app::ports::notices::{Notice, NoticeEnd, NoticeState, NoticeStore};
use domain::Timestamp;
use domain::ids::EventId;

use crate::rows::text_of;
use crate::{SqliteStore, unavailable};

impl NoticeStore for SqliteStore {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        const BEGIN: &str = "INSERT INTO notifications (event_id, channel, order_id, kind, state, attempts, created_at)
            VALUES (?, ?, ?, ?, 'pending', 1, ?)
            ON CONFLICT (event_id, channel) DO UPDATE SET attempts = attempts + 1 WHERE state = 'pending'
            RETURNING attempts";
        let row: Option<(i64,)> = sqlx::query_as(BEGIN)
            .bind(notice.event_id.to_string())
            .bind(notice.channel)
            .bind(notice.order_id.map(|id| id.to_string()))
            .bind(notice.kind)
            .bind(text_of(notice.at))
            .fetch_optional(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(match row {
            Some((attempt,)) => NoticeState::Pending { attempt: u32::try_from(attempt).unwrap_or(u32::MAX) },
            None => NoticeState::Ended,
        })
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
