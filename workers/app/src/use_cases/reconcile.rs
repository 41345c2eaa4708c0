//! Compares orders, payments, the payment gateway's ledger, stock holds, stock counters and the
//! stock ledger.
//!
//! These records are stored in different places. Each use case writes them in an order in which all
//! agree when an order has settled. An order that is still being processed is therefore no
//! difference: its state awaits something, and it changed within [`MOVES_WITHIN`]. The records are
//! read one after the other while the shop stays open. A suspected difference is therefore dropped
//! when its order has changed since it was read.

mod difference;
mod find;
mod fix;

use std::collections::HashMap;
use std::time::Duration;

use domain::Timestamp;
use domain::ids::OrderId;
use domain::order::Order;
use domain::stock::Counters;

pub use difference::{Difference, Kind, Repair, Subject};
pub use find::find;
pub use fix::fix;

use crate::ports::gateway::{GatewayBooks, GatewayError, GatewayMovement};
use crate::ports::ledger::{ENTRIES_MAX, Hold, Ledger};
use crate::ports::orders::{OrderFilter, OrderStore, Payment, PaymentBooks};
use crate::ports::scope::Scope;
use crate::ports::stock::{Stock, StockedProduct};
use crate::ports::{Source, StoreError};

/// The actor of every repair, in the history of orders and in the stock ledger.
pub const ACTOR: &str = "reconcile";
/// Maximum time between two changes of an order that awaits something, including recovery from
/// faults. An order without a change for longer is overdue.
pub const MOVES_WITHIN: Duration = Duration::from_secs(60);
/// Number of orders that are read at once.
const PAGE: u32 = 200;
/// Maximum number of attempts to read the stock while no product changes. Products that changed in
/// every attempt are not compared with the ledger and the holds.
const LOOKS: u32 = 3;

/// A product with its counters according to the stock ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedProduct {
    pub product: StockedProduct,
    pub ledger: Counters,
    /// Whether the product changed while it was read. Its counters, its ledger and the holds are
    /// then from different times.
    pub moving: bool,
}

/// All records that are compared.
#[derive(Debug, Clone, Default)]
pub struct ComparedRecords {
    pub orders: Vec<Order>,
    pub payments: Vec<Payment>,
    pub gateway: Vec<GatewayMovement>,
    pub holds: Vec<Hold>,
    pub shelves: Vec<ComparedProduct>,
}

/// The result of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub orders: usize,
    /// Orders that are being processed, and orders that changed during the comparison.
    pub in_flight: usize,
    pub payments: usize,
    pub charges_and_refunds: usize,
    pub holds: usize,
    pub products: usize,
    /// Products that changed too often to be compared.
    pub moving: Vec<String>,
    pub differences: Vec<Difference>,
}

/// The reason why the records cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Unavailable(#[from] StoreError),
    #[error("the gateway's ledger cannot be read")]
    Gateway(#[from] GatewayError),
}

/// Reads all records and returns their differences. Changes nothing.
///
/// # Errors
/// [`ReconcileError`] when a store or the payment gateway's ledger cannot be read.
pub async fn reconcile(
    orders: &(impl OrderStore + PaymentBooks),
    gateway: &impl GatewayBooks,
    stock: &(impl Stock + Ledger),
    source: &impl Source,
) -> Result<Report, ReconcileError> {
    let books = read(orders, gateway, stock).await?;
    let now = source.now();
    let suspected = find(&books, now);
    let versions: HashMap<OrderId, i64> = books
        .orders
        .iter()
        .map(|order| (order.order_id, order.version))
        .collect();
    let mut report = Report {
        orders: books.orders.len(),
        in_flight: books
            .orders
            .iter()
            .filter(|order| on_its_way(order, now))
            .count(),
        payments: books.payments.len(),
        charges_and_refunds: books.gateway.len(),
        holds: books.holds.len(),
        products: books.shelves.len(),
        moving: Vec::new(),
        differences: Vec::new(),
    };
    for shelf in books.shelves.iter().filter(|shelf| shelf.moving) {
        report
            .moving
            .push(shelf.product.product.product_id.to_string());
    }
    let mut moved = Vec::new();
    for difference in suspected {
        if let Some(order_id) = difference.subject.order() {
            let version_now = orders
                .load(order_id)
                .await?
                .map(|stored| stored.order.version);
            if version_now != versions.get(&order_id).copied() {
                moved.push(order_id);
                continue;
            }
        }
        report.differences.push(difference);
    }
    moved.sort();
    moved.dedup();
    report.in_flight += moved.len();
    Ok(report)
}

/// Returns whether the order is being processed, and changed recently enough.
pub fn on_its_way(order: &Order, now: Timestamp) -> bool {
    !order.state.settled() && now < order.updated_at + MOVES_WITHIN
}

/// Reads all records, orders first. Every effect of a transition is written before the order
/// itself, so records that are read later than an order already contain it.
async fn read(
    orders: &(impl OrderStore + PaymentBooks),
    gateway: &impl GatewayBooks,
    stock: &(impl Stock + Ledger),
) -> Result<ComparedRecords, ReconcileError> {
    let mut books = ComparedRecords::default();
    let mut filter = OrderFilter {
        limit: PAGE,
        ..OrderFilter::default()
    };
    loop {
        let page = orders.list(&Scope::Everything, &filter).await?;
        let ids: Vec<OrderId> = page.iter().map(|order| order.order_id).collect();
        books.payments.extend(orders.payments(&ids).await?);
        filter.before = ids.last().copied();
        let ended = page.len() < PAGE as usize;
        books.orders.extend(page);
        if ended {
            break;
        }
    }
    books.gateway = gateway.movements().await?;
    for _ in 0..LOOKS {
        let before = stock.products().await?;
        books.holds = stock.holds().await?;
        let mut ledgers = Vec::with_capacity(before.len());
        for product in &before {
            ledgers.push(sum(stock, product).await?);
        }
        let after: HashMap<_, _> = stock
            .products()
            .await?
            .into_iter()
            .map(|product| (product.product.product_id.clone(), product.version))
            .collect();
        books.shelves = before
            .into_iter()
            .zip(ledgers)
            .map(|(product, ledger)| {
                let moving = after.get(&product.product.product_id) != Some(&product.version);
                ComparedProduct {
                    product,
                    ledger,
                    moving,
                }
            })
            .collect();
        if !books.shelves.iter().any(|shelf| shelf.moving) {
            break;
        }
    }
    Ok(books)
}

/// Returns the sum of a product's ledger entries.
async fn sum(stock: &impl Ledger, product: &StockedProduct) -> Result<Counters, StoreError> {
    let mut movements = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let page = stock
            .entries(&product.product.product_id, before.as_deref(), ENTRIES_MAX)
            .await?;
        let Some(last) = page.last() else {
            return Ok(Counters::of(movements));
        };
        before = Some(last.entry_id.clone());
        movements.extend(page.iter().map(|entry| entry.movement));
    }
}

#[cfg(test)]
mod tests;
