//! A simulated products table and its stream of changes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::fakes::stock::MemoryStock;
use app::ports::stock::{
    Adjusted, Adjustment, Confirmed, ExpiredHold, Reserved, Stock, StockChange, StockedProduct,
};
use app::ports::{Backend, StoreError};
use domain::Timestamp;
use domain::cart::Lines;
use domain::ids::{OrderId, ProductId};
use domain::menu::Product;
use domain::stock::Availability;

use super::engine::{Engine, Lost, Signal};
use super::hits::Hit;
use super::mistake::Mistake;
use super::orders::at_once;
use super::port::Port;
use super::task::Who;

/// The table that all processes share.
#[derive(Default)]
pub struct Table {
    pub stock: MemoryStock,
    pub stream_moved: Signal,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    records: Vec<StockChange>,
    /// Index of the oldest record that is not trimmed.
    oldest: usize,
    /// The position up to which every record has taken effect.
    checkpoint: usize,
    /// The position up to which any reader has read.
    read: usize,
    rebuilds: u64,
    reserved_once: BTreeSet<OrderId>,
    /// Reservations that were delayed, with the times at which they arrive.
    under_way: Vec<(u64, Reserve)>,
}

#[derive(Clone)]
struct Reserve {
    order_id: OrderId,
    lines: Lines,
    now: Timestamp,
    expires_at: Timestamp,
}

/// The result of a read of the stream.
pub enum Page {
    Records(Vec<StockChange>),
    /// Records after the checkpoint were trimmed.
    Trimmed,
}

impl Table {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change, and adds a record to the stream for each product that changed.
    pub fn change<T>(&self, engine: &Engine, change: impl FnOnce(&MemoryStock) -> T) -> T {
        let before = at_once(self.stock.products()).unwrap_or_default();
        let result = change(&self.stock);
        let after = at_once(self.stock.products()).unwrap_or_default();
        for now in after {
            if !now.counters.conserved() {
                engine.violate(
                    "I1",
                    format!(
                        "{} does not add up: {:?}",
                        now.product.product_id, now.counters
                    ),
                    None,
                );
            }
            let was = before
                .iter()
                .find(|product| product.product.product_id == now.product.product_id);
            if was.is_none_or(|was| was.version != now.version) {
                let mut inner = self.inner();
                inner.records.push(StockChange {
                    before: was.cloned(),
                    after: Some(now),
                });
            }
        }
        self.stream_moved.raise();
        result
    }

    /// Applies the reservations that were delayed until `now_ms`.
    pub fn arrive(&self, engine: &Engine, now_ms: u64) {
        let mut inner = self.inner();
        let (there, later): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.under_way)
            .into_iter()
            .partition(|(at, _)| *at <= now_ms);
        inner.under_way = later;
        drop(inner);
        for (
            _,
            Reserve {
                order_id,
                lines,
                now,
                expires_at,
            },
        ) in there
        {
            engine.hit(Hit::LateReserve);
            // The process that made the request has given up.
            let _ = self.change(engine, |stock| {
                at_once(stock.reserve(order_id, &lines, now, expires_at))
            });
        }
    }

    /// Returns the records from a position. A reader starts at the checkpoint.
    pub fn read(&self, position: usize) -> Page {
        let inner = self.inner();
        if position < inner.oldest {
            return Page::Trimmed;
        }
        Page::Records(inner.records.get(position..).unwrap_or_default().to_vec())
    }

    /// Returns the checkpoint.
    pub fn checkpoint(&self) -> usize {
        self.inner().checkpoint
    }

    /// Moves the checkpoint forward.
    pub fn set_checkpoint(&self, position: usize) {
        let mut inner = self.inner();
        inner.checkpoint = inner.checkpoint.max(position);
    }

    /// Marks a record as read. Returns whether it had been read before.
    pub fn was_read(&self, position: usize) -> bool {
        let mut inner = self.inner();
        let again = position < inner.read;
        inner.read = inner.read.max(position + 1);
        again
    }

    /// Trims all records. Returns whether a record was lost that had not taken effect.
    pub fn trim(&self) -> bool {
        let mut inner = self.inner();
        let news = inner.oldest < inner.records.len() && inner.checkpoint < inner.records.len();
        inner.oldest = inner.records.len();
        news
    }

    /// Returns the index of the oldest record.
    pub fn oldest(&self) -> usize {
        self.inner().oldest
    }

    /// Counts a rebuild.
    pub fn count_rebuild(&self) {
        self.inner().rebuilds += 1;
    }

    /// Returns the number of rebuilds.
    pub fn rebuilds(&self) -> u64 {
        self.inner().rebuilds
    }

    /// Returns whether every record has taken effect.
    pub fn is_read(&self) -> bool {
        let inner = self.inner();
        inner.checkpoint >= inner.records.len()
    }

    /// Returns how often the product's availability fell to a level.
    pub fn crossings(&self, product_id: &ProductId, level: Availability) -> u64 {
        let fell = |record: &&StockChange| {
            let of = |product: &Option<StockedProduct>| {
                product
                    .as_ref()
                    .filter(|product| product.product.product_id == *product_id)
                    .map(|p| p.availability())
            };
            let Some(after) = of(&record.after) else {
                return false;
            };
            of(&record.before)
                .unwrap_or(Availability::InStock)
                .worsened_to(after)
                == Some(level)
        };
        self.inner().records.iter().filter(fell).count() as u64
    }
}

/// The client of one process.
pub struct SimStock {
    pub engine: Arc<Engine>,
    pub table: Arc<Table>,
    pub who: Who,
}

impl SimStock {
    async fn call<T: Send>(
        &self,
        what: &'static str,
        order: Option<OrderId>,
        effect: impl FnOnce() -> T + Send,
    ) -> Result<T, StoreError> {
        let after_those_before = || {
            self.table.arrive(&self.engine, self.engine.now_ms());
            effect()
        };
        let called = self
            .engine
            .call(self.who, Port::Stock, what, order, after_those_before)
            .await;
        called.map_err(|lost| lost.unavailable(Backend::Stock))
    }

    fn reserve_now(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Reserved, StoreError> {
        let mut key = order_id;
        if self.engine.is_mistaken(Mistake::ReserveWithoutRecord)
            && self.table.inner().reserved_once.contains(&order_id)
        {
            key = OrderId(self.engine.uuid());
        }
        let reserved = self.table.change(&self.engine, |stock| {
            at_once(stock.reserve(key, lines, now, expires_at))
        });
        if reserved == Ok(Reserved::Held) {
            self.table.inner().reserved_once.insert(order_id);
        }
        reserved
    }

    fn release_now(&self, order_id: OrderId, now: Timestamp) -> Result<(), StoreError> {
        let held = self.table.inner().reserved_once.contains(&order_id);
        if self.engine.is_mistaken(Mistake::ReleaseWithoutMark) && !held {
            return Ok(());
        }
        self.table
            .change(&self.engine, |stock| at_once(stock.release(order_id, now)))
    }
}

impl Stock for SimStock {
    async fn products(&self) -> Result<Vec<StockedProduct>, StoreError> {
        self.call("read products", None, || {
            at_once(self.table.stock.products())
        })
        .await?
    }

    async fn product(&self, id: &ProductId) -> Result<Option<StockedProduct>, StoreError> {
        self.call("read product", None, || {
            at_once(self.table.stock.product(id))
        })
        .await?
    }

    async fn reserve(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Reserved, StoreError> {
        let engine = &self.engine;
        let effect = || {
            self.table.arrive(engine, engine.now_ms());
            self.reserve_now(order_id, lines, now, expires_at)
        };
        // The reservation counts as `Hit::LateReserve` when it arrives.
        let late = engine.plan.late / 4;
        if engine.storms() && engine.dice(|dice| dice.permille(late)) {
            engine.note(self.who, "reserve", "under way", Some(order_id));
            let at = engine.now_ms() + engine.dice(|dice| dice.between(100, 30_000));
            let request = Reserve {
                order_id,
                lines: lines.clone(),
                now,
                expires_at,
            };
            self.table.inner().under_way.push((at, request));
            engine
                .sleep(engine.dice(|dice| dice.between(1, 2_000)))
                .await;
            return Err(Lost::Before.unavailable(Backend::Stock));
        }
        let called = engine
            .call(self.who, Port::Stock, "reserve", Some(order_id), effect)
            .await;
        called.map_err(|lost| lost.unavailable(Backend::Stock))?
    }

    async fn confirm(&self, order_id: OrderId, now: Timestamp) -> Result<Confirmed, StoreError> {
        let effect = || {
            self.table
                .change(&self.engine, |stock| at_once(stock.confirm(order_id, now)))
        };
        self.call("confirm", Some(order_id), effect).await?
    }

    async fn release(&self, order_id: OrderId, now: Timestamp) -> Result<(), StoreError> {
        self.call("release", Some(order_id), || {
            self.release_now(order_id, now)
        })
        .await?
    }

    async fn expired_holds(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredHold>, StoreError> {
        self.call("look for expired holds", None, || {
            at_once(self.table.stock.expired_holds(now, limit))
        })
        .await?
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, StoreError> {
        let effect = || {
            self.table
                .change(&self.engine, |stock| at_once(stock.adjust(adjustment)))
        };
        self.call("adjust", None, effect).await?
    }

    async fn add_product(
        &self,
        product: &Product,
        received: u32,
        low_stock_threshold: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let add = |stock: &MemoryStock| {
            at_once(stock.add_product(product, received, low_stock_threshold, now))
        };
        self.call("add product", None, || self.table.change(&self.engine, add))
            .await?
    }
}
