//! Restores stock holds and sales that the local AWS lost when it was killed.
//!
//! The local AWS writes its state only when it stops cleanly. The database has every order, so the
//! stock counters and the stock holds can be restored from the orders.

use std::collections::BTreeMap;

use anyhow::Context as _;
use app::ports::Source;
use app::ports::ledger::HOLDS_SURELY_KEPT;
use app::ports::orders::{OrderFilter, OrderStore};
use app::ports::scope::Scope;
use app::ports::stock::{Adjusted, Adjustment, AdjustmentKind, Reservations, Reserved, Stock};
use app::use_cases::HOLD;
use app::use_cases::run_saga::lines_of;
use domain::ids::ProductId;
use domain::order::{Item, Order};
use domain::saga::State;
use serde_json::json;
use worker::stores::{Store, SystemSource};

use crate::audit::{Act, operator};

/// The result of a repair: how many orders were read and what was restored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Orders that were read.
    pub orders_seen: usize,
    /// Orders whose stock hold or sale the local AWS had lost.
    pub orders: usize,
    /// Units that were received again, because the local AWS had lost a delivery too.
    pub units: u32,
}

impl Repaired {
    /// Returns a line for people: `menu`, and what was restored if anything was.
    pub fn describe(&self, menu: String) -> String {
        if self.is_nothing() {
            return menu;
        }
        let units = if self.units == 0 {
            String::new()
        } else {
            format!(", {} units received again", self.units)
        };
        format!(
            "{menu}; restored the stock of {} orders that the local AWS had lost{units}",
            self.orders
        )
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
        let act = Act::new(&operator(), "stock.repair", "stock").after(&after);
        act.append(store).await
    }
}

/// Restores missing stock holds and sales, and records in the audit log what changed.
///
/// # Errors
/// When an order cannot be read or repaired, or the audit row cannot be written. Repairs that were
/// made before the failure are recorded.
pub async fn repair_and_record(
    store: &Store,
    stock: &(impl Stock + Reservations),
) -> anyhow::Result<Repaired> {
    let mut repaired = Repaired::default();
    let outcome = repair(store, stock, &SystemSource, &mut repaired).await;
    let recorded = repaired.record(store).await;
    outcome.and(recorded)?;
    Ok(repaired)
}

/// Reads all orders and restores their stock holds and sales where these are missing.
///
/// Lost messages need no repair here: the sweeper repeats overdue commands. `repaired` is
/// updated after each order, so its counts are correct after a failure too.
///
/// The stock hold of a sale is deleted [`HOLDS_KEPT`](app::ports::ledger::HOLDS_KEPT) after it
/// settled. A missing hold therefore does not prove that an old sale is missing. The function works
/// in two passes:
///
/// - The first pass repairs every order that is younger than `HOLDS_SURELY_KEPT`, and adds up the
///   units of all sold orders per product. The difference to the `sold` counter of a product is the
///   number of its missing units.
/// - The second pass repairs an old sale only if all its products have at least that many missing
///   units. Each repaired sale reduces the missing units.
///
/// # Errors
/// When the orders cannot be read, or the stock cannot be read or changed.
async fn repair(
    orders: &impl OrderStore,
    stock: &(impl Stock + Reservations),
    source: &impl Source,
    repaired: &mut Repaired,
) -> anyhow::Result<()> {
    let mut sold = BTreeMap::<ProductId, i64>::new();
    let is_old = |order: &Order| source.now() >= order.created_at + HOLDS_SURELY_KEPT;
    let mut pages = Pages::new(orders);
    while let Some(page) = pages.next().await? {
        for order in &page {
            repaired.orders_seen += 1;
            if order.state.is_sold() {
                for item in &order.items {
                    *sold.entry(item.product_id.clone()).or_default() +=
                        i64::from(item.quantity.get());
                }
            }
            if !is_old(order) {
                repair_one(order, stock, source, repaired).await?;
            }
        }
    }
    let mut missing = BTreeMap::new();
    for (product_id, sold) in sold {
        let known = stock
            .product(&product_id)
            .await?
            .map_or(sold, |product| product.counters.sold);
        missing.insert(product_id, sold - known);
    }
    if missing.values().all(|units| *units <= 0) {
        return Ok(());
    }
    let mut pages = Pages::new(orders);
    while let Some(page) = pages.next().await? {
        for order in page
            .iter()
            .filter(|order| is_old(order) && order.state.is_sold())
        {
            let units = |item: &Item| i64::from(item.quantity.get());
            let is_missing = |item: &Item| {
                missing
                    .get(&item.product_id)
                    .is_some_and(|left| *left >= units(item))
            };
            if !order.items.iter().all(is_missing) {
                continue;
            }
            let before = repaired.orders;
            repair_one(order, stock, source, repaired).await?;
            if repaired.orders > before {
                for item in &order.items {
                    *missing.entry(item.product_id.clone()).or_default() -= units(item);
                }
            }
        }
    }
    Ok(())
}

/// Reads all orders, newest first, one page at a time.
struct Pages<'a, O> {
    orders: &'a O,
    filter: OrderFilter,
    is_last: bool,
}

impl<O: OrderStore> Pages<'_, O> {
    const SIZE: u32 = 200;

    fn new(orders: &O) -> Pages<'_, O> {
        Pages {
            orders,
            filter: OrderFilter {
                limit: Self::SIZE,
                ..OrderFilter::default()
            },
            is_last: false,
        }
    }

    async fn next(&mut self) -> anyhow::Result<Option<Vec<Order>>> {
        if self.is_last {
            return Ok(None);
        }
        let page = self
            .orders
            .list(&Scope::Everything, &self.filter)
            .await
            .context("read the orders")?;
        self.is_last = page.len() < Self::SIZE as usize;
        self.filter.before = page.last().map(|order| order.order_id);
        Ok(Some(page))
    }
}

/// Restores the stock hold or the sale of one order, if its state needs one and it is missing.
///
/// If too few units are available, a delivery was lost as well. The function then receives the
/// missing units first. The movement id contains the order and the product, so a second run does
/// not receive the units again.
async fn repair_one(
    order: &Order,
    stock: &(impl Stock + Reservations),
    source: &impl Source,
    repaired: &mut Repaired,
) -> anyhow::Result<()> {
    let sold = match order.state {
        State::Confirmed | State::Preparing | State::Ready | State::Completed => true,
        State::Charging | State::Paid | State::AbandoningToCancel | State::AbandoningToFail => {
            false
        }
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
    // `reserve` returns `Held` for an existing hold too, so the hold must be read before.
    let was_held = !sold && stock.reservation(order_id).await?.is_some();
    let mut reserved = stock.reserve(order_id, &lines, now, now + HOLD).await?;
    if let Reserved::TooFew(_) = reserved {
        for line in &lines {
            let there = stock
                .product(&line.product_id)
                .await?
                .map_or(0, |product| product.counters.available);
            let short = i64::from(line.quantity.get()) - there;
            let Some(short) = u32::try_from(short).ok().filter(|short| *short > 0) else {
                continue;
            };
            let adjustment = Adjustment {
                movement_id: format!("repair-{order_id}-{}", line.product_id),
                product_id: line.product_id.clone(),
                change: AdjustmentKind::Restock(short),
                actor: "haven up".to_owned(),
                reason: format!("lost by the local AWS, sold to order {order_id}"),
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

#[cfg(test)]
mod tests {
    use app::fakes::orders::MemoryOrders;
    use app::fakes::stock::MemoryStock;
    use app::laws::orders::{new_order, step};
    use domain::Timestamp;
    use domain::menu::{Product, ProductType};
    use domain::money::{Currency, Money};
    use time::Duration;
    use uuid::Uuid;

    use super::*;

    struct Clock(Timestamp);

    impl Source for Clock {
        fn now(&self) -> Timestamp {
            self.0
        }

        fn uuid(&self) -> Uuid {
            Uuid::now_v7()
        }
    }

    /// Stocks fifty units of each product that `new_order` orders.
    async fn stock(now: Timestamp) -> MemoryStock {
        let stock = MemoryStock::default();
        for id in ["flat-white", "apple-cake"] {
            let product = Product {
                product_id: ProductId::parse(id).expect("a slug"),
                name: id.to_owned(),
                description: String::new(),
                kind: ProductType::Coffee,
                price: Money::new(420, Currency::Usd),
                image_url: String::new(),
            };
            stock
                .add_product(&product, 50, 2, now)
                .await
                .expect("added");
        }
        stock
    }

    async fn sold(stock: &MemoryStock) -> Vec<i64> {
        let products = stock.products().await.expect("read");
        products
            .into_iter()
            .map(|product| product.counters.sold)
            .collect()
    }

    #[tokio::test]
    async fn an_old_sale_is_restored_only_if_its_units_are_missing() {
        let orders = MemoryOrders::default();
        let mut created = None;
        for _ in 0..2 {
            let new = new_order();
            orders
                .place(std::slice::from_ref(&new))
                .await
                .pop()
                .expect("an answer")
                .expect("placed");
            orders
                .apply(&[step(&new, 1, State::Completed)])
                .await
                .pop()
                .expect("an answer")
                .expect("applied");
            created = Some(new.order.created_at);
        }
        let now = created.expect("two orders") + Duration::days(31);
        let repaired = async |stock: &MemoryStock| {
            let mut repaired = Repaired::default();
            repair(&orders, stock, &Clock(now), &mut repaired)
                .await
                .expect("repaired");
            repaired.orders
        };

        let forgotten = stock(now).await;
        assert_eq!(
            repaired(&forgotten).await,
            2,
            "the local AWS lost everything"
        );
        assert_eq!(sold(&forgotten).await, [4, 2]);
        assert_eq!(repaired(&forgotten).await, 0);

        forgotten.forget_settled_holds();
        assert_eq!(
            repaired(&forgotten).await,
            0,
            "the table deleted the holds because of their age"
        );
        assert_eq!(sold(&forgotten).await, [4, 2]);
    }
}
