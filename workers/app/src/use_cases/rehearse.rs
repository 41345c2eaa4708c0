//! What would become of a message if it came now, by today's code: the real use-cases, on ports that read the world as
//! it is and change nothing.

use std::sync::{Mutex, PoisonError};

use contract::messages::Envelope;
use contract::queue::{NOTIFICATIONS, ORDERS, PAYMENTS, Queue};
use contract::role::ROLES;
use domain::Timestamp;
use domain::cart::Lines;
use domain::channel::Channel;
use domain::ids::{OrderId, ProductId};
use domain::menu::Product;
use domain::money::Money;

use super::notify::news_of;
use super::pay::pay;
use super::run_saga::{Apply, run_saga};
use super::{Handled, Maker};
use crate::inbox::Settlement;
use crate::ports::gateway::{ChargeOutcome, Gateway, GatewayError};
use crate::ports::journey::JourneyStore;
use crate::ports::ledger::HoldState;
use crate::ports::orders::{Applied, Change, OrderStore};
use crate::ports::stock::{
    Adjusted, Adjustment, Confirmed, ExpiredHold, Reservations, Reserved, Stock, StockedProduct,
};
use crate::ports::{Source, Unavailable};

/// What a message would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    Done {
        what: String,
    },
    /// It was applied before.
    Dropped,
    Parked {
        reason: String,
    },
    /// Not now: something is out of reach, or has to come first.
    Later {
        reason: String,
    },
}

/// Who consumes a queue.
pub fn consumer_of(queue: &Queue) -> &'static str {
    let role = ROLES.iter().find(|role| role.consumes.iter().any(|consumed| consumed.slug == queue.slug));
    role.map_or("", |role| role.slug)
}

/// Rehearses one message of a queue.
pub async fn rehearse<O: OrderStore + JourneyStore, T: Stock + Reservations, S: Source>(
    orders: &O,
    stock: &T,
    source: &S,
    queue: &Queue,
    body: &str,
) -> Foreseen {
    let envelope = match Envelope::decode(body) {
        Ok(envelope) => envelope,
        Err(error) => return Foreseen::Parked { reason: error.to_string() },
    };
    let consumer = consumer_of(queue);
    match orders.taken_in(consumer, envelope.event_id).await {
        Ok(None) => {}
        Ok(Some(_)) => return Foreseen::Dropped,
        Err(error) => return Foreseen::Later { reason: error.to_string() },
    }
    let maker = Maker { role: consumer, version: "rehearsal", traceparent: None };
    let notes = Notes::default();
    let handled = match queue.slug {
        slug if slug == ORDERS.slug => run_saga(orders, &notes, &OnPaper(stock), source, &maker, &envelope).await,
        slug if slug == PAYMENTS.slug => pay(orders, &notes, &OnPaper(stock), source, &maker, &envelope).await,
        slug if slug == NOTIFICATIONS.slug => notice(orders, &notes, &envelope).await,
        _ => Handled::done(),
    };
    match handled.settlement {
        Settlement::Done if handled.duplicate => Foreseen::Dropped,
        Settlement::Done => Foreseen::Done { what: notes.read() },
        Settlement::Park { reason } => Foreseen::Parked { reason },
        Settlement::Retry { reason, .. } => Foreseen::Later { reason },
    }
}

async fn notice<O: OrderStore + JourneyStore>(orders: &O, notes: &Notes, envelope: &Envelope) -> Handled {
    let mut stored = None;
    let news = match news_of(orders, envelope, &mut stored).await {
        Ok(news) => news,
        Err(handled) => return handled,
    };
    let told = match orders.notices_of(envelope.event_id).await {
        Ok(told) => told,
        Err(error) => return error.into(),
    };
    if told.iter().any(|notice| notice.state == "sent") {
        return Handled::duplicate();
    }
    let is_open =
        |channel: &Channel| !told.iter().any(|notice| notice.channel == channel.code() && notice.state != "pending");
    if news.kind().is_some() && news.channels().iter().any(is_open) {
        notes.write("somebody is told".to_owned());
    }
    Handled::done()
}

/// What would have been written.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn write(&self, note: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    fn read(&self) -> String {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.is_empty() { "nothing is written".to_owned() } else { notes.join("; ") }
    }
}

impl Apply for Notes {
    async fn apply_one(&self, change: Change) -> Result<Applied, Unavailable> {
        if let Some(order) = &change.order {
            self.write(format!("the order becomes {}", order.state.code()));
        }
        if let Some(payment) = &change.payment {
            // Whether the bank says yes is not known before it is asked.
            self.write(format!("the gateway is asked for the {}", payment.payment.kind.code()));
        }
        let kinds: Vec<_> = change.outbox.iter().map(|envelope| envelope.message.kind().name()).collect();
        if !kinds.is_empty() {
            self.write(format!("{} leave", kinds.join(", ")));
        }
        Ok(Applied::Applied)
    }
}

/// A world in which what is asked for is done, and nothing happens.
struct OnPaper<'a, T>(&'a T);

impl<T: Stock + Reservations> Stock for OnPaper<'_, T> {
    async fn products(&self) -> Result<Vec<StockedProduct>, Unavailable> {
        self.0.products().await
    }

    async fn product(&self, id: &ProductId) -> Result<Option<StockedProduct>, Unavailable> {
        self.0.product(id).await
    }

    async fn reserve(
        &self,
        order_id: OrderId,
        lines: &Lines,
        _now: Timestamp,
        _expires_at: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        match self.0.reservation(order_id).await?.map(|reservation| reservation.state) {
            Some(HoldState::Held) => return Ok(Reserved::Held),
            Some(HoldState::Confirmed) => return Ok(Reserved::Confirmed),
            Some(HoldState::Released) => return Ok(Reserved::Released),
            None => {}
        }
        let mut short = Vec::new();
        for line in lines.iter() {
            let there = self.0.product(&line.product_id).await?;
            if there.is_none_or(|there| there.counters.available < i64::from(line.quantity.get())) {
                short.push(line.product_id.clone());
            }
        }
        Ok(if short.is_empty() { Reserved::Held } else { Reserved::TooFew(short) })
    }

    async fn confirm(&self, order_id: OrderId, _now: Timestamp) -> Result<Confirmed, Unavailable> {
        Ok(match self.0.reservation(order_id).await?.map(|reservation| reservation.state) {
            Some(HoldState::Held | HoldState::Confirmed) => Confirmed::Sold,
            Some(HoldState::Released) | None => Confirmed::NoHold,
        })
    }

    async fn release(&self, _order_id: OrderId, _now: Timestamp) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn expired_holds(&self, now: Timestamp, limit: u32) -> Result<Vec<ExpiredHold>, Unavailable> {
        self.0.expired_holds(now, limit).await
    }

    async fn adjust(&self, _adjustment: &Adjustment) -> Result<Adjusted, Unavailable> {
        Err(Unavailable::new("stock", "nobody adjusts stock in a rehearsal"))
    }

    async fn add_product(
        &self,
        _product: &Product,
        _received: u32,
        _low_stock_threshold: i64,
        _now: Timestamp,
    ) -> Result<bool, Unavailable> {
        Err(Unavailable::new("stock", "nobody adds products in a rehearsal"))
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
        Ok(ChargeOutcome::Captured { charge_id: String::new(), amount })
    }

    async fn charge_by_key(&self, _key: &str, _amount: Money) -> Result<Option<ChargeOutcome>, GatewayError> {
        Ok(None)
    }

    async fn refund(&self, _key: &str, _charge_id: &str, _amount: Money) -> Result<(), GatewayError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
