//! What the local AWS forgot when it was killed: it writes its state on a clean stop only. The database did not forget.

use anyhow::Context as _;
use app::ports::Source;
use app::ports::orders::{OrderFilter, OrderStore};
use app::ports::scope::Scope;
use app::ports::stock::{Adjusted, Adjustment, AdjustmentKind, Reservations, Reserved, Stock};
use app::use_cases::HOLD;
use app::use_cases::run_saga::lines_of;
use domain::order::Order;
use domain::saga::State;
use serde_json::json;
use worker::stores::{Store, SystemSource};

use crate::operate::audit;

/// What was found missing, and put back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    pub orders_seen: usize,
    /// Orders whose hold or sale of stock the local AWS had forgotten.
    pub orders: usize,
    /// Units that had to be received again, because a delivery was forgotten too.
    pub units: u32,
}

impl Repaired {
    pub fn describe(&self, menu: String) -> String {
        if self.is_nothing() {
            return menu;
        }
        let units = if self.units == 0 { String::new() } else { format!(", {} units received again", self.units) };
        format!("{menu}; the local AWS had forgotten the stock of {} orders: put back{units}", self.orders)
    }

    fn is_nothing(&self) -> bool {
        self.orders == 0 && self.units == 0
    }

    /// Records the repair in the audit log. A repair that changed nothing adds no row.
    async fn record(&self, store: &Store) -> anyhow::Result<()> {
        if self.is_nothing() {
            return Ok(());
        }
        let after = json!({ "orders": self.orders, "units_received": self.units });
        audit::append(store, &audit::operator(), "stock.repair", "stock".to_owned(), None, Some(after)).await
    }
}

/// Makes missing holds and sales of stock again, and records in the audit log what changed.
///
/// # Errors
/// When an order cannot be read or repaired, or the database does not take the audit row. The repairs that were made before
/// the failure are recorded.
pub async fn repair_and_record(store: &Store, stock: &(impl Stock + Reservations)) -> anyhow::Result<Repaired> {
    let mut repaired = Repaired::default();
    let outcome = repair(store, stock, &SystemSource, &mut repaired).await;
    let recorded = repaired.record(store).await;
    outcome.and(recorded)?;
    Ok(repaired)
}

/// Goes through all orders and makes their holds and sales of stock again where they are missing. Messages that were
/// forgotten need nothing here: the sweeper asks again. `repaired` counts along, so that it holds after a failure too.
///
/// # Errors
/// When the orders cannot be read, or the stock cannot be read or changed.
async fn repair(
    orders: &impl OrderStore,
    stock: &(impl Stock + Reservations),
    source: &impl Source,
    repaired: &mut Repaired,
) -> anyhow::Result<()> {
    const PAGE: u32 = 200;
    let mut filter = OrderFilter { limit: PAGE, ..OrderFilter::default() };
    loop {
        let page = orders.list(&Scope::Everything, &filter).await.context("read the orders")?;
        for order in &page {
            repaired.orders_seen += 1;
            repair_one(order, stock, source, repaired).await?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => filter.before = Some(last.order_id),
            _ => return Ok(()),
        }
    }
}

async fn repair_one(
    order: &Order,
    stock: &(impl Stock + Reservations),
    source: &impl Source,
    repaired: &mut Repaired,
) -> anyhow::Result<()> {
    let sold = match order.state {
        State::Confirmed | State::Preparing | State::Ready | State::Completed => true,
        State::Charging | State::Paid | State::AbandoningToCancel | State::AbandoningToFail => false,
        State::Placed
        | State::Validated
        | State::RefundingToCancel
        | State::RefundingToFail
        | State::ReleasingToCancel
        | State::ReleasingToFail
        | State::Cancelled
        | State::Failed => return Ok(()),
    };
    let lines = lines_of(order).context("read an order's items")?;
    let (order_id, now) = (order.order_id, source.now());
    // `reserve` returns `Held` for an existing hold too, so only this look tells whether the hold was missing.
    let was_held = !sold && stock.reservation(order_id).await?.is_some();
    let mut reserved = stock.reserve(order_id, &lines, now, now + HOLD).await?;
    if let Reserved::TooFew(_) = reserved {
        for line in &lines {
            let there = stock.product(&line.product_id).await?.map_or(0, |product| product.counters.available);
            let short = i64::from(line.quantity.get()) - there;
            let Some(short) = u32::try_from(short).ok().filter(|short| *short > 0) else { continue };
            let adjustment = Adjustment {
                movement_id: format!("repair-{order_id}-{}", line.product_id),
                product_id: line.product_id.clone(),
                change: AdjustmentKind::Restock(short),
                actor: "haven up".to_owned(),
                reason: format!("forgotten by the local AWS, sold to order {order_id}"),
                at: now,
            };
            if let Adjusted::Now(_) = stock.adjust(&adjustment).await? {
                repaired.units += short;
            }
        }
        reserved = stock.reserve(order_id, &lines, now, now + HOLD).await?;
    }
    if reserved == Reserved::Held && !was_held {
        repaired.orders += 1;
        if sold {
            stock.confirm(order_id, now).await?;
        }
    }
    Ok(())
}
