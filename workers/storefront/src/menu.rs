//! The menu, kept for a moment: the page that everybody looks at must not read the whole table each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use app::ports::Unavailable;
use app::ports::stock::{Stock, StockedProduct};
use domain::ids::ProductId;
use tokio::sync::Mutex;

/// Stock on the page may be so old. What is ordered is checked again.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Menu {
    /// Whoever holds the lock reads; the others wait for the same answer.
    read: Mutex<Option<(Instant, Products)>>,
}

pub type Products = Arc<Vec<StockedProduct>>;

impl Menu {
    pub async fn products(&self, stock: &impl Stock) -> Result<Products, Unavailable> {
        let mut read = self.read.lock().await;
        if let Some((at, products)) = read.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(products.clone());
        }
        let products = Arc::new(stock.products().await?);
        *read = Some((Instant::now(), products.clone()));
        Ok(products)
    }

    /// After a change by staff, who want to see it at once.
    pub async fn forget(&self) {
        *self.read.lock().await = None;
    }
}

pub fn find<'a>(products: &'a [StockedProduct], id: &ProductId) -> Option<&'a StockedProduct> {
    products.iter().find(|product| product.product.product_id == *id)
}
