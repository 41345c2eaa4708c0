//! The order timeline: everything that is recorded about one order, sorted by time.

use std::collections::{BTreeSet, HashMap};

use contract::cause::chain;
use contract::event::Route;
use contract::messages::Envelope;
use contract::queue::QUEUES;
use domain::Timestamp;
use domain::ids::{EventId, OrderId};
use domain::order::Order;
use domain::saga::State;
use serde::{Serialize, Serializer};
use strum::IntoStaticStr;
use time::UtcOffset;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::progress::ask_for;
use crate::ports::StoreError;
use crate::ports::journey::{JourneyStore, Records, SentRecord};
use crate::ports::ledger::HoldState;
use crate::ports::notices::NoticeStatus;
use crate::ports::orders::{OrderStore, Payment};
use crate::ports::scope::Scope;
use crate::ports::stock::{Reservation, Reservations};

/// The source of an entry of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Record {
    History,
    Payment,
    Stock,
    Outbox,
    Delivery,
    Notice,
    Redrive,
    Parked,
    Log,
}

impl Record {
    /// Returns the name of the source in JSON.
    pub const fn code(self) -> &'static str {
        self.into_str()
    }
}

/// One entry of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    #[serde(serialize_with = "to_the_millisecond")]
    pub at: Timestamp,
    /// Milliseconds since the previous entry.
    pub gap_ms: i64,
    pub record: Record,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Moment {
    /// Creates an entry without its optional fields.
    pub fn new(at: Timestamp, record: Record, what: impl Into<String>) -> Moment {
        Moment {
            at,
            gap_ms: 0,
            record,
            what: what.into(),
            by: None,
            note: None,
            event_id: None,
            trace_id: None,
        }
    }

    /// Adds the event id and the trace id of a message.
    fn of(self, envelope: &Envelope) -> Moment {
        let trace_id = envelope.metadata.traceparent.as_deref().and_then(trace_id);
        Moment {
            event_id: Some(envelope.event_id),
            trace_id: trace_id.map(str::to_owned),
            ..self
        }
    }
}

/// Something that the order waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Awaited {
    pub what: String,
    #[serde(serialize_with = "to_the_millisecond")]
    pub since: Timestamp,
    /// The time at which a role acts if the order still waits.
    #[serde(
        serialize_with = "optional_to_the_millisecond",
        skip_serializing_if = "Option::is_none"
    )]
    pub until: Option<Timestamp>,
}

/// The timeline of one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Journey {
    pub order_id: OrderId,
    pub order_number: String,
    pub status: String,
    pub state: String,
    pub version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub moments: Vec<Moment>,
    pub awaited: Vec<Awaited>,
    /// The trace ids of all messages of the order, for finding log lines and traces.
    pub trace_ids: BTreeSet<String>,
    /// The error of a source that could not be read, for the log.
    #[serde(skip)]
    pub missing: Option<StoreError>,
}

impl Journey {
    /// Returns the timeline with additional entries, sorted by time.
    pub fn with(mut self, more: Vec<Moment>) -> Journey {
        self.moments.extend(more);
        // The sort is stable: entries with the same time keep the order in which they were
        // recorded.
        self.moments.sort_by_key(|moment| moment.at);
        let mut before = None;
        for moment in &mut self.moments {
            // Gaps are computed from the displayed milliseconds, so that they match the displayed
            // times.
            let at = millis(moment.at);
            moment.gap_ms = before.map_or(0, |before| at - before);
            before = Some(at);
        }
        self
    }
}

/// Returns the timeline of an order. `None` when the order is not in scope.
///
/// # Errors
/// [`StoreError`] when the order or its records cannot be read. A stock hold that cannot be read
/// is only noted in the timeline.
pub async fn journey<O: OrderStore + JourneyStore>(
    orders: &O,
    stock: &impl Reservations,
    scope: &Scope,
    order_id: OrderId,
) -> Result<Option<Journey>, StoreError> {
    let Some(stored) = orders.load_in(scope, order_id).await? else {
        return Ok(None);
    };
    let (history, records) = (
        orders.history(scope, order_id, 0).await?,
        orders.records(scope, order_id).await?,
    );
    let order = stored.order;
    let mut moments = Vec::new();
    for entry in history {
        let what = match entry.from {
            Some(from) if from != entry.to => {
                format!(
                    "{} became {} ({})",
                    from.code(),
                    entry.to.code(),
                    entry.step.code()
                )
            }
            Some(_) => format!("{} ({})", entry.to.code(), entry.step.code()),
            None => format!("accepted, {} ({})", entry.to.code(), entry.step.code()),
        };
        moments.push(Moment {
            by: Some(entry.actor),
            note: entry.note,
            ..Moment::new(entry.at, Record::History, what)
        });
    }
    moments.extend(money(&records));
    // The timeline is useful without the stock hold. The error goes to the log and not into the
    // timeline, because it may contain internals.
    let mut missing = None;
    match stock.reservation(order_id).await {
        Ok(reservation) => moments.extend(reservation.iter().flat_map(units)),
        Err(error) => {
            missing = Some(error);
            moments.push(Moment::new(
                order.updated_at,
                Record::Stock,
                "the stock hold cannot be read now; try again in a moment",
            ));
        }
    }
    moments.extend(messages(&records));
    moments.extend(people(&records));
    let trace_of = |sent: &SentRecord| {
        let envelope = sent.envelope.as_ref().ok()?;
        trace_id(envelope.metadata.traceparent.as_deref()?).map(str::to_owned)
    };
    let journey = Journey {
        order_id,
        order_number: order.order_number.clone(),
        status: order.status.code().to_owned(),
        state: order.state.code().to_owned(),
        version: order.version,
        reason: order.reason.clone(),
        moments,
        awaited: awaited(&order, &records),
        trace_ids: records.sent.iter().filter_map(trace_of).collect(),
        missing,
    };
    Ok(Some(journey.with(Vec::new())))
}

/// Returns the entries about payments.
fn money(records: &Records) -> Vec<Moment> {
    let moment = |(payment, at): &(Payment, Timestamp)| {
        let mut what = format!(
            "{} of {}: {}",
            payment.kind.code(),
            payment.amount,
            payment.state.code()
        );
        if let Some(charge_id) = &payment.charge_id {
            what.push_str(&format!(" as {charge_id}"));
        }
        Moment {
            note: payment.reason.clone(),
            ..Moment::new(*at, Record::Payment, what)
        }
    };
    records.payments.iter().map(moment).collect()
}

/// Returns the entries about the stock hold.
fn units(reservation: &Reservation) -> Vec<Moment> {
    let lines: Vec<String> = reservation
        .lines
        .iter()
        .map(|line| format!("{} × {}", line.quantity.get(), line.product_id))
        .collect();
    let lines = if lines.is_empty() {
        "nothing".to_owned()
    } else {
        lines.join(", ")
    };
    let held = reservation
        .created_at
        .map(|at| Moment::new(at, Record::Stock, format!("reserved {lines}")));
    let settled = reservation.settled_at.map(|at| {
        let what = match reservation.state {
            HoldState::Held => "changed",
            HoldState::Confirmed => "sold",
            HoldState::Released => "released",
        };
        Moment::new(at, Record::Stock, format!("{what} {lines}"))
    });
    held.into_iter().chain(settled).collect()
}

/// Returns the entries about messages: written to the outbox, sent, and applied.
fn messages(records: &Records) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut kinds: HashMap<EventId, &Envelope> = HashMap::new();
    for sent in &records.sent {
        let to = sent.route.as_deref().unwrap_or("all routes");
        let moment = |at, what: String| match &sent.envelope {
            Ok(envelope) => Moment {
                by: Some(envelope.metadata.source.clone()),
                ..Moment::new(at, Record::Outbox, what).of(envelope)
            },
            Err(why) => Moment {
                note: Some(chain(why)),
                ..Moment::new(at, Record::Outbox, what)
            },
        };
        if let Ok(envelope) = &sent.envelope {
            kinds.insert(envelope.event_id, envelope);
        }
        moments.push(moment(
            sent.written_at,
            format!("{} written to the outbox for {to}", sent.kind),
        ));
        if let Some(left_at) = sent.left_at {
            let tries = match sent.failed_tries {
                0 => String::new(),
                tries => format!(" after {tries} failed attempts"),
            };
            moments.push(Moment {
                by: Some(contract::role::OUTBOX_RELAY.slug.to_owned()),
                ..moment(left_at, format!("{} sent to {to}{tries}", sent.kind))
            });
        }
    }
    for taken in &records.taken_in {
        // A message without an outbox row, which was a dead letter, is known from its redrive.
        let sent_back = records
            .redrives
            .iter()
            .find(|redrive| redrive.event_id == Some(taken.event_id));
        let sent_back = sent_back.and_then(|redrive| Envelope::decode(&redrive.body).ok());
        let Some(envelope) = kinds.get(&taken.event_id).copied().or(sent_back.as_ref()) else {
            continue;
        };
        let kind = envelope.message.kind().name();
        let what = match taken.delivery {
            Some(delivery) => format!("{kind} applied, delivery {delivery}"),
            None => format!("{kind} applied"),
        };
        let moment = Moment::new(taken.at, Record::Delivery, what).of(envelope);
        moments.push(Moment {
            by: Some(taken.consumer.clone()),
            ..moment
        });
    }
    moments
}

/// Returns the entries about notifications and redrives.
fn people(records: &Records) -> Vec<Moment> {
    let mut moments = Vec::new();
    for notice in &records.notices {
        let what = format!("{} by {}: started", notice.kind, notice.channel);
        let event_id = Some(notice.event_id);
        moments.push(Moment {
            event_id,
            ..Moment::new(notice.created_at, Record::Notice, what)
        });
        if let Some(sent_at) = notice.sent_at {
            let what = format!(
                "{} by {}: {}, attempt {}",
                notice.kind,
                notice.channel,
                notice.state.code(),
                notice.attempts
            );
            moments.push(Moment {
                event_id,
                ..Moment::new(sent_at, Record::Notice, what)
            });
        }
    }
    for redrive in &records.redrives {
        let of = |at, what: String| Moment {
            by: Some(redrive.actor.clone()),
            note: Some(redrive.reason.clone()),
            event_id: redrive.event_id,
            ..Moment::new(at, Record::Redrive, what)
        };
        moments.push(of(
            redrive.at,
            format!("redrove a dead letter to {}", redrive.queue),
        ));
        if let Some((end, at)) = redrive.end {
            moments.push(of(
                at,
                format!("result of the redrive: {}", end.code().replace('_', " ")),
            ));
        }
    }
    moments
}

/// Returns what the order waits for.
fn awaited(order: &Order, records: &Records) -> Vec<Awaited> {
    let mut awaited = Vec::new();
    let since = order.updated_at;
    let by_state = match order.state {
        State::Confirmed => Some("the start of preparation".to_owned()),
        State::Preparing => Some("the end of preparation".to_owned()),
        State::Ready => Some("the pickup".to_owned()),
        state => state.awaits().map(|command| {
            let asked = ask_for(command, order).kind().name();
            format!("the result of {asked}; the command is sent again if none arrives")
        }),
    };
    awaited.extend(by_state.map(|what| Awaited {
        what,
        since,
        until: records.next_action_at,
    }));
    for sent in &records.sent {
        let to = sent.route.as_deref().unwrap_or("all routes");
        if sent.left_at.is_none() {
            let until = (sent.failed_tries > 0).then_some(sent.retry_at);
            let what = format!(
                "sending {} to {to} ({} failed attempts)",
                sent.kind, sent.failed_tries
            );
            awaited.push(Awaited {
                what,
                since: sent.written_at,
                until,
            });
        }
    }
    // A duplicate leaves no row in the inbox. Therefore messages count only while the state awaits
    // an answer.
    if order.state.awaits().is_some() {
        awaited.extend(
            records
                .sent
                .iter()
                .filter_map(|sent| not_taken_in(sent, records)),
        );
    }
    for notice in records
        .notices
        .iter()
        .filter(|notice| notice.state == NoticeStatus::Pending)
    {
        let what = format!(
            "sending {} by {} ({} attempts)",
            notice.kind, notice.channel, notice.attempts
        );
        awaited.push(Awaited {
            what,
            since: notice.created_at,
            until: None,
        });
    }
    awaited
}

/// Returns a message that was sent to a queue and has had no effect there.
fn not_taken_in(sent: &SentRecord, records: &Records) -> Option<Awaited> {
    let (since, route) = (sent.left_at?, sent.route.as_deref()?);
    let queue = QUEUES
        .iter()
        .find(|queue| Route::Queue(queue).code() == route)?;
    let event_id = sent.envelope.as_ref().ok()?.event_id;
    let taken_in = records
        .taken_in
        .iter()
        .any(|taken| taken.event_id == event_id);
    let what = format!(
        "receiving {} from {}, unless it is a duplicate",
        sent.kind, queue.slug
    );
    (!taken_in).then_some(Awaited {
        what,
        since,
        until: None,
    })
}

/// Returns the trace id, which is the second field of a `traceparent`.
fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1)
}

/// Returns the time in milliseconds since 1970.
fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or_default()
}

const TO_THE_MILLISECOND: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Returns the time as RFC 3339 in UTC with milliseconds.
pub fn time_text(at: Timestamp) -> String {
    // Formatting fails only when the timestamp lacks a component, and these components always
    // exist.
    at.to_offset(UtcOffset::UTC)
        .format(TO_THE_MILLISECOND)
        .unwrap_or_default()
}

fn to_the_millisecond<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_text(*at))
}

fn optional_to_the_millisecond<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&at.map(time_text))
}

#[cfg(test)]
mod tests;
