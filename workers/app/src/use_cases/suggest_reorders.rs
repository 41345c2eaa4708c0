//! What to order from suppliers: each product's sales of late, from its ledger, carried on.

use domain::reorder::{Policy, Sales, Suggestion, suggest};
use domain::stock::Movement;
use futures::future::try_join_all;
use time::Duration;

use crate::ports::ledger::{ENTRIES_MAX, Ledger};
use crate::ports::stock::{Stock, StockedProduct};
use crate::ports::{Source, Unavailable};

/// How far back sales are looked at unless somebody asks otherwise, and at most.
pub const DAYS: u32 = 28;
pub const DAYS_MAX: u32 = 90;
/// Entries read of one product. Who sells more has them in fewer days, and as many sales say as much about a day.
const READ_MAX: usize = 2_000;

#[derive(Debug, Clone, PartialEq)]
pub struct Reorder {
    pub product: StockedProduct,
    pub sales: Sales,
    pub suggestion: Suggestion,
}

/// Every product with its suggestion, most urgent first: what is to be ordered, then by the days left.
pub async fn suggest_reorders(
    stock: &(impl Stock + Ledger),
    source: &impl Source,
    days: u32,
) -> Result<Vec<Reorder>, Unavailable> {
    let products = stock.products().await?;
    let each = products.into_iter().map(async |product| {
        let sales = sales(stock, source, &product, Duration::days(i64::from(days))).await?;
        let suggestion = suggest(product.counters.available, product.low_stock_threshold, sales, Policy::HOUSE);
        Ok::<_, Unavailable>(Reorder { product, sales, suggestion })
    });
    let mut reorders = try_join_all(each).await?;
    let left = |reorder: &Reorder| reorder.suggestion.days_left.unwrap_or(f64::INFINITY);
    reorders.sort_by(|a, b| {
        let urgent = (b.suggestion.quantity > 0).cmp(&(a.suggestion.quantity > 0));
        urgent.then(left(a).total_cmp(&left(b)))
    });
    Ok(reorders)
}

/// What was sold since then, or since the product's first day in the shop if that is later.
async fn sales(
    stock: &impl Ledger,
    source: &impl Source,
    product: &StockedProduct,
    back: Duration,
) -> Result<Sales, Unavailable> {
    let now = source.now();
    let (mut units, mut since, mut read) = (0, now, 0);
    let mut before: Option<String> = None;
    loop {
        let page = stock.entries(&product.product.product_id, before.as_deref(), ENTRIES_MAX).await?;
        let Some(last) = page.last() else { return Ok(Sales { units, over: now - since }) };
        before = Some(last.entry_id.clone());
        for entry in &page {
            if entry.at < now - back {
                return Ok(Sales { units, over: back });
            }
            since = entry.at;
            read += 1;
            match entry.movement {
                Movement::Confirm(sold) => units += i64::from(sold),
                Movement::Return(given_back) => units -= i64::from(given_back),
                Movement::Reserve(_)
                | Movement::Release(_)
                | Movement::Restock(_)
                | Movement::WriteOff(_)
                | Movement::WriteOn(_) => {}
            }
        }
        if read >= READ_MAX {
            return Ok(Sales { units, over: now - since });
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::ids::OrderId;
    use futures::executor::block_on;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::fakes::stock::MemoryStock;
    use crate::laws::stock::{lines, product};

    const NOW: Timestamp = datetime!(2026-03-29 08:00 UTC);

    struct Clock;

    impl Source for Clock {
        fn now(&self) -> Timestamp {
            NOW
        }

        fn uuid(&self) -> Uuid {
            Uuid::now_v7()
        }
    }

    fn sold(stock: &MemoryStock, id: &domain::ids::ProductId, units: u32, days_ago: i64) -> OrderId {
        let (order, at) = (OrderId(Uuid::now_v7()), NOW - Duration::days(days_ago));
        block_on(stock.reserve(order, &lines(&[(id, units)]), at, at + Duration::HOUR)).expect("held");
        block_on(stock.confirm(order, at + Duration::MINUTE)).expect("sold");
        order
    }

    #[test]
    fn what_sells_is_ordered_before_what_does_not() {
        let stock = MemoryStock::default();
        let (slow, quick, old) = (product("slow"), product("quick"), product("old"));
        for (product, units) in [(&slow, 50), (&quick, 60), (&old, 80)] {
            block_on(stock.add_product(product, units, 5, NOW - Duration::days(100))).expect("added");
        }
        sold(&stock, &slow.product_id, 7, 3);
        sold(&stock, &old.product_id, 50, 40);
        for day in 1..=5 {
            sold(&stock, &quick.product_id, 10, day);
        }
        let returned = sold(&stock, &quick.product_id, 8, 2);
        block_on(stock.release(returned, NOW - Duration::DAY)).expect("given back");

        let suggested = block_on(suggest_reorders(&stock, &Clock, 7)).expect("read");
        let names: Vec<_> = suggested.iter().map(|reorder| &reorder.product.product).collect();
        assert_eq!(names, [&quick, &slow, &old], "most urgent first");
        assert_eq!(suggested[0].sales, Sales { units: 50, over: Duration::days(7) });
        assert_eq!(suggested[0].suggestion.quantity, 100 + 5 - 10, "two weeks at fifty a week");
        assert_eq!(suggested[1].suggestion.quantity, 0);
        assert_eq!(suggested[2].sales.units, 0, "what was sold before that does not count");
    }

    #[test]
    fn a_new_product_is_measured_from_its_first_day() {
        let stock = MemoryStock::default();
        let new = product("new");
        block_on(stock.add_product(&new, 30, 5, NOW - Duration::days(2))).expect("added");
        sold(&stock, &new.product_id, 20, 1);
        let suggested = block_on(suggest_reorders(&stock, &Clock, DAYS)).expect("read");
        assert_eq!(suggested[0].sales, Sales { units: 20, over: Duration::days(2) });
        assert_eq!(suggested[0].suggestion.sold_per_day, 10.0);
    }
}
