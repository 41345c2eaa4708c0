//! A simulated database: the in-memory store of `app`, with calls that can fail before or after
//! their effect.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::fakes::orders::MemoryOrders;
use app::ports::notices::{Notice, NoticeEnd, NoticeFilter, NoticeRow, NoticeState, NoticeStore};
use app::ports::orders::{
    Applied, Change, Due, KeyUse, NewOrder, OrderFilter, OrderStore, OutboxRow, Outgoing, Payment,
    PaymentKind, Placement, StoredOrder,
};
use app::ports::scope::Scope;
use app::ports::stock_watch::{Seen, StockWatch};
use app::ports::{Backend, StoreError};
use app::use_cases::run_saga::Apply;
use contract::messages::Envelope;
use domain::Timestamp;
use domain::channel::Channel;
use domain::ids::{EventId, LocationId, OrderId, OrderNumber, ProductId, TenantId};
use domain::order::HistoryEntry;
use futures::FutureExt as _;
use time::Date;

use super::engine::{Engine, Signal};
use super::hits::Hit;
use super::mistake::Mistake;
use super::port::Port;
use super::task::Who;

/// The database that all connections share.
#[derive(Default)]
pub struct Database {
    pub store: MemoryOrders,
    pub outbox_changed: Signal,
    /// Applied events by consumer. Kept outside the store, so that a forgotten inbox is detected.
    applied: Mutex<HashSet<(&'static str, EventId)>>,
}

/// The connection of one process.
pub struct SimOrders {
    pub engine: Arc<Engine>,
    pub database: Arc<Database>,
    store: MemoryOrders,
    who: Who,
}

/// Returns the result of a future that never waits, because its port is in memory.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    future
        .now_or_never()
        .unwrap_or_else(|| unreachable!("a port in memory does not wait"))
}

impl SimOrders {
    /// Creates the connection of a process.
    pub fn connect(engine: &Arc<Engine>, database: &Arc<Database>, who: Who) -> SimOrders {
        let store = database.store.another();
        SimOrders {
            engine: Arc::clone(engine),
            database: Arc::clone(database),
            store,
            who,
        }
    }

    async fn call<T: Send>(
        &self,
        what: &'static str,
        order: Option<OrderId>,
        effect: impl FnOnce() -> T + Send,
    ) -> Result<T, StoreError> {
        let called = self
            .engine
            .call(self.who, Port::Orders, what, order, effect)
            .await;
        called.map_err(|lost| lost.unavailable(Backend::Orders))
    }

    fn place_now(&self, new: &NewOrder) -> Result<Placement, StoreError> {
        let mut new = new.clone();
        if self.engine.is_mistaken(Mistake::KeyForgotten) {
            new.key_hash = self.engine.uuid().to_string();
        }
        let placed = at_once(self.store.place(std::slice::from_ref(&new))).pop();
        self.database.outbox_changed.raise();
        placed.unwrap_or_else(|| Err(StoreError::new(Backend::Orders, "no answer")))
    }

    fn apply_now(&self, change: &Change) -> Result<Applied, StoreError> {
        let key = (change.consumer, change.event_id);
        let mut change = change.clone();
        if self.engine.is_mistaken(Mistake::InboxForgotten) {
            change.event_id = EventId(self.engine.uuid());
        }
        if self.engine.is_mistaken(Mistake::VersionIgnored)
            && let Some(moved) = &mut change.order
            && let Ok(Some(stored)) = at_once(self.store.load(moved.order_id))
        {
            moved.expected_version = stored.order.version;
        }
        let applied = at_once(self.store.apply(std::slice::from_ref(&change))).pop();
        self.database.outbox_changed.raise();
        match &applied {
            Some(Ok(Applied::Applied)) => {
                let new = self
                    .database
                    .applied
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key);
                if !new {
                    self.engine.violate(
                        "I10",
                        format!("{} applied one event twice", key.0),
                        order_of(&change),
                    );
                }
            }
            Some(Ok(Applied::Conflict)) => self.engine.hit(Hit::Conflict),
            Some(Ok(Applied::Duplicate)) => self.engine.hit(Hit::DuplicateDelivery),
            Some(Err(_)) | None => {}
        }
        applied.unwrap_or_else(|| Err(StoreError::new(Backend::Orders, "no answer")))
    }
}

fn order_of(change: &Change) -> Option<OrderId> {
    let of_order = change.order.as_ref().map(|order| order.order_id);
    let of_payment = change
        .payment
        .as_ref()
        .map(|change| change.payment.order_id);
    of_order
        .or(of_payment)
        .or_else(|| change.outbox.first().and_then(|envelope| envelope.order_id))
}

impl Apply for SimOrders {
    async fn apply_one(&self, change: Change) -> Result<Applied, StoreError> {
        let applied = self.apply(std::slice::from_ref(&change)).await.pop();
        applied.unwrap_or_else(|| Err(StoreError::new(Backend::Orders, "no answer")))
    }
}

impl OrderStore for SimOrders {
    async fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> Result<u64, StoreError> {
        self.call("next number", None, || {
            at_once(self.store.next_number(tenant, location, day))
        })
        .await?
    }

    async fn place(&self, orders: &[NewOrder]) -> Vec<Result<Placement, StoreError>> {
        let first = orders.first().map(|new| new.order.order_id);
        let effect = || {
            orders
                .iter()
                .map(|new| self.place_now(new))
                .collect::<Vec<_>>()
        };
        let placed = self.call("place", first, effect).await;
        placed.unwrap_or_else(|error| vec![Err(error); orders.len()])
    }

    async fn key_use(&self, scope: &Scope, key_hash: &str) -> Result<Option<KeyUse>, StoreError> {
        self.call("look up key", None, || {
            at_once(self.store.key_use(scope, key_hash))
        })
        .await?
    }

    async fn load(&self, order_id: OrderId) -> Result<Option<StoredOrder>, StoreError> {
        self.call("load", Some(order_id), || {
            at_once(self.store.load(order_id))
        })
        .await?
    }

    async fn load_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<StoredOrder>, StoreError> {
        self.call("load", Some(order_id), || {
            at_once(self.store.load_in(scope, order_id))
        })
        .await?
    }

    async fn with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
        limit: u32,
    ) -> Result<Vec<OrderId>, StoreError> {
        self.call("find by number", None, || {
            at_once(self.store.with_number(scope, number, limit))
        })
        .await?
    }

    async fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> Result<Option<StoredOrder>, StoreError> {
        self.call("find_order", None, || {
            at_once(self.store.find_order(scope, order_number, email))
        })
        .await?
    }

    async fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        self.call("history", Some(order_id), || {
            at_once(self.store.history(scope, order_id, after_seq))
        })
        .await?
    }

    async fn list_stored(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> Result<Vec<StoredOrder>, StoreError> {
        self.call("list", None, || {
            at_once(self.store.list_stored(scope, filter))
        })
        .await?
    }

    async fn pending_orders(&self, scope: &Scope) -> Result<u64, StoreError> {
        self.call("count pending", None, || {
            at_once(self.store.pending_orders(scope))
        })
        .await?
    }

    async fn payment(
        &self,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, StoreError> {
        self.call("read payment", Some(order_id), || {
            at_once(self.store.payment(order_id, kind))
        })
        .await?
    }

    async fn payment_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, StoreError> {
        self.call("read payment", Some(order_id), || {
            at_once(self.store.payment_in(scope, order_id, kind))
        })
        .await?
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<Applied, StoreError>> {
        let first = changes.first().and_then(order_of);
        if self.engine.is_mistaken(Mistake::OutboxAfterCommit) {
            let bare: Vec<Change> = changes
                .iter()
                .map(|change| Change {
                    outbox: Vec::new(),
                    ..change.clone()
                })
                .collect();
            let effect = || {
                bare.iter()
                    .map(|change| self.apply_now(change))
                    .collect::<Vec<_>>()
            };
            let applied = match self.call("apply without outbox", first, effect).await {
                Ok(applied) => applied,
                Err(error) => return vec![Err(error); changes.len()],
            };
            for (change, result) in changes.iter().zip(&applied) {
                if *result == Ok(Applied::Applied) {
                    let event_id = EventId(self.engine.uuid());
                    let late = Change {
                        event_id,
                        order: None,
                        payment: None,
                        ..change.clone()
                    };
                    let _ = self
                        .call("write outbox", first, || self.apply_now(&late))
                        .await;
                }
            }
            return applied;
        }
        let effect = || {
            changes
                .iter()
                .map(|change| self.apply_now(change))
                .collect::<Vec<_>>()
        };
        let applied = self.call("apply", first, effect).await;
        applied.unwrap_or_else(|error| vec![Err(error); changes.len()])
    }

    async fn take_outbox(
        &self,
        which: Outgoing,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.call("take outbox", None, || {
            at_once(self.store.take_outbox(which, now, limit))
        })
        .await?
    }

    async fn mark_published(&self, ids: &[i64], at: Timestamp) -> Result<(), StoreError> {
        self.call("mark published", None, || {
            at_once(self.store.mark_published(ids, at))
        })
        .await?
    }

    async fn put_off(&self, rows: &[(i64, Timestamp)]) -> Result<(), StoreError> {
        self.call("put off", None, || at_once(self.store.put_off(rows)))
            .await?
    }

    async fn oldest_unpublished(&self) -> Result<Option<Timestamp>, StoreError> {
        self.call("look at outbox", None, || {
            at_once(self.store.oldest_unpublished())
        })
        .await?
    }

    async fn outbox_changed(&self, at_most: Duration) {
        let signal = &self.database.outbox_changed;
        self.engine
            .wait(signal, signal.count(), at_most.as_millis() as u64)
            .await;
    }

    async fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Due>, StoreError> {
        self.call("take due", None, || {
            at_once(self.store.take_due(now, again_at, limit))
        })
        .await?
    }

    async fn look_again(
        &self,
        orders: &[(OrderId, i64, Option<Timestamp>)],
    ) -> Result<(), StoreError> {
        self.call("look again", None, || {
            at_once(self.store.look_again(orders))
        })
        .await?
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.call("prune", None, || at_once(self.store.prune(before, limit)))
            .await?
    }
}

impl StockWatch for SimOrders {
    async fn seen(&self, product_id: &ProductId) -> Result<Option<Seen>, StoreError> {
        self.call("level seen", None, || at_once(self.store.seen(product_id)))
            .await?
    }

    async fn remember(
        &self,
        product_id: &ProductId,
        before: Option<Seen>,
        now: Seen,
        alert: Option<&Envelope>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let effect = || {
            let remembered = at_once(self.store.remember(product_id, before, now, alert, at));
            self.database.outbox_changed.raise();
            remembered
        };
        self.call("remember level", None, effect).await?
    }
}

impl NoticeStore for SimOrders {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, StoreError> {
        let state = self
            .call("begin notification", notice.order_id, || {
                at_once(self.store.begin_notice(notice))
            })
            .await??;
        if self.engine.is_mistaken(Mistake::NoticeWithoutClaim) && state == NoticeState::InHand {
            return Ok(NoticeState::Pending { attempt: 1 });
        }
        Ok(state)
    }

    async fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.call("end notification", None, || {
            at_once(self.store.end_notice(event_id, channel, end, at))
        })
        .await?
    }

    async fn give_back_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        why: &str,
    ) -> Result<(), StoreError> {
        self.call("give back notification", None, || {
            at_once(self.store.give_back_notice(event_id, channel, why))
        })
        .await?
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, StoreError> {
        self.call("list notifications", filter.order_id, || {
            at_once(self.store.notices(filter))
        })
        .await?
    }
}
