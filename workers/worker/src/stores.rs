//! The stores that the configuration selects.

use std::sync::Arc;
use std::time::Duration;

use adapter_memory::MemoryCarts;
use adapter_redis::RedisCarts;
pub use adapter_sql::Store;
use app::ports::carts::{Cart, CartError, CartStore};
use app::ports::{Source, StoreError};
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::ProductId;
use uuid::Uuid;

use crate::config::CacheConfig;
use crate::renewal::Renewal;

/// Carts, in Redis or in this process.
#[derive(Clone)]
pub enum Carts {
    Memory(Arc<MemoryCarts<SystemSource>>),
    Redis(Box<RedisCarts>),
}

impl Carts {
    /// Connects to Redis, or keeps the carts in memory when there is no cache. If `renewal` is
    /// given, a refused password is read again.
    pub async fn connect(
        cache: Option<&CacheConfig>,
        renewal: Option<Renewal<String>>,
    ) -> Result<Carts, StoreError> {
        let Some(cache) = cache else {
            return Ok(Carts::Memory(Arc::new(MemoryCarts::new(SystemSource))));
        };
        let password = cache.password.as_ref();
        let password = password.map(|password| password.expose().as_str());
        let carts = RedisCarts::connect_as(cache.url.expose(), password).await?;
        Ok(Carts::Redis(Box::new(carts.renewing(renewal))))
    }

    /// Adds one to a counter that all storefronts share. Returns `None` without Redis, or when
    /// Redis does not answer.
    pub async fn count(&self, key: &str, window: Duration) -> Option<u64> {
        match self {
            Carts::Memory(_) => None,
            Carts::Redis(carts) => carts.count(key, window).await.ok(),
        }
    }
}

/// Makes a call on the carts, wherever they are.
macro_rules! on_either {
    ($either:expr, $carts:ident => $call:expr) => {
        match $either {
            Carts::Memory($carts) => $call.await,
            Carts::Redis($carts) => $call.await,
        }
    };
}

impl CartStore for Carts {
    async fn get(&self, session: &str) -> Result<Cart, StoreError> {
        on_either!(self, carts => carts.get(session))
    }

    async fn add(&self, session: &str, line: &Line, price_minor: i64) -> Result<Cart, CartError> {
        on_either!(self, carts => carts.add(session, line, price_minor))
    }

    async fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> Result<Option<Cart>, StoreError> {
        on_either!(self, carts => carts.set(session, product_id, quantity))
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Cart, StoreError> {
        on_either!(self, carts => carts.remove(session, product_id))
    }

    async fn take_out(&self, session: &str, ordered: &Lines) -> Result<(), StoreError> {
        on_either!(self, carts => carts.take_out(session, ordered))
    }

    async fn clear(&self, session: &str) -> Result<(), StoreError> {
        on_either!(self, carts => carts.clear(session))
    }
}

/// The machine's clock, and UUIDs of the system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSource;

impl Source for SystemSource {
    fn now(&self) -> Timestamp {
        // Databases store microseconds. With the same precision here, a time is equal after it was
        // written and read.
        let now = Timestamp::now_utc();
        now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000)
            .unwrap_or(now)
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}
