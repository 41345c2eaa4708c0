//! Orders at a constant rate, whether or not earlier orders have been answered.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::customer::{self, Answer};
use crate::shop::Shop;

/// Products that are ordered under load. Enough of each is restocked first.
const PRODUCTS: [&str; 6] = [
    "espresso",
    "flat-white",
    "cappuccino",
    "latte",
    "cold-brew",
    "house-tea",
];
/// Every tenth card is declined, so that compensation runs as well.
const DECLINED_EVERY: usize = 10;
/// How long a client repeats an order with the same idempotency key.
const PATIENCE: Duration = Duration::from_secs(30);

/// The responses to the customers.
#[derive(Debug, Default)]
pub struct Told {
    pub placed: Vec<customer::Placed>,
    pub refused: usize,
    pub unknown: Vec<String>,
}

/// Restocks 1000 units of each product.
///
/// # Errors
/// Returns an error if a product cannot be restocked.
pub async fn fill_shelves(shop: &Shop) -> anyhow::Result<()> {
    for product in PRODUCTS {
        customer::shelve(shop, product, 1_000).await?;
    }
    Ok(())
}

/// Places `rate` orders a second for a while. Returns when every customer has a final response or
/// has given up.
pub async fn orders(shop: &Shop, rate: f64, lasting: Duration) -> Told {
    let count = (rate * lasting.as_secs_f64()).round() as usize;
    let begun = Instant::now();
    let customers = (0..count).map(|index| async move {
        let due = begun + Duration::from_secs_f64(index as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let token = if index % DECLINED_EVERY == DECLINED_EVERY - 1 {
            "tok_declined"
        } else {
            "tok_ok"
        };
        customer::order(shop, PRODUCTS[index % PRODUCTS.len()], 1, token, PATIENCE).await
    });
    let mut told = Told::default();
    for answer in join_all(customers).await {
        match answer {
            Answer::Ok(placed) => told.placed.push(placed),
            Answer::Refused(_) => told.refused += 1,
            Answer::Unknown { email } => told.unknown.push(email),
        }
    }
    told
}
