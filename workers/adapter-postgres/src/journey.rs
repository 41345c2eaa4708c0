//! `JourneyStore` and `RedriveLog` on PostgreSQL: the records of an order's timeline, and the log
//! of redrives.

use app::ports::Unavailable;
use app::ports::journey::{JourneyStore, NoticeRecord, Records, SentRecord, TakenIn};
use app::ports::notices::NoticeStatus;
use app::ports::orders::PaymentKind;
use app::ports::redrives::{Redrive, RedriveEnd, RedriveLog};
use app::ports::scope::Scope;
use contract::event::EventKind;
use contract::messages::Envelope;
use contract::role::ROLES;
use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use sqlx::FromRow;
use uuid::Uuid;

use crate::rows::{PaymentRow, corrupt};
use crate::{PostgresStore, unavailable};

const NOTICE_COLUMNS: &str = "event_id, channel, kind, state, attempts, created_at, sent_at";

#[derive(FromRow)]
struct OutboxRecord {
    kind: String,
    route: Option<String>,
    envelope: String,
    created_at: Timestamp,
    published_at: Option<Timestamp>,
    attempts: i32,
    retry_at: Timestamp,
}

#[derive(FromRow)]
struct PaymentRecord {
    kind: String,
    at: Timestamp,
    #[sqlx(flatten)]
    payment: PaymentRow,
}

#[derive(FromRow)]
struct NoticeRow {
    event_id: Uuid,
    channel: String,
    kind: String,
    state: String,
    attempts: i32,
    created_at: Timestamp,
    sent_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct RedriveRow {
    redrive_id: Uuid,
    queue: String,
    fingerprint: String,
    reason: String,
    event_id: Option<Uuid>,
    order_id: Option<Uuid>,
    body: String,
    actor: String,
    at: Timestamp,
    outcome: Option<String>,
    ended_at: Option<Timestamp>,
}

impl PostgresStore {
    async fn effects(
        &self,
        events: Vec<Uuid>,
        consumers: &[&str],
    ) -> Result<Vec<TakenIn>, Unavailable> {
        const SELECT: &str = "SELECT consumer, event_id, at, delivery FROM inbox
            WHERE consumer = ANY($1) AND event_id = ANY($2) ORDER BY at, consumer";
        let rows: Vec<(String, Uuid, Timestamp, Option<i32>)> = sqlx::query_as(SELECT)
            .bind(consumers)
            .bind(events)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        let taken_in =
            |(consumer, event_id, at, delivery): (String, Uuid, Timestamp, Option<i32>)| TakenIn {
                consumer,
                event_id: EventId(event_id),
                at,
                delivery: delivery.map(i32::unsigned_abs),
            };
        Ok(rows.into_iter().map(taken_in).collect())
    }
}

impl JourneyStore for PostgresStore {
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
        const NEXT: &str = "SELECT next_action_at FROM orders
            WHERE order_id = $1 AND ($2::text IS NULL OR (tenant_id = $2 AND location_id = ANY($3)))";
        let notices = format!(
            "SELECT {NOTICE_COLUMNS} FROM contract.notifications WHERE order_id = $1 ORDER BY created_at"
        );
        let (pool, id) = (&self.pool, order_id.0);
        let next: Option<(Option<Timestamp>,)> = sqlx::query_as(NEXT)
            .bind(id)
            .bind(scope.tenant())
            .bind(scope.locations())
            .fetch_optional(pool)
            .await
            .map_err(unavailable)?;
        if next.is_none() && *scope != Scope::Everything {
            return Ok(Records::default());
        }
        let sent: Vec<OutboxRecord> = sqlx::query_as(SENT)
            .bind(id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let payments: Vec<PaymentRecord> = sqlx::query_as(PAYMENTS)
            .bind(id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let notices: Vec<NoticeRow> = sqlx::query_as(sqlx::AssertSqlSafe(notices))
            .bind(id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let redrives: Vec<RedriveRow> = sqlx::query_as(REDRIVES)
            .bind(id)
            .fetch_all(pool)
            .await
            .map_err(unavailable)?;
        let sent: Vec<SentRecord> = sent.into_iter().map(OutboxRecord::into_record).collect();
        let mut events: Vec<Uuid> = sent
            .iter()
            .filter_map(|sent| Some(sent.envelope.as_ref().ok()?.event_id.0))
            .collect();
        events.extend(redrives.iter().filter_map(|redrive| redrive.event_id));
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
                    Ok((row.payment.into_payment(order_id, kind)?, row.at))
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
            next_action_at: next.and_then(|(next,)| next),
        })
    }

    async fn taken_in(
        &self,
        consumer: &str,
        event_id: EventId,
    ) -> Result<Option<TakenIn>, Unavailable> {
        Ok(self.effects(vec![event_id.0], &[consumer]).await?.pop())
    }

    async fn notices_of(&self, event_id: EventId) -> Result<Vec<NoticeRecord>, Unavailable> {
        let select = format!(
            "SELECT {NOTICE_COLUMNS} FROM contract.notifications WHERE event_id = $1 ORDER BY created_at"
        );
        let rows: Vec<NoticeRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(event_id.0)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(NoticeRow::into_record).collect()
    }

    async fn newest_of(&self, kind: EventKind) -> Result<Option<Envelope>, Unavailable> {
        const SELECT: &str = "SELECT envelope FROM outbox WHERE kind = $1 ORDER BY id DESC LIMIT 1";
        let row: Option<(String,)> = sqlx::query_as(SELECT)
            .bind(kind.name())
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(row.and_then(|(envelope,)| Envelope::decode(&envelope).ok()))
    }
}

impl RedriveLog for PostgresStore {
    async fn begin_redrive(&self, redrive: &Redrive) -> Result<(), Unavailable> {
        const BEGIN: &str = "INSERT INTO redrives (redrive_id, queue, fingerprint, reason, event_id, order_id, body,
                actor, at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
        sqlx::query(BEGIN)
            .bind(redrive.redrive_id)
            .bind(&redrive.queue)
            .bind(&redrive.fingerprint)
            .bind(&redrive.reason)
            .bind(redrive.event_id.map(|id| id.0))
            .bind(redrive.order_id.map(|id| id.0))
            // PostgreSQL cannot store the character U+0000 in text.
            .bind(redrive.body.replace('\0', "\u{fffd}"))
            .bind(&redrive.actor)
            .bind(redrive.at)
            .execute(&self.pool)
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
        let query = sqlx::query(END).bind(end.code()).bind(at).bind(redrive_id);
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }
}

impl OutboxRecord {
    fn into_record(self) -> SentRecord {
        SentRecord {
            envelope: Envelope::decode(&self.envelope),
            kind: self.kind,
            route: self.route,
            written_at: self.created_at,
            left_at: self.published_at,
            failed_tries: self.attempts.unsigned_abs(),
            retry_at: self.retry_at,
        }
    }
}

impl NoticeRow {
    fn into_record(self) -> Result<NoticeRecord, Unavailable> {
        Ok(NoticeRecord {
            event_id: EventId(self.event_id),
            channel: self.channel,
            kind: self.kind,
            state: NoticeStatus::from_code(&self.state)
                .ok_or_else(|| corrupt("a state", &self.state))?,
            attempts: self.attempts.unsigned_abs(),
            created_at: self.created_at,
            sent_at: self.sent_at,
        })
    }
}

impl RedriveRow {
    fn into_redrive(self) -> Result<Redrive, Unavailable> {
        let end =
            |code: String| RedriveEnd::from_code(&code).ok_or_else(|| corrupt("an outcome", &code));
        Ok(Redrive {
            redrive_id: self.redrive_id,
            queue: self.queue,
            fingerprint: self.fingerprint,
            reason: self.reason,
            event_id: self.event_id.map(EventId),
            order_id: self.order_id.map(OrderId),
            body: self.body,
            actor: self.actor,
            at: self.at,
            end: self.outcome.map(end).transpose()?.zip(self.ended_at),
        })
    }
}
