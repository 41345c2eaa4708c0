//! Carts in memory that can lose their responses, and to which another tab can add at a chosen
//! moment.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use adapter_memory::MemoryCarts;
use app::ports::carts::{Cart, CartError, CartStore};
use app::ports::{Backend, StoreError};
use domain::cart::{Line, Lines, Quantity};
use domain::ids::ProductId;

use crate::Clock;

pub struct TestCarts {
    carts: MemoryCarts<Clock>,
    away: AtomicBool,
    meanwhile: Mutex<Option<Line>>,
}

impl TestCarts {
    pub fn new(clock: Clock) -> TestCarts {
        TestCarts {
            carts: MemoryCarts::new(clock),
            away: AtomicBool::default(),
            meanwhile: Mutex::default(),
        }
    }

    /// Makes every later call take effect and lose its response, or ends that.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Makes another tab add a line directly after the next read of a cart.
    pub fn add_meanwhile(&self, line: Line) {
        *self.meanwhile.lock().expect("not poisoned") = Some(line);
    }

    fn answer(&self) -> Result<(), StoreError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(StoreError::new(Backend::Carts, "the answer was lost")),
            false => Ok(()),
        }
    }
}

impl CartStore for TestCarts {
    async fn get(&self, session: &str) -> Result<Cart, StoreError> {
        let cart = self.carts.get(session).await?;
        let meanwhile = self.meanwhile.lock().expect("not poisoned").take();
        if let Some(line) = meanwhile {
            self.carts.add(session, &line, 420).await.expect("added");
        }
        self.answer().map(|()| cart)
    }

    async fn add(&self, session: &str, line: &Line, price_minor: i64) -> Result<Cart, CartError> {
        let cart = self.carts.add(session, line, price_minor).await?;
        self.answer()?;
        Ok(cart)
    }

    async fn set(
        &self,
        session: &str,
        product_id: &ProductId,
        quantity: Quantity,
    ) -> Result<Option<Cart>, StoreError> {
        let cart = self.carts.set(session, product_id, quantity).await?;
        self.answer().map(|()| cart)
    }

    async fn remove(&self, session: &str, product_id: &ProductId) -> Result<Cart, StoreError> {
        let cart = self.carts.remove(session, product_id).await?;
        self.answer().map(|()| cart)
    }

    async fn take_out(&self, session: &str, ordered: &Lines) -> Result<(), StoreError> {
        self.carts.take_out(session, ordered).await?;
        self.answer()
    }

    async fn clear(&self, session: &str) -> Result<(), StoreError> {
        self.carts.clear(session).await?;
        self.answer()
    }
}
