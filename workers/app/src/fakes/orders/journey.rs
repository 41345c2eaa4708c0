//! In-memory records about orders.

use contract::event::EventKind;
use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use uuid::Uuid;

use super::{MemoryOrders, Telling};
use crate::ports::StoreError;
use crate::ports::journey::{JourneyStore, NoticeRecord, Records, SentRecord, TakenIn};
use crate::ports::redrives::{Redrive, RedriveEnd, RedriveLog};
use crate::ports::scope::Scope;

impl JourneyStore for MemoryOrders {
    async fn records(&self, scope: &Scope, order_id: OrderId) -> Result<Records, StoreError> {
        let books = self.books();
        if !books.is_in(scope, order_id) {
            return Ok(Records::default());
        }
        let of_order = books
            .outbox
            .iter()
            .filter(|owed| owed.envelope.order_id == Some(order_id));
        let sent: Vec<SentRecord> = of_order
            .map(|owed| SentRecord {
                kind: owed.envelope.message.kind().name().to_owned(),
                route: Some(owed.route.code()),
                envelope: Ok(owed.envelope.clone()),
                written_at: owed.created_at,
                left_at: owed.published_at,
                failed_tries: owed.attempts,
                retry_at: owed.retry_at,
            })
            .collect();
        let redrives: Vec<Redrive> = books
            .redrives
            .iter()
            .filter(|redrive| redrive.order_id == Some(order_id))
            .cloned()
            .collect();
        let ours = |event_id: EventId| {
            redrives
                .iter()
                .any(|redrive| redrive.event_id == Some(event_id))
                || sent.iter().any(|sent| {
                    sent.envelope
                        .as_ref()
                        .is_ok_and(|envelope| envelope.event_id == event_id)
                })
        };
        let mut taken_in: Vec<TakenIn> = books
            .inbox
            .values()
            .filter(|taken| ours(taken.event_id))
            .cloned()
            .collect();
        taken_in.sort_by(|a, b| (a.at, &a.consumer).cmp(&(b.at, &b.consumer)));
        let mut payments: Vec<_> = books
            .payments
            .values()
            .filter(|(payment, _)| payment.order_id == order_id)
            .cloned()
            .collect();
        payments.sort_by_key(|(payment, _)| payment.kind.code());
        let told = books
            .notices
            .values()
            .filter(|telling| telling.notice.order_id == Some(order_id));
        let mut notices: Vec<NoticeRecord> = told.map(Telling::record).collect();
        notices.sort_by_key(|notice| notice.created_at);
        let next_action_at = books
            .orders
            .get(&order_id)
            .and_then(|kept| kept.next_action_at);
        Ok(Records {
            sent,
            taken_in,
            payments,
            notices,
            redrives,
            next_action_at,
        })
    }

    async fn taken_in(
        &self,
        consumer: &str,
        event_id: EventId,
    ) -> Result<Option<TakenIn>, StoreError> {
        self.without_scope("taken_in");
        let books = self.books();
        let found = books
            .inbox
            .values()
            .find(|taken| taken.consumer == consumer && taken.event_id == event_id);
        Ok(found.cloned())
    }

    async fn notices_of(&self, event_id: EventId) -> Result<Vec<NoticeRecord>, StoreError> {
        self.without_scope("notices_of");
        let books = self.books();
        let of = |telling: &&Telling| telling.notice.event_id == event_id;
        Ok(books
            .notices
            .values()
            .filter(of)
            .map(Telling::record)
            .collect())
    }

    async fn newest_of(&self, kind: EventKind) -> Result<Option<Envelope>, StoreError> {
        self.without_scope("newest_of");
        let books = self.books();
        let newest = books
            .outbox
            .iter()
            .rev()
            .find(|owed| owed.envelope.message.kind() == kind);
        Ok(newest.map(|owed| owed.envelope.clone()))
    }
}

impl RedriveLog for MemoryOrders {
    async fn begin_redrive(&self, redrive: &Redrive) -> Result<(), StoreError> {
        let mut books = self.books();
        if !books
            .redrives
            .iter()
            .any(|known| known.redrive_id == redrive.redrive_id)
        {
            books.redrives.push(redrive.clone());
        }
        Ok(())
    }

    async fn end_redrive(
        &self,
        redrive_id: Uuid,
        end: RedriveEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(redrive) = self
            .books()
            .redrives
            .iter_mut()
            .find(|known| known.redrive_id == redrive_id)
        {
            redrive.end = Some((end, at));
        }
        Ok(())
    }
}
