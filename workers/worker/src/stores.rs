//! The stores that the configuration asks for, behind one type each.

use std::time::Duration;

use adapter_postgres::{ConnectError, Login, PostgresStore};
use adapter_redis::RedisCarts;
use adapter_sqlite::SqliteStore;
use app::memory_carts::MemoryCarts;
use app::ports::carts::{CartError, CartStore};
use app::ports::notices::{Notice, NoticeEnd, NoticeFilter, NoticeRow, NoticeState, NoticeStore};
use app::ports::orders::{
    Applied, Change, Due, KeyUse, NewOrder, OrderFilter, OrderStore, OutboxRow, Payment, PaymentKind, Placement,
    StoredOrder,
};
use app::ports::{Source, Unavailable};
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::channel::Channel;
use domain::ids::{EventId, LocationId, OrderId, ProductId, TenantId};
use domain::order::{HistoryEntry, Order};
use uuid::Uuid;

/// Connections of one process. Seven processes with eight each stay well below PostgreSQL's default of 100.
const CONNECTIONS_MAX: u32 = 8;

/// Orders, in PostgreSQL or in SQLite.
#[derive(Clone)]
pub enum Store {
    Postgres(PostgresStore),
    Sqlite(SqliteStore),
}

impl Store {
    /// # Errors
    /// When the URL is of another kind, or the database cannot be reached or refuses us.
    pub async fn connect(database_url: &str, login: &Login) -> Result<Store, ConnectError> {
        if database_url.starts_with("postgres://") || database_url.starts_with("postgresql://") {
            return Ok(Store::Postgres(PostgresStore::connect_as(database_url, login, CONNECTIONS_MAX).await?));
        }
        if database_url.starts_with("sqlite:") {
            return Ok(Store::Sqlite(SqliteStore::connect(database_url).await?));
        }
        Err(Unavailable::new("orders", "DATABASE_URL must begin with postgres:// or sqlite://").into())
    }

    /// Whether the database would let a new connection in. A file always does.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn check_login(&self) -> Result<(), ConnectError> {
        match self {
            Store::Postgres(store) => store.check_login().await,
            Store::Sqlite(_) => Ok(()),
        }
    }
}

/// The same method on whichever store it is.
macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Store::Postgres($store) => $call.await,
            Store::Sqlite($store) => $call.await,
        }
    };
}

impl OrderStore for Store {
    async fn next_number(&self, tenant: &TenantId, location: &LocationId) -> Result<u64, Unavailable> {
        either!(self, store => store.next_number(tenant, location))
    }

    async fn place(&self, orders: &[NewOrder]) -> Vec<Result<Placement, Unavailable>> {
        either!(self, store => store.place(orders))
    }

    async fn key_use(&self, key_hash: &str) -> Result<Option<KeyUse>, Unavailable> {
        either!(self, store => store.key_use(key_hash))
    }

    async fn load(&self, order_id: OrderId) -> Result<Option<StoredOrder>, Unavailable> {
        either!(self, store => store.load(order_id))
    }

    async fn history(&self, order_id: OrderId, after_seq: i64) -> Result<Vec<HistoryEntry>, Unavailable> {
        either!(self, store => store.history(order_id, after_seq))
    }

    async fn list(&self, filter: &OrderFilter) -> Result<Vec<Order>, Unavailable> {
        either!(self, store => store.list(filter))
    }

    async fn pending_orders(&self) -> Result<u64, Unavailable> {
        either!(self, store => store.pending_orders())
    }

    async fn payment(&self, order_id: OrderId, kind: PaymentKind) -> Result<Option<Payment>, Unavailable> {
        either!(self, store => store.payment(order_id, kind))
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<Applied, Unavailable>> {
        either!(self, store => store.apply(changes))
    }

    async fn take_outbox(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxRow>, Unavailable> {
        either!(self, store => store.take_outbox(now, limit))
    }

    async fn mark_published(&self, ids: &[i64], at: Timestamp) -> Result<(), Unavailable> {
        either!(self, store => store.mark_published(ids, at))
    }

    async fn put_off(&self, rows: &[(i64, Timestamp)]) -> Result<(), Unavailable> {
        either!(self, store => store.put_off(rows))
    }

    async fn oldest_unpublished(&self) -> Result<Option<Timestamp>, Unavailable> {
        either!(self, store => store.oldest_unpublished())
    }

    async fn outbox_changed(&self, at_most: Duration) {
        either!(self, store => store.outbox_changed(at_most))
    }

    async fn take_due(&self, now: Timestamp, again_at: Timestamp, limit: u32) -> Result<Vec<Due>, Unavailable> {
        either!(self, store => store.take_due(now, again_at, limit))
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, Unavailable> {
        either!(self, store => store.prune(before, limit))
    }
}

impl NoticeStore for Store {
    async fn begin_notice(&self, notice: &Notice) -> Result<NoticeState, Unavailable> {
        either!(self, store => store.begin_notice(notice))
    }

    async fn end_notice(
        &self,
        event_id: EventId,
        channel: Channel,
        end: &NoticeEnd,
        at: Timestamp,
    ) -> Result<bool, Unavailable> {
        either!(self, store => store.end_notice(event_id, channel, end, at))
    }

    async fn give_back_notice(&self, event_id: EventId, channel: Channel, why: &str) -> Result<(), Unavailable> {
        either!(self, store => store.give_back_notice(event_id, channel, why))
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, Unavailable> {
        either!(self, store => store.notices(filter))
    }
}

/// Carts, in Redis or in this process.
#[derive(Clone)]
pub enum Carts {
    Memory(std::sync::Arc<MemoryCarts<SystemSource>>),
    Redis(Box<RedisCarts>),
}

impl Carts {
    pub async fn connect(redis_url: Option<&str>, password: Option<&str>) -> Result<Carts, Unavailable> {
        match redis_url {
            Some(url) => Ok(Carts::Redis(Box::new(RedisCarts::connect_as(url, password).await?))),
            None => Ok(Carts::Memory(std::sync::Arc::new(MemoryCarts::new(SystemSource)))),
        }
    }
}

macro_rules! either_cart {
    ($self:ident, $carts:ident => $call:expr) => {
        match $self {
            Carts::Memory($carts) => $call.await,
            Carts::Redis($carts) => $call.await,
        }
    };
}

impl CartStore for Carts {
    async fn get(&self, session: &str) -> Result<Lines, Unavailable> {
        either_cart!(self, carts => carts.get(session))
    }

    async fn add(&self, session: &str, line: &Line) -> Result<Lines, CartError> {
        either_cart!(self, carts => carts.add(session, line))
    }

    async fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> Result<Option<Lines>, Unavailable> {
        either_cart!(self, carts => carts.set(session, product_id, quantity))
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Lines, Unavailable> {
        either_cart!(self, carts => carts.remove(session, product_id))
    }

    async fn clear(&self, session: &str) -> Result<(), Unavailable> {
        either_cart!(self, carts => carts.clear(session))
    }
}

/// The machine's clock, and UUIDs of the system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSource;

impl Source for SystemSource {
    fn now(&self) -> Timestamp {
        // Databases keep microseconds: what is written is read back equal.
        let now = Timestamp::now_utc();
        now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000).unwrap_or(now)
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}
