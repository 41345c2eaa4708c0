//! `JourneyStore` and `RedriveLog`: the records of an order's timeline, and the log
//! of redrives.

use app::ports::StoreError;
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
use uuid::Uuid;

use crate::Store;
use crate::query::IN_SCOPE;
use crate::rows::{PaymentRow, corrupt};
use crate::values::{At, Id, List};

const NOTICE_COLUMNS: &str = "event_id, channel, kind, state, attempts, created_at, sent_at";

row! {
    struct OutboxRecord {
        kind: String,
        route: Option<String>,
        envelope: String,
        created_at: Timestamp,
        published_at: Option<Timestamp>,
        attempts: i32,
        retry_at: Timestamp,
    }
}

row! {
    struct PaymentRecord {
        kind: String,
        at: Timestamp,
    } with payment: PaymentRow
}

row! {
    struct NoticeRow {
        event_id: Id,
        channel: String,
        kind: String,
        state: String,
        attempts: i32,
        created_at: Timestamp,
        sent_at: Option<Timestamp>,
    }
}

row! {
    struct RedriveRow {
        redrive_id: Id,
        queue: String,
        fingerprint: String,
        reason: String,
        event_id: Option<Id>,
        order_id: Option<Id>,
        body: String,
        actor: String,
        at: Timestamp,
        outcome: Option<String>,
        ended_at: Option<Timestamp>,
    }
}

impl Store {
    async fn effects(
        &self,
        events: Vec<Uuid>,
        consumers: &[&str],
    ) -> Result<Vec<TakenIn>, StoreError> {
        const SELECT: &str = "SELECT consumer, event_id, at, delivery FROM inbox
            WHERE consumer = ANY($1) AND event_id = ANY($2) ORDER BY at, consumer";
        type Row = (String, Id, Timestamp, Option<i32>);
        let query = self
            .read(SELECT)
            .bind(List(consumers.to_vec()))
            .bind(List(events));
        let rows: Vec<Row> = query.fetch_all().await?;
        let taken_in = |(consumer, event_id, at, delivery): Row| TakenIn {
            consumer,
            event_id: EventId(event_id.0),
            at,
            delivery: delivery.map(i32::unsigned_abs),
        };
        Ok(rows.into_iter().map(taken_in).collect())
    }
}

impl JourneyStore for Store {
    async fn records(&self, scope: &Scope, order_id: OrderId) -> Result<Records, StoreError> {
        const SENT: &str =
            "SELECT kind, route, envelope, created_at, published_at, attempts, retry_at FROM outbox
            WHERE order_id = $1 ORDER BY id";
        const PAYMENTS: &str =
            "SELECT kind, at, amount_minor, currency, state, token, charge_id, reason FROM payments
            WHERE order_id = $1 ORDER BY kind";
        const REDRIVES: &str =
            "SELECT redrive_id, queue, fingerprint, reason, event_id, order_id, body, actor, at,
                outcome, ended_at FROM redrives WHERE order_id = $1 ORDER BY at, redrive_id";
        let next = format!("SELECT next_action_at FROM orders WHERE order_id = $3 AND {IN_SCOPE}");
        let notices = format!(
            "SELECT {NOTICE_COLUMNS} FROM contract.notifications WHERE order_id = $1 ORDER BY created_at"
        );
        let id = Id(order_id.0);
        let next = self.read(next).scope(scope).bind(id);
        let next: Option<(Option<Timestamp>,)> = next.fetch_optional().await?;
        if next.is_none() && *scope != Scope::Everything {
            return Ok(Records::default());
        }
        let sent: Vec<OutboxRecord> = self.read(SENT).bind(id).fetch_all().await?;
        let payments: Vec<PaymentRecord> = self.read(PAYMENTS).bind(id).fetch_all().await?;
        let notices: Vec<NoticeRow> = self.read(notices).bind(id).fetch_all().await?;
        let redrives: Vec<RedriveRow> = self.read(REDRIVES).bind(id).fetch_all().await?;
        let sent: Vec<SentRecord> = sent.into_iter().map(OutboxRecord::into_record).collect();
        let mut events: Vec<Uuid> = sent
            .iter()
            .filter_map(|sent| Some(sent.envelope.as_ref().ok()?.event_id.0))
            .collect();
        events.extend(
            redrives
                .iter()
                .filter_map(|redrive| Some(redrive.event_id?.0)),
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
                    Ok((row.payment.into_payment(order_id, kind)?, row.at))
                })
                .collect::<Result<_, StoreError>>()?,
            notices: notices
                .into_iter()
                .map(NoticeRow::into_record)
                .collect::<Result<_, StoreError>>()?,
            redrives: redrives
                .into_iter()
                .map(RedriveRow::into_redrive)
                .collect::<Result<_, StoreError>>()?,
            next_action_at: next.and_then(|(next,)| next),
        })
    }

    async fn taken_in(
        &self,
        consumer: &str,
        event_id: EventId,
    ) -> Result<Option<TakenIn>, StoreError> {
        Ok(self.effects(vec![event_id.0], &[consumer]).await?.pop())
    }

    async fn notices_of(&self, event_id: EventId) -> Result<Vec<NoticeRecord>, StoreError> {
        let select = format!(
            "SELECT {NOTICE_COLUMNS} FROM contract.notifications WHERE event_id = $1 ORDER BY created_at"
        );
        let query = self.read(select).bind(Id(event_id.0));
        let rows: Vec<NoticeRow> = query.fetch_all().await?;
        rows.into_iter().map(NoticeRow::into_record).collect()
    }

    async fn newest_of(&self, kind: EventKind) -> Result<Option<Envelope>, StoreError> {
        const SELECT: &str = "SELECT envelope FROM outbox WHERE kind = $1 ORDER BY id DESC LIMIT 1";
        let query = self.read(SELECT).bind(kind.name());
        let row: Option<(String,)> = query.fetch_optional().await?;
        Ok(row.and_then(|(envelope,)| Envelope::decode(&envelope).ok()))
    }
}

impl RedriveLog for Store {
    async fn begin_redrive(&self, redrive: &Redrive) -> Result<(), StoreError> {
        const BEGIN: &str = "INSERT INTO redrives (redrive_id, queue, fingerprint, reason, event_id, order_id, body,
                actor, at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
        let query = self
            .write(BEGIN)
            .bind(Id(redrive.redrive_id))
            .bind(&redrive.queue)
            .bind(&redrive.fingerprint)
            .bind(&redrive.reason)
            .bind(redrive.event_id.map(|id| Id(id.0)))
            .bind(redrive.order_id.map(|id| Id(id.0)))
            // PostgreSQL cannot store the character U+0000 in text.
            .bind(redrive.body.replace('\0', "\u{fffd}"))
            .bind(&redrive.actor)
            .bind(At(redrive.at));
        query.execute().await.map(drop)
    }

    async fn end_redrive(
        &self,
        redrive_id: Uuid,
        end: RedriveEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        const END: &str = "UPDATE redrives SET outcome = $1, ended_at = $2 WHERE redrive_id = $3";
        let query = self
            .write(END)
            .bind(end.code())
            .bind(At(at))
            .bind(Id(redrive_id));
        query.execute().await.map(drop)
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
    fn into_record(self) -> Result<NoticeRecord, StoreError> {
        Ok(NoticeRecord {
            event_id: EventId(self.event_id.0),
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
    fn into_redrive(self) -> Result<Redrive, StoreError> {
        let end =
            |code: String| RedriveEnd::from_code(&code).ok_or_else(|| corrupt("an outcome", &code));
        Ok(Redrive {
            redrive_id: self.redrive_id.0,
            queue: self.queue,
            fingerprint: self.fingerprint,
            reason: self.reason,
            event_id: self.event_id.map(|id| EventId(id.0)),
            order_id: self.order_id.map(|id| OrderId(id.0)),
            body: self.body,
            actor: self.actor,
            at: self.at,
            end: self.outcome.map(end).transpose()?.zip(self.ended_at),
        })
    }
}
