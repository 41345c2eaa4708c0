//! The menu, kept for a moment: the page that everybody looks at must not read the whole table each time.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use app::ports::Unavailable;
use app::ports::stock::{Stock, StockedProduct};
use app::use_cases::place_order::Offers;
use domain::cart::Line;
use domain::ids::ProductId;
use tokio::sync::Mutex;

/// Stock on the page may be so old. What is ordered is checked again.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Menu {
    last: std::sync::Mutex<Option<(Instant, Products)>>,
    /// Whoever holds it reads; the others wait for the same answer, or take the last.
    reading: Mutex<Option<(Instant, Unavailable)>>,
}

pub type Products = Arc<Vec<StockedProduct>>;

impl Menu {
    /// The products, at most `FRESH` old. While the stock cannot be read they are as old as they are: a menu of a minute
    /// ago is better than none, and what is ordered is checked again.
    pub async fn products(&self, stock: &impl Stock) -> Result<Products, Unavailable> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, products)) = last()
            && at.elapsed() < FRESH
        {
            return Ok(products);
        }
        let mut failed = match (self.reading.try_lock(), last()) {
            (Ok(failed), _) => failed,
            (Err(_), Some((_, products))) => return Ok(products),
            (Err(_), None) => self.reading.lock().await,
        };
        // Somebody may have read it while we waited, or found that it cannot be read.
        match (last(), failed.as_ref()) {
            (Some((at, products)), _) if at.elapsed() < FRESH => return Ok(products),
            (known, Some((at, error))) if at.elapsed() < FRESH => {
                return known.map_or_else(|| Err(error.clone()), |(_, products)| Ok(products));
            }
            _ => {}
        }
        match stock.products().await {
            Ok(products) => {
                let products = Arc::new(products);
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), products.clone()));
                *failed = None;
                Ok(products)
            }
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                last().map_or(Err(error), |(_, products)| Ok(products))
            }
        }
    }

    /// After a change by staff, who want to see it at once.
    pub async fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What is ordered is looked up on the menu, and only where that has too little, in the stock itself: it may have come a
/// moment ago. An order that is taken for what has gone a moment ago is refused when its stock is held.
pub struct Offered<'a, T> {
    pub menu: &'a Menu,
    pub stock: &'a T,
}

impl<T: Stock> Offers for Offered<'_, T> {
    async fn offer(&self, line: &Line) -> Result<Option<StockedProduct>, Unavailable> {
        let products = self.menu.products(self.stock).await?;
        let wanted = i64::from(line.quantity.get());
        match find(&products, &line.product_id) {
            Some(product) if product.counters.available >= wanted => Ok(Some(product.clone())),
            _ => self.stock.product(&line.product_id).await,
        }
    }
}

pub fn find<'a>(products: &'a [StockedProduct], id: &ProductId) -> Option<&'a StockedProduct> {
    products.iter().find(|product| product.product.product_id == *id)
}
