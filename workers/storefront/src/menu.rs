//! The menu, cached for a second: the most visited page must not read the whole table for every
//! visitor.
//!
//! One request reads the table in a separate task; the others wait for its result or use the last
//! copy. With a copy at hand, a request waits at most [`STALE_AFTER`] and the page shows the age of
//! the copy. The task continues meanwhile. A slow result still renews the copy, and a call without
//! an answer is still reported to the circuit breaker.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use app::ports::stock::{Catalogue as _, StockedProduct};
use app::ports::{Backend, Source as _, StoreError};
use contract::cause::chain;
use domain::Timestamp;
use domain::ids::ProductId;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout};

use crate::ports::{Ports, within};

/// Maximum age of the copy. An order checks the stock again.
const FRESH: Duration = Duration::from_secs(1);
/// Maximum time that a request waits for the table when there is an older copy. A page also waits
/// for its cart (500 ms), and should need no more than a second in all.
const STALE_AFTER: Duration = Duration::from_millis(400);
/// Maximum time of one read; afterwards another request may read. Longer than the SDK's limit for a
/// call (8 s).
const READ_WITHIN: Duration = Duration::from_secs(9);

/// The cached menu. All clones share one copy.
#[derive(Clone, Default)]
pub struct Menu(Arc<Inner>);

#[derive(Default)]
struct Inner {
    known: std::sync::Mutex<Known>,
    /// Locked by the task that reads the table.
    reading: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Known {
    last: Option<Snapshot>,
    /// When and why the last read failed.
    failed: Option<(Instant, StoreError)>,
    /// True while the table does not answer: pages then show the age of the copy.
    unanswered: bool,
    /// Counts changes by staff. A read that started before a change is not fresh after it.
    changes: u64,
    /// The price of each product before its last change, in minor units.
    prices_before: HashMap<ProductId, i64>,
}

#[derive(Clone)]
struct Snapshot {
    /// When the read started; `None` after staff have changed something.
    fresh_from: Option<Instant>,
    read_at: Timestamp,
    products: Arc<Vec<StockedProduct>>,
}

/// The products of the menu, sorted by type and name.
#[derive(Clone)]
pub struct Products {
    products: Arc<Vec<StockedProduct>>,
    /// When the products were read, if the table does not answer now.
    pub as_of: Option<Timestamp>,
}

impl Deref for Products {
    type Target = [StockedProduct];

    fn deref(&self) -> &[StockedProduct] {
        &self.products
    }
}

impl Known {
    fn fresh(&self) -> Option<Products> {
        let copy = self
            .last
            .as_ref()
            .filter(|copy| copy.fresh_from.is_some_and(|at| at.elapsed() < FRESH))?;
        Some(Products {
            products: copy.products.clone(),
            as_of: None,
        })
    }

    fn stale(&self) -> Option<Products> {
        let copy = self.last.as_ref()?;
        Some(Products {
            products: copy.products.clone(),
            as_of: self.unanswered.then_some(copy.read_at),
        })
    }
}

impl Menu {
    /// Returns the products, normally at most [`FRESH`] old. While the stock cannot be read,
    /// returns the last copy whatever its age: an old menu is better than none, and an order checks
    /// the stock again.
    ///
    /// # Errors
    /// Returns `StoreError` when the table does not answer and was never read.
    pub async fn products<P: Ports>(&self, ports: &P) -> Result<Products, StoreError> {
        if let Some(fresh) = self.known().fresh() {
            return Ok(fresh);
        }
        match self.0.reading.clone().try_lock_owned() {
            Ok(turn) => {
                // Another request may have finished a read, or found that the table fails.
                let known = self.known();
                if let Some(fresh) = known.fresh() {
                    return Ok(fresh);
                }
                if let Some((at, error)) = &known.failed
                    && at.elapsed() < FRESH
                {
                    return known.stale().ok_or_else(|| error.clone());
                }
                tokio::spawn(self.clone().read(ports.clone(), known.changes, turn));
            }
            Err(_) => {
                if let Some(stale) = self.known().stale() {
                    return Ok(stale);
                }
            }
        }
        // The lock is free again when the read has finished.
        let answered = async { drop(self.0.reading.lock().await) };
        let has_copy = self.known().last.is_some();
        if has_copy {
            if timeout(STALE_AFTER, answered).await.is_err() {
                self.known().unanswered = true;
            }
        } else {
            answered.await;
        }
        let known = self.known();
        let failed = || known.failed.as_ref().map(|(_, error)| error.clone());
        let nothing = || {
            failed().unwrap_or_else(|| StoreError::new(Backend::Stock, "the menu was never read"))
        };
        known.fresh().or_else(|| known.stale()).ok_or_else(nothing)
    }

    /// Reads the table and stores the result. Holds `turn` until the result is stored.
    async fn read<P: Ports>(self, ports: P, changes: u64, turn: OwnedMutexGuard<()>) {
        let asked_at = Instant::now();
        let answer = within(READ_WITHIN, Backend::Stock, ports.stock().products()).await;
        let mut known = self.known();
        match answer.flatten() {
            Ok(products) => {
                let before = known.last.take();
                for old in before.iter().flat_map(|copy| copy.products.iter()) {
                    let now = find(&products, &old.product.product_id);
                    if now.is_some_and(|now| now.product.price != old.product.price) {
                        known
                            .prices_before
                            .insert(old.product.product_id.clone(), old.product.price.minor);
                    }
                }
                let fresh_from = (known.changes == changes).then_some(asked_at);
                let read_at = ports.source().now();
                known.last = Some(Snapshot {
                    fresh_from,
                    read_at,
                    products: Arc::new(products),
                });
                (known.failed, known.unanswered) = (None, false);
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "The menu cannot be read; the last copy is shown");
                known.failed = Some((Instant::now(), error));
                known.unanswered = true;
            }
        }
        drop(known);
        drop(turn);
    }

    /// Returns the last copy whatever its age, without waiting.
    pub fn last(&self) -> Vec<StockedProduct> {
        self.known()
            .last
            .as_ref()
            .map(|copy| copy.products.to_vec())
            .unwrap_or_default()
    }

    /// Returns the price of the product before its last change, in minor units, if this process saw
    /// the change.
    pub fn price_before(&self, product_id: &ProductId) -> Option<i64> {
        self.known().prices_before.get(product_id).copied()
    }

    /// Makes the next request read the table, because staff expect to see their change at once.
    pub fn forget(&self) {
        let mut known = self.known();
        known.changes += 1;
        if let Some(copy) = &mut known.last {
            copy.fresh_from = None;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the product with this id.
pub fn find<'a>(products: &'a [StockedProduct], id: &ProductId) -> Option<&'a StockedProduct> {
    products
        .iter()
        .find(|product| product.product.product_id == *id)
}

/// Returns the name of a product, or its id in words when the product has left the menu.
pub fn name_of(products: &[StockedProduct], id: &ProductId) -> String {
    if let Some(found) = find(products, id) {
        return found.product.name.clone();
    }
    let words = id.as_str().replace('-', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
