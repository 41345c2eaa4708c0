//! Rehearses a message: predicts its result if it were delivered now, without writing anything. The
//! real use cases run on ports that read the current data and only note what would be written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use contract::cause::chain;
use contract::messages::Envelope;
use contract::queue::{Queue, QueueId};
use contract::role::ROLES;
use contract::settlement::Settlement;
use domain::Timestamp;
use domain::cart::Lines;
use domain::channel::Channel;
use domain::ids::OrderId;
use domain::money::Money;

use super::fulfil::decide;
use super::notify::news_of;
use super::pay::pay;
use super::project::{Show, project};
use super::run_saga::{Apply, Shelf, run_saga};
use super::{Handled, Maker};
use crate::ports::fulfilment::{FulfilmentStore, Work};
use crate::ports::gateway::{ChargeOutcome, Gateway, GatewayError};
use crate::ports::journey::JourneyStore;
use crate::ports::ledger::HoldState;
use crate::ports::locations::LocationStore;
use crate::ports::notices::NoticeStatus;
use crate::ports::orders::{Applied, Change, OrderStore, PaymentChange};
use crate::ports::scope::Scope;
use crate::ports::stock::{Catalogue, Confirmed, MoveTo, Moved, OrderMove, Reservations, Reserved};
use crate::ports::views::{OrderView, OrderViews};
use crate::ports::{Source, StoreError};

/// The predicted result of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    Done {
        what: String,
    },
    /// The message was applied before.
    Dropped,
    Parked {
        reason: String,
    },
    /// The message would be retried, because a service is unavailable or another message must be
    /// applied first.
    Later {
        reason: String,
    },
}

/// The result of a message that is handled without writing anything.
const NOTHING_IS_WRITTEN: &str = "nothing is written";

impl Foreseen {
    /// Returns whether handling the message would write nothing.
    pub fn leaves_no_trace(&self) -> bool {
        match self {
            Foreseen::Done { what } => what == NOTHING_IS_WRITTEN,
            Foreseen::Dropped => true,
            Foreseen::Parked { .. } | Foreseen::Later { .. } => false,
        }
    }
}

/// Returns the slug of the role that consumes a queue.
pub fn consumer_of(queue: &Queue) -> &'static str {
    let role = ROLES
        .iter()
        .find(|role| role.consumes.iter().any(|consumed| consumed.id == queue.id));
    role.map_or("", |role| role.slug)
}

/// The stores that a rehearsal reads.
pub struct RehearsalDeps<'a, O, T, V> {
    pub orders: &'a O,
    pub stock: &'a T,
    pub views: &'a V,
}

/// Rehearses one message of a queue.
pub async fn rehearse(
    RehearsalDeps {
        orders,
        stock,
        views,
    }: RehearsalDeps<
        '_,
        impl OrderStore + JourneyStore + FulfilmentStore + LocationStore,
        impl Catalogue + Reservations,
        impl OrderViews,
    >,
    source: &impl Source,
    queue: &Queue,
    body: &str,
) -> Foreseen {
    let envelope = match Envelope::decode(body) {
        Ok(envelope) => envelope,
        Err(error) => {
            return Foreseen::Parked {
                reason: chain(&error),
            };
        }
    };
    let consumer = consumer_of(queue);
    match orders.taken_in(consumer, envelope.event_id).await {
        Ok(None) => {}
        Ok(Some(_)) => return Foreseen::Dropped,
        Err(error) => {
            return Foreseen::Later {
                reason: chain(&error),
            };
        }
    }
    let maker = Maker {
        role: consumer,
        version: "rehearsal",
        traceparent: None,
    };
    let notes = Notes::default();
    let handled = match queue.id {
        QueueId::Orders => {
            run_saga(orders, &notes, &OnPaper(stock), source, &maker, &envelope).await
        }
        QueueId::Payments => pay(orders, &notes, &OnPaper(stock), source, &maker, &envelope).await,
        QueueId::Notifications => notice(orders, &notes, &envelope).await,
        QueueId::Fulfilment => fulfilment(orders, &notes, source, &maker, &envelope).await,
        QueueId::Projections => {
            project(
                orders,
                &ViewsOnPaper {
                    views,
                    notes: &notes,
                },
                &envelope,
            )
            .await
        }
    };
    match handled.settlement {
        // A view that already has this version or a newer one is not written, and neither is
        // anything else.
        Settlement::Done if handled.duplicate || notes.is_as_new() => Foreseen::Dropped,
        Settlement::Done => Foreseen::Done { what: notes.read() },
        Settlement::Park { reason } => Foreseen::Parked { reason },
        Settlement::Retry { reason, .. } => Foreseen::Later { reason },
    }
}

/// Rehearses a notification.
async fn notice(
    orders: &(impl OrderStore + JourneyStore),
    notes: &Notes,
    envelope: &Envelope,
) -> Handled {
    let mut stored = None;
    let news = match news_of(orders, envelope, &mut stored).await {
        Ok(news) => news,
        Err(handled) => return handled,
    };
    let told = match orders.notices_of(news.event_id(envelope)).await {
        Ok(told) => told,
        Err(error) => return error.into(),
    };
    if told.iter().any(|notice| notice.state == NoticeStatus::Sent) {
        return Handled::duplicate();
    }
    let is_open = |channel: &Channel| {
        !told
            .iter()
            .any(|notice| notice.channel == channel.code() && notice.state != NoticeStatus::Pending)
    };
    if news.kind().is_some() && news.channels().iter().any(is_open) {
        notes.write("a notification is sent".to_owned());
    }
    Handled::done()
}

/// Rehearses the creation of a ticket or a shipment.
async fn fulfilment(
    orders: &(impl OrderStore + FulfilmentStore + LocationStore),
    notes: &Notes,
    source: &impl Source,
    maker: &Maker,
    envelope: &Envelope,
) -> Handled {
    let fulfilment = match decide(orders, source, maker, envelope).await {
        Ok(fulfilment) => fulfilment,
        Err(handled) => return handled,
    };
    // An order has one ticket or shipment, even if it was created for another message.
    let made = match &fulfilment.work {
        Work::Ticket { .. } => orders
            .tickets(&Scope::Everything, &[fulfilment.order_id])
            .await
            .map(|tickets| !tickets.is_empty()),
        Work::Shipment { .. } => orders
            .shipment(&Scope::Everything, fulfilment.order_id)
            .await
            .map(|shipment| shipment.is_some()),
    };
    match made {
        Ok(true) => return Handled::duplicate(),
        Ok(false) => {}
        Err(error) => return error.into(),
    }
    notes.write(match &fulfilment.work {
        Work::Ticket {
            location_id, day, ..
        } => format!("the order gets the next ticket of {location_id} on {day}"),
        Work::Shipment { tracking_number } => {
            format!("the order is sent as parcel {tracking_number}")
        }
    });
    notes.messages(&fulfilment.outbox);
    Handled::done()
}

/// Order views that are compared and never written.
struct ViewsOnPaper<'a, V> {
    views: &'a V,
    notes: &'a Notes,
}

impl<V: OrderViews> Show for ViewsOnPaper<'_, V> {
    async fn show_one(&self, view: OrderView) -> Result<(), StoreError> {
        match self.views.shown_version(view.order_id).await? {
            Some(shown) if shown >= view.version => {
                self.notes.is_as_new.store(true, Ordering::Relaxed)
            }
            Some(_) | None => {
                self.notes.write(format!(
                    "the order view shows {} (version {})",
                    view.status, view.version
                ));
            }
        }
        Ok(())
    }
}

/// Notes of what would be written.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<String>>,
    /// Whether the data to write is already stored.
    is_as_new: AtomicBool,
}

impl Notes {
    fn write(&self, note: String) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(note);
    }

    fn messages(&self, outbox: &[Envelope]) {
        let kinds: Vec<_> = outbox
            .iter()
            .map(|envelope| envelope.message.kind().name())
            .collect();
        if !kinds.is_empty() {
            self.write(format!("sends {}", kinds.join(", ")));
        }
    }

    fn is_as_new(&self) -> bool {
        self.is_as_new.load(Ordering::Relaxed)
    }

    fn read(&self) -> String {
        let notes = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.is_empty() {
            NOTHING_IS_WRITTEN.to_owned()
        } else {
            notes.join("; ")
        }
    }
}

impl Apply for Notes {
    async fn apply_one(&self, change: Change) -> Result<Applied, StoreError> {
        if let Some(order) = &change.order {
            self.write(format!("the order becomes {}", order.state.code()));
        }
        if let Some(PaymentChange { expected, payment }) = &change.payment {
            let kind = payment.kind.code();
            self.write(if *expected == Some(payment.state) {
                format!(
                    "the {kind} is already {}; its result is sent again",
                    payment.state.code()
                )
            } else {
                // Whether the bank accepts the charge is unknown before the call.
                format!("the gateway is asked for the {kind}")
            });
        }
        self.messages(&change.outbox);
        Ok(Applied::Applied)
    }
}

/// Stock and a payment gateway that answer as if each request were carried out, and change nothing.
struct OnPaper<'a, T>(&'a T);

impl<T: Catalogue + Reservations> OnPaper<'_, T> {
    /// Returns the result of a reservation for an order without one.
    async fn reserve(&self, lines: &Lines) -> Result<Reserved, StoreError> {
        let mut short = Vec::new();
        for line in lines.iter() {
            let there = self.0.product(&line.product_id).await?;
            if there.is_none_or(|there| there.counters.available < i64::from(line.quantity.get())) {
                short.push(line.product_id.clone());
            }
        }
        Ok(if short.is_empty() {
            Reserved::Held
        } else {
            Reserved::TooFew(short)
        })
    }
}

impl<T: Catalogue + Reservations> Shelf for OnPaper<'_, T> {
    async fn move_one(&self, one: OrderMove) -> Result<Moved, StoreError> {
        let reservation = self.0.reservation(one.order_id).await?;
        let state = reservation.map(|reservation| reservation.state);
        Ok(match one.to {
            MoveTo::Reserve { .. } => Moved::Reserve(match state {
                Some(HoldState::Held) => Reserved::Held,
                Some(HoldState::Confirmed) => Reserved::Confirmed,
                Some(HoldState::Released) => Reserved::Released,
                None => self.reserve(&one.lines).await?,
            }),
            MoveTo::Confirm => Moved::Confirm(match state {
                Some(HoldState::Held | HoldState::Confirmed) => Confirmed::Sold,
                Some(HoldState::Released) | None => Confirmed::NoHold,
            }),
        })
    }

    async fn give_back(&self, _order_id: OrderId, _now: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<T: Sync> Gateway for OnPaper<'_, T> {
    async fn charge(
        &self,
        _key: &str,
        _order_id: OrderId,
        amount: Money,
        _token: &str,
    ) -> Result<ChargeOutcome, GatewayError> {
        Ok(ChargeOutcome::Captured {
            charge_id: String::new(),
            amount,
        })
    }

    async fn charge_by_key(
        &self,
        _key: &str,
        _amount: Money,
    ) -> Result<Option<ChargeOutcome>, GatewayError> {
        Ok(None)
    }

    async fn refund(
        &self,
        _key: &str,
        _charge_id: &str,
        _amount: Money,
    ) -> Result<(), GatewayError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
