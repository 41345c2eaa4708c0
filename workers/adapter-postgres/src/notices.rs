//! `NoticeStore` on PostgreSQL.

use app::ports::Unavailable;
use app::ports::notices::{Notice, NoticeEnd, NoticeState, NoticeStore};
use domain::Timestamp;
use domain::ids::EventId;

use crate::{PostgresStore, unavailable};

impl NoticeStore for PostgresStore {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        const BEGIN: &str = "INSERT INTO notifications (event_id, channel, order_id, kind, state, attempts, created_at)
            VALUES ($1, $2, $3, $4, 'pending', 1, $5)
            ON CONFLICT (event_id, channel) DO UPDATE SET attempts = notifications.attempts + 1 WHERE notifications.state = 'pending'
            RETURNING attempts";
        let row: Option<(i32,)> = sqlx::query_as(BEGIN)
            .bind(notice.event_id.0)
            .bind(notice.channel)
            .bind(notice.order_id.map(|id| id.0))
            .bind(notice.kind)
            .bind(notice.at)
            .fetch_optional(&self.pool)
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
        const END: &str = "UPDATE notifications SET state = $1, sent_at = $2 WHERE event_id = $3 AND channel = $4";
        let sent_at = (end == NoticeEnd::Sent).then_some(at);
        sqlx::query(END)
            .bind(end.code())
            .bind(sent_at)
            .bind(event_id.0)
            .bind(channel)
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}
