//! In-memory notifications, under the lock of the orders.

use std::cmp::Reverse;

use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::EventId;

use super::{Books, MemoryOrders};
use crate::ports::StoreError;
use crate::ports::journey::NoticeRecord;
use crate::ports::notices::{
    CLAIM, MESSAGES_PER_DAY, NOTICES_MAX, Notice, NoticeEnd, NoticeFilter, NoticeRow, NoticeState,
    NoticeStatus, NoticeStore, TOO_MANY,
};

/// A stored notification.
pub struct Telling {
    pub(super) notice: Notice,
    tries: u32,
    claimed_until: Option<Timestamp>,
    end: Option<(NoticeEnd, Timestamp)>,
    /// The reason why the last attempt failed.
    why: Option<String>,
}

impl Telling {
    /// Returns the record for the order timeline.
    pub(super) fn record(&self) -> NoticeRecord {
        let NoticeRow {
            event_id,
            channel,
            kind,
            state,
            attempts,
            created_at,
            sent_at,
            ..
        } = row(self);
        NoticeRecord {
            event_id,
            channel: channel.code().to_owned(),
            kind,
            state,
            attempts,
            created_at,
            sent_at,
        }
    }
}

impl Books {
    /// Counts a message for its recipient. Returns false when the daily limit is reached.
    fn count_message(&mut self, notice: &Notice) -> bool {
        let Some(recipient) = &notice.recipient else {
            return true;
        };
        let messages = self
            .messages
            .entry((recipient.clone(), notice.at.date()))
            .or_default();
        let may = *messages < MESSAGES_PER_DAY;
        *messages += u32::from(may);
        may
    }
}

impl NoticeStore for MemoryOrders {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, StoreError> {
        let mut books = self.books();
        let is_new = !books
            .notices
            .contains_key(&(notice.event_id, notice.channel));
        let too_many = is_new && !books.count_message(notice);
        let end = too_many.then(|| {
            (
                NoticeEnd::Suppressed {
                    reason: TOO_MANY.to_owned(),
                },
                notice.at,
            )
        });
        let telling = books
            .notices
            .entry((notice.event_id, notice.channel))
            .or_insert_with(|| Telling {
                notice: notice.clone(),
                tries: u32::from(too_many),
                claimed_until: None,
                end,
                why: None,
            });
        match telling.end {
            Some((NoticeEnd::Sent { .. }, _)) => return Ok(NoticeState::Sent),
            Some((NoticeEnd::Failed { .. } | NoticeEnd::Suppressed { .. }, _)) => {
                return Ok(NoticeState::NotSent);
            }
            None => {}
        }
        if telling.claimed_until.is_some_and(|until| until > notice.at) {
            return Ok(NoticeState::InHand);
        }
        telling.tries += 1;
        telling.claimed_until = Some(notice.at + CLAIM);
        Ok(NoticeState::Pending {
            attempt: telling.tries,
        })
    }

    async fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut books = self.books();
        let telling = books
            .notices
            .get_mut(&(event_id, channel))
            .filter(|telling| telling.end.is_none());
        Ok(telling
            .map(|telling| telling.end = Some((end.clone(), at)))
            .is_some())
    }

    async fn give_back_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        why: &str,
    ) -> Result<(), StoreError> {
        if let Some(telling) = self.books().notices.get_mut(&(event_id, channel)) {
            telling.claimed_until = None;
            telling.why = Some(why.to_owned());
        }
        Ok(())
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, StoreError> {
        let books = self.books();
        let mut rows: Vec<NoticeRow> = books.notices.values().map(row).collect();
        rows.retain(|row| {
            let failing = match row.state {
                NoticeStatus::Failed => true,
                NoticeStatus::Pending => row.reason.is_some(),
                NoticeStatus::Sent | NoticeStatus::Suppressed => false,
            };
            filter
                .order_id
                .is_none_or(|order_id| row.order_id == Some(order_id))
                && (failing || !filter.failed)
        });
        rows.sort_by_key(|row| (Reverse((row.created_at, row.event_id)), row.channel.code()));
        rows.truncate(NOTICES_MAX as usize);
        Ok(rows)
    }
}

fn row(telling: &Telling) -> NoticeRow {
    let Telling { notice, end, .. } = telling;
    let reason = match end {
        Some((end, _)) => end.reason().map(str::to_owned),
        None => telling.why.clone(),
    };
    let sent_at = end
        .as_ref()
        .filter(|(end, _)| end.message_id().is_some())
        .map(|(_, at)| *at);
    NoticeRow {
        event_id: notice.event_id,
        order_id: notice.order_id,
        kind: notice.kind.code().to_owned(),
        channel: notice.channel,
        state: end
            .as_ref()
            .map_or(NoticeStatus::Pending, |(end, _)| end.status()),
        attempts: telling.tries,
        reason,
        message_id: end
            .as_ref()
            .and_then(|(end, _)| end.message_id())
            .map(str::to_owned),
        created_at: notice.at,
        sent_at,
    }
}
