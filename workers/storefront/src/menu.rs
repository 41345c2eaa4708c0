//! The menu, kept for a moment: the page that everybody looks at must not read the whole table each
//! time.
//!
//! One request reads the table, in a task of its own; the others wait for its answer or take the
//! last copy. Where there is a copy, nobody waits longer than [`STALE_AFTER`]: a table that does
//! not answer costs every visitor at most that, and the copy says how old it is. The task goes on
//! meanwhile, so that a slow answer still renews the copy and a call that is never answered is
//! still reported to the circuit breaker.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use app::ports::stock::{Catalogue as _, StockedProduct};
use app::ports::{Source as _, Unavailable};
use app::use_cases::place_order::Offers;
use domain::Timestamp;
use domain::cart::Line;
use domain::ids::ProductId;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout};

use crate::{App, Ports};

/// Stock on the page may be so old. What is ordered is checked again.
const FRESH: Duration = Duration::from_secs(1);
/// For the table to answer, where there is an older copy. A page waits for its cart as well (500
/// ms), and for no more than a second in all.
const STALE_AFTER: Duration = Duration::from_millis(400);
/// For the table to answer at all: after that another request may read. Longer than a call of the
/// SDK takes (8 s).
const READ_WITHIN: Duration = Duration::from_secs(9);

#[derive(Clone, Default)]
pub struct Menu(Arc<Inner>);

#[derive(Default)]
struct Inner {
    known: std::sync::Mutex<Known>,
    /// Held by whoever reads the table.
    reading: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Known {
    last: Option<Snapshot>,
    /// The last read failed, and when and why.
    failed: Option<(Instant, Unavailable)>,
    /// The table does not answer: copies carry their age.
    unanswered: bool,
    /// Grows with every change by staff: what was read before one is not fresh after it.
    changes: u64,
    /// What products cost before their price last changed, in minor units.
    was: HashMap<ProductId, i64>,
}

#[derive(Clone)]
struct Snapshot {
    /// `None` once staff have changed something.
    fresh_from: Option<Instant>,
    read_at: Timestamp,
    products: Arc<Vec<StockedProduct>>,
}

/// The products, by type and name.
#[derive(Clone)]
pub struct Products {
    products: Arc<Vec<StockedProduct>>,
    /// When they were read, if the table does not answer now.
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
    /// Returns the products, at most `FRESH` old. While the stock cannot be read they are as old as
    /// they are: a menu of a minute ago is better than none, and what is ordered is checked again.
    ///
    /// # Errors
    /// When the table does not answer and was never read.
    pub async fn products<P: Ports>(&self, ports: &P) -> Result<Products, Unavailable> {
        if let Some(fresh) = self.known().fresh() {
            return Ok(fresh);
        }
        match self.0.reading.clone().try_lock_owned() {
            Ok(turn) => {
                // Somebody may have read it since, or found that it cannot be read.
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
        // Free again when the answer is there.
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
        let nothing =
            || failed().unwrap_or_else(|| Unavailable::new("stock", "the menu was never read"));
        known.fresh().or_else(|| known.stale()).ok_or_else(nothing)
    }

    async fn read<P: Ports>(self, ports: P, changes: u64, turn: OwnedMutexGuard<()>) {
        let asked_at = Instant::now();
        let answer = timeout(READ_WITHIN, ports.stock().products()).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Unavailable::new(
                "stock",
                format!("no answer in {READ_WITHIN:?}"),
            ))
        });
        let mut known = self.known();
        match answer {
            Ok(products) => {
                let before = known.last.take();
                for old in before.iter().flat_map(|copy| copy.products.iter()) {
                    let now = find(&products, &old.product.product_id);
                    if now.is_some_and(|now| now.product.price != old.product.price) {
                        known
                            .was
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
                tracing::warn!(%error, "The menu cannot be read; the last copy is shown");
                known.failed = Some((Instant::now(), error));
                known.unanswered = true;
            }
        }
        drop(known);
        drop(turn);
    }

    /// Returns the last copy, however old, without asking anybody.
    pub fn last(&self) -> Vec<StockedProduct> {
        self.known()
            .last
            .as_ref()
            .map(|copy| copy.products.to_vec())
            .unwrap_or_default()
    }

    /// Returns what the product cost before its price last changed, in minor units, as far as this
    /// process knows.
    pub fn price_before(&self, product_id: &ProductId) -> Option<i64> {
        self.known().was.get(product_id).copied()
    }

    /// Has the next request read the table: staff want to see their change at once.
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

/// What is ordered is looked up on the menu, and only where that has too little, in the stock
/// itself: it may have come a moment ago. An order that is taken for what has gone a moment ago is
/// refused when its stock is held.
pub struct Offered<'a, P: Ports>(pub &'a App<P>);

impl<P: Ports> Offers for Offered<'_, P> {
    async fn offer(&self, line: &Line) -> Result<Option<StockedProduct>, Unavailable> {
        let products = self.0.menu.products(&self.0.ports).await?;
        let wanted = i64::from(line.quantity.get());
        match find(&products, &line.product_id) {
            Some(product) if product.counters.available >= wanted => Ok(Some(product.clone())),
            _ => self.0.ports.stock().product(&line.product_id).await,
        }
    }
}

pub fn find<'a>(products: &'a [StockedProduct], id: &ProductId) -> Option<&'a StockedProduct> {
    products
        .iter()
        .find(|product| product.product.product_id == *id)
}

/// Returns the name of a product; of one that has left the menu, its id in words.
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
