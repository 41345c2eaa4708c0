//! `NoticeStore` on PostgreSQL.

use app::ports::Unavailable;
use app::ports::notices::{CLAIM, Notice, NoticeEnd, NoticeState, NoticeStore};
use domain::Timestamp;
use domain::ids::EventId;

use crate::{PostgresStore, unavailable};

impl NoticeStore for PostgresStore {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        const BEGIN: &str = "INSERT INTO notifications AS known (event_id, channel, order_id, kind, state, attempts,
                created_at, claimed_until)
            VALUES ($1, $2, $3, $4, 'pending', 1, $5, $6)
            ON CONFLICT (event_id, channel) DO UPDATE SET attempts = known.attempts + 1, claimed_until = $6
                WHERE known.state = 'pending' AND (known.claimed_until IS NULL OR known.claimed_until <= $5)
            RETURNING attempts";
        const STATE: &str = "SELECT state FROM notifications WHERE event_id = $1 AND channel = $2";
        let row: Option<(i32,)> = sqlx::query_as(BEGIN)
            .bind(notice.event_id.0)
            .bind(notice.channel)
            .bind(notice.order_id.map(|id| id.0))
            .bind(notice.kind)
            .bind(notice.at)
            .bind(notice.at + CLAIM)
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        if let Some((attempt,)) = row {
            return Ok(NoticeState::Pending { attempt: u32::try_from(attempt).unwrap_or(u32::MAX) });
        }
        let (state,): (String,) = sqlx::query_as(STATE)
            .bind(notice.event_id.0)
            .bind(notice.channel)
            .fetch_one(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(if state == "pending" { NoticeState::InHand } else { NoticeState::Ended })
    }

    async fn give_back_notice(&self, event_id: EventId, channel: &'static str) -> Result<(), Unavailable> {
        const GIVE_BACK: &str = "UPDATE notifications SET claimed_until = NULL WHERE event_id = $1 AND channel = $2";
        let query = sqlx::query(GIVE_BACK).bind(event_id.0).bind(channel);
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
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
