//! `JourneyStore` and `RedriveLog` on SQLite: the records of an order's timeline, and the log of
//! redrives.

use app::ports::journey::{JourneyStore, NoticeRecord, Records, SentRecord, TakenIn};
use app::ports::notices::NoticeStatus;
use app::ports::orders::PaymentKind;
use app::ports::redrives::{Redrive, RedriveEnd, RedriveLog};
use app::ports::scope::Scope;
use app::ports::{Backend, Unavailable};
use contract::event::EventKind;
use contract::messages::Envelope;
use contract::role::ROLES;
use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use sqlx::FromRow;
use uuid::Uuid;

use crate::orders::{IN_SCOPE, locations};
use crate::rows::{PaymentRow, corrupt, optional_time, order_id as order_id_of, text_of, time_of};
use crate::{SqliteStore, unavailable};

const NOTICE_COLUMNS: &str = "event_id, channel, kind, state, attempts, created_at, sent_at";

#[derive(FromRow)]
struct OutboxRecord {
    kind: String,
    route: Option<String>,
    envelope: String,
    created_at: String,
    published_at: Option<String>,
    attempts: i64,
    retry_at: String,
}

#[derive(FromRow)]
struct PaymentRecord {
    kind: String,
    at: String,
    #[sqlx(flatten)]
    payment: PaymentRow,
}

#[derive(FromRow)]
struct NoticeRow {
    event_id: String,
    channel: String,
    kind: String,
    state: String,
    attempts: i64,
    created_at: String,
    sent_at: Option<String>,
}

#[derive(FromRow)]
struct RedriveRow {
    redrive_id: String,
    queue: String,
    fingerprint: String,
    reason: String,
    event_id: Option<String>,
    order_id: Option<String>,
    body: String,
    actor: String,
    at: String,
    outcome: Option<String>,
    ended_at: Option<String>,
}

impl SqliteStore {
    async fn effects(
        &self,
        events: Vec<EventId>,
        consumers: &[&str],
    ) -> Result<Vec<TakenIn>, Unavailable> {
        const SELECT: &str = "SELECT consumer, event_id, at, delivery FROM inbox
            WHERE consumer IN (SELECT value FROM json_each(?)) AND event_id IN (SELECT value FROM json_each(?))
            ORDER BY at, consumer";
        let rows: Vec<(String, String, String, Option<u32>)> = sqlx::query_as(SELECT)
            .bind(
                serde_json::to_string(consumers)
                    .map_err(|error| Unavailable::new(Backend::Orders, error))?,
            )
            .bind(
                serde_json::to_string(&events)
                    .map_err(|error| Unavailable::new(Backend::Orders, error))?,
            )
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let taken_in = |(consumer, id, at, delivery): (String, String, String, Option<u32>)| {
            Ok(TakenIn {
                consumer,
                event_id: event_id_of(&id)?,
                at: time_of(&at)?,
                delivery,
            })
        };
        rows.into_iter().map(taken_in).collect()
    }
}

impl JourneyStore for SqliteStore {
    async fn records(&self, scope: &Scope, order_id: OrderId) -> Result<Records, Unavailable> {
        const SENT: &str =
            "SELECT kind, route, envelope, created_at, published_at, attempts, retry_at FROM outbox
            WHERE order_id = $1 ORDER BY id";
        const PAYMENTS: &str =
            "SELECT kind, at, amount_minor, currency, state, token, charge_id, reason FROM payments
            WHERE order_id = $1 ORDER BY kind";
        const REDRIVES: &str =
            "SELECT redrive_id, queue, fingerprint, reason, event_id, order_id, body, actor, at,
                outcome, ended_at FROM redrives WHERE order_id = $1 ORDER BY at, redrive_id";
        let notices = format!(
            "SELECT {NOTICE_COLUMNS} FROM contract_notifications WHERE order_id = $1 ORDER BY created_at"
        );
        let (pool, id) = (&self.readers, order_id.to_string());
        let next = format!("SELECT next_action_at FROM orders WHERE order_id = ?3 AND {IN_SCOPE}");
        let next: Option<(Option<String>,)> = sqlx::query_as(sqlx::AssertSqlSafe(next))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(&id)
            .fetch_optional(pool)
            .await
            .map_err(unavailable)?;
        if next.is_none() && *scope != Scope::Everything {
            return Ok(Records::default());
        }
        let sent: Vec<OutboxRecord> = sqlx::query_as(SENT)
            .bind(&id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let payments: Vec<PaymentRecord> = sqlx::query_as(PAYMENTS)
            .bind(&id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let notices: Vec<NoticeRow> = sqlx::query_as(sqlx::AssertSqlSafe(notices))
            .bind(&id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let redrives: Vec<RedriveRow> = sqlx::query_as(REDRIVES)
            .bind(&id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let sent = sent
            .into_iter()
            .map(OutboxRecord::into_record)
            .collect::<Result<Vec<_>, Unavailable>>()?;
        let mut events: Vec<EventId> = sent
            .iter()
            .filter_map(|sent| Some(sent.envelope.as_ref().ok()?.event_id))
            .collect();
        events.extend(
            redrives
                .iter()
                .filter_map(|redrive| redrive.event_id.as_deref()?.parse::<EventId>().ok()),
        );
        events.dedup();
        let consumers: Vec<&str> = ROLES.iter().map(|role| role.slug).collect();
        Ok(Records {
            taken_in: if events.is_empty() {
                Vec::new()
            } else {
                self.effects(events, &consumers).await?
            },
            sent,
            payments: payments
                .into_iter()
                .map(|row| {
                    let kind = PaymentKind::from_code(&row.kind)
                        .ok_or_else(|| corrupt("a kind", &row.kind))?;
                    Ok((row.payment.into_payment(order_id, kind)?, time_of(&row.at)?))
                })
                .collect::<Result<_, Unavailable>>()?,
            notices: notices
                .into_iter()
                .map(NoticeRow::into_record)
                .collect::<Result<_, Unavailable>>()?,
            redrives: redrives
                .into_iter()
                .map(RedriveRow::into_redrive)
                .collect::<Result<_, Unavailable>>()?,
            next_action_at: optional_time(next.and_then(|(next,)| next).as_deref())?,
        })
    }

    async fn taken_in(
        &self,
        consumer: &str,
        event_id: EventId,
    ) -> Result<Option<TakenIn>, Unavailable> {
        Ok(self.effects(vec![event_id], &[consumer]).await?.pop())
    }

    async fn notices_of(&self, event_id: EventId) -> Result<Vec<NoticeRecord>, Unavailable> {
        let select = format!(
            "SELECT {NOTICE_COLUMNS} FROM contract_notifications WHERE event_id = $1 ORDER BY created_at"
        );
        let rows: Vec<NoticeRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(event_id.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(NoticeRow::into_record).collect()
    }

    async fn newest_of(&self, kind: EventKind) -> Result<Option<Envelope>, Unavailable> {
        const SELECT: &str = "SELECT envelope FROM outbox WHERE kind = $1 ORDER BY id DESC LIMIT 1";
        let row: Option<(String,)> = sqlx::query_as(SELECT)
            .bind(kind.name())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok(row.and_then(|(envelope,)| Envelope::decode(&envelope).ok()))
    }
}

impl RedriveLog for SqliteStore {
    async fn begin_redrive(&self, redrive: &Redrive) -> Result<(), Unavailable> {
        const BEGIN: &str = "INSERT INTO redrives (redrive_id, queue, fingerprint, reason, event_id, order_id, body,
                actor, at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
        sqlx::query(BEGIN)
            .bind(redrive.redrive_id.to_string())
            .bind(&redrive.queue)
            .bind(&redrive.fingerprint)
            .bind(&redrive.reason)
            .bind(redrive.event_id.map(|id| id.to_string()))
            .bind(redrive.order_id.map(|id| id.to_string()))
            .bind(&redrive.body)
            .bind(&redrive.actor)
            .bind(text_of(redrive.at))
            .execute(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn end_redrive(
        &self,
        redrive_id: Uuid,
        end: RedriveEnd,
        at: Timestamp,
    ) -> Result<(), Unavailable> {
        const END: &str = "UPDATE redrives SET outcome = $1, ended_at = $2 WHERE redrive_id = $3";
        let query = sqlx::query(END)
            .bind(end.code())
            .bind(text_of(at))
            .bind(redrive_id.to_string());
        query.execute(&self.writer).await.map_err(unavailable)?;
        Ok(())
    }
}

fn event_id_of(text: &str) -> Result<EventId, Unavailable> {
    text.parse().map_err(|_| corrupt("an event id", text))
}

fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

impl OutboxRecord {
    fn into_record(self) -> Result<SentRecord, Unavailable> {
        Ok(SentRecord {
            envelope: Envelope::decode(&self.envelope),
            kind: self.kind,
            route: self.route,
            written_at: time_of(&self.created_at)?,
            left_at: optional_time(self.published_at.as_deref())?,
            failed_tries: count(self.attempts),
            retry_at: time_of(&self.retry_at)?,
        })
    }
}

impl NoticeRow {
    fn into_record(self) -> Result<NoticeRecord, Unavailable> {
        Ok(NoticeRecord {
            event_id: event_id_of(&self.event_id)?,
            channel: self.channel,
            kind: self.kind,
            state: NoticeStatus::from_code(&self.state)
                .ok_or_else(|| corrupt("a state", &self.state))?,
            attempts: count(self.attempts),
            created_at: time_of(&self.created_at)?,
            sent_at: optional_time(self.sent_at.as_deref())?,
        })
    }
}

impl RedriveRow {
    fn into_redrive(self) -> Result<Redrive, Unavailable> {
        let end =
            |code: String| RedriveEnd::from_code(&code).ok_or_else(|| corrupt("an outcome", &code));
        Ok(Redrive {
            redrive_id: self
                .redrive_id
                .parse()
                .map_err(|_| corrupt("a redrive's id", &self.redrive_id))?,
            queue: self.queue,
            fingerprint: self.fingerprint,
            reason: self.reason,
            event_id: self.event_id.as_deref().map(event_id_of).transpose()?,
            order_id: self.order_id.as_deref().map(order_id_of).transpose()?,
            body: self.body,
            actor: self.actor,
            at: time_of(&self.at)?,
            end: self
                .outcome
                .map(end)
                .transpose()?
                .zip(optional_time(self.ended_at.as_deref())?),
        })
    }
}
