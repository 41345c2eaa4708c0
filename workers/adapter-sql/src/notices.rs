//! `NoticeStore`: the notifications, and how many each recipient got in a day.

use app::ports::StoreError;
use app::ports::notices::{
    CLAIM, MESSAGES_PER_DAY, NOTICES_MAX, Notice, NoticeEnd, NoticeFilter, NoticeRow, NoticeState,
    NoticeStatus, NoticeStore, TOO_MANY,
};
use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::{EventId, OrderId};
use time::UtcOffset;

use crate::query::Query;
use crate::rows::corrupt;
use crate::values::{At, Id};
use crate::{Database, Store};

/// Counts the first attempt toward the recipient's daily limit, unless the limit is reached. Two
/// concurrent first attempts for one notification can both count; the recipient then gets fewer
/// messages, never more.
const COUNT: &str = "
    INSERT INTO notice_counts AS counts (recipient, day, messages)
    SELECT $7, $10, 1
    WHERE $7 IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM notifications WHERE event_id = $1 AND channel = $2)
    ON CONFLICT (recipient, day) DO UPDATE SET messages = counts.messages + 1 WHERE counts.messages < $8
    RETURNING 1";

/// Adds the notification, suppressed if the recipient may get no more, or claims it again.
const BEGIN: &str = "
    INSERT INTO notifications AS known (event_id, channel, order_id, kind, state, attempts, created_at,
        claimed_until, reason)
    SELECT $1, $2, $3, $4, CASE WHEN may THEN 'pending' ELSE 'suppressed' END, 1, $5,
        CASE WHEN may THEN $6 END, CASE WHEN may THEN NULL ELSE $9 END
    FROM checked WHERE true
    ON CONFLICT (event_id, channel) DO UPDATE SET attempts = known.attempts + 1, claimed_until = $6
        WHERE known.state = 'pending' AND (known.claimed_until IS NULL OR known.claimed_until <= $5)
    RETURNING attempts, state";

/// Adds the values of [`COUNT`] and [`BEGIN`].
fn bind_notice<'c>(query: Query<'c>, notice: &Notice) -> Query<'c> {
    query
        .bind(Id(notice.event_id.0))
        .bind(notice.channel.code())
        .bind(notice.order_id.map(|id| Id(id.0)))
        .bind(notice.kind.code())
        .bind(At(notice.at))
        .bind(At(notice.at + CLAIM))
        .bind(&notice.recipient)
        .bind(MESSAGES_PER_DAY as i32)
        .bind(TOO_MANY)
        .bind(notice.at.to_offset(UtcOffset::UTC).date())
}

impl NoticeStore for Store {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, StoreError> {
        const STATE: &str = "SELECT state FROM notifications WHERE event_id = $1 AND channel = $2";
        let row = match &self.database {
            Database::Postgres(_) => {
                let sql = format!(
                    "WITH counted AS ({COUNT}),
                        checked AS (SELECT $7 IS NULL OR EXISTS (SELECT 1 FROM counted) AS may) {BEGIN}"
                );
                let query = bind_notice(self.write(sql), notice);
                query.fetch_optional().await?
            }
            Database::Sqlite(_) => {
                let mut transaction = self.begin().await?;
                let counted = bind_notice(transaction.query(COUNT), notice);
                let may = counted.execute().await? == 1 || notice.recipient.is_none();
                let sql = format!("WITH checked AS (SELECT $11 AS may) {BEGIN}");
                let query = bind_notice(transaction.query(sql), notice).bind(may);
                let row = query.fetch_optional().await?;
                transaction.commit().await?;
                row
            }
        };
        let row: Option<(i32, String)> = row;
        if let Some((attempt, state)) = row {
            if state == "suppressed" {
                return Ok(NoticeState::NotSent);
            }
            return Ok(NoticeState::Pending {
                attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            });
        }
        let query = self
            .read(STATE)
            .bind(Id(notice.event_id.0))
            .bind(notice.channel.code());
        let (state,): (String,) = query.fetch_one().await?;
        NoticeState::of_row(&state).ok_or_else(|| corrupt("a state", &state))
    }

    async fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        const END: &str =
            "UPDATE notifications SET state = $1, sent_at = $2, message_id = $3, reason = $4
            WHERE event_id = $5 AND channel = $6 AND state = 'pending'";
        let query = self
            .write(END)
            .bind(end.code())
            .bind(end.message_id().map(|_| At(at)))
            .bind(end.message_id())
            .bind(end.reason())
            .bind(Id(event_id.0))
            .bind(channel.code());
        Ok(query.execute().await? == 1)
    }

    async fn give_back_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        why: &str,
    ) -> Result<(), StoreError> {
        const GIVE_BACK: &str = "UPDATE notifications SET claimed_until = NULL, reason = $1
            WHERE event_id = $2 AND channel = $3 AND state = 'pending'";
        let query = self
            .write(GIVE_BACK)
            .bind(why)
            .bind(Id(event_id.0))
            .bind(channel.code());
        query.execute().await.map(drop)
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, StoreError> {
        const LIST: &str =
            "SELECT event_id, order_id, kind, channel, state, attempts, reason, message_id,
                created_at, sent_at
            FROM contract.notifications
            WHERE ($1 IS NULL OR order_id = $1)
                AND (NOT $2 OR state = 'failed' OR (state = 'pending' AND reason IS NOT NULL))
            ORDER BY created_at DESC, event_id DESC, channel LIMIT $3";
        let query = self
            .read(LIST)
            .bind(filter.order_id.map(|id| Id(id.0)))
            .bind(filter.failed)
            .bind(i64::from(NOTICES_MAX));
        let rows: Vec<Row> = query.fetch_all().await?;
        rows.into_iter().map(Row::into_notice).collect()
    }
}

row! {
    struct Row {
        event_id: Id,
        order_id: Option<Id>,
        kind: String,
        channel: String,
        state: String,
        attempts: i32,
        reason: Option<String>,
        message_id: Option<String>,
        created_at: Timestamp,
        sent_at: Option<Timestamp>,
    }
}

impl Row {
    fn into_notice(self) -> Result<NoticeRow, StoreError> {
        Ok(NoticeRow {
            event_id: EventId(self.event_id.0),
            order_id: self.order_id.map(|id| OrderId(id.0)),
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
