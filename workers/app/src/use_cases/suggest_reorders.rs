//! Suggests orders from suppliers, from the recent sales in the ledger of each product.

use domain::Timestamp;
use domain::hours::Hours;
use domain::reorder::{Policy, Sales, Suggestion, suggest};
use domain::stock::Movement;
use futures::future::try_join_all;
use time::Duration;

use crate::ports::ledger::{ENTRIES_MAX, Ledger};
use crate::ports::stock::{Catalogue, StockedProduct};
use crate::ports::{Source, StoreError};

/// The default length of the period of sales, in days.
pub const DAYS: u32 = 28;
/// The maximum length of the period of sales, in days.
pub const DAYS_MAX: u32 = 90;
/// Number of entries of one product after which reading stops, if they cover a week and a day of
/// opening hours. That many entries are enough for a suggestion.
const READ_ENOUGH: usize = 2_000;
/// Maximum number of entries of one product that are read, apart from the rest of the last page.
const READ_MAX: usize = 20_000;

/// A product with its sales and its suggestion.
#[derive(Debug, Clone, PartialEq)]
pub struct Reorder {
    pub product: StockedProduct,
    pub sales: Sales,
    pub suggestion: Suggestion,
}

/// Returns every product with its suggestion. Products to order come first, and then those whose
/// stock is used up first.
///
/// # Errors
/// [`StoreError`] when the products or the ledger cannot be read.
pub async fn suggest_reorders(
    stock: &(impl Catalogue + Ledger),
    source: &impl Source,
    hours: &Hours,
    days: u32,
) -> Result<Vec<Reorder>, StoreError> {
    let products = stock.products().await?;
    let each = products.into_iter().map(async |product| {
        let sales = sales(
            stock,
            source,
            hours,
            &product,
            Duration::days(i64::from(days)),
        )
        .await?;
        let suggestion = suggest(
            product.counters.available,
            product.low_stock_threshold,
            sales,
            Policy::HOUSE,
        );
        Ok::<_, StoreError>(Reorder {
            product,
            sales,
            suggestion,
        })
    });
    let mut reorders = try_join_all(each).await?;
    let left = |reorder: &Reorder| reorder.suggestion.days_left.unwrap_or(f64::INFINITY);
    reorders.sort_by(|a, b| {
        let urgent = (b.suggestion.quantity > 0).cmp(&(a.suggestion.quantity > 0));
        urgent.then(left(a).total_cmp(&left(b)))
    });
    Ok(reorders)
}

/// Returns the sales of a product in the period, or since its first ledger entry if that is later.
async fn sales(
    stock: &impl Ledger,
    source: &impl Source,
    hours: &Hours,
    product: &StockedProduct,
    back: Duration,
) -> Result<Sales, StoreError> {
    let now = source.now();
    let is_enough = |since: Timestamp| hours.open_between(since, now) >= hours.longest_day();
    // The changes are sorted from newest to oldest.
    let mut changes: Vec<(Timestamp, i64)> = Vec::new();
    let (mut since, mut read) = (now, 0);
    let mut before: Option<String> = None;
    'pages: loop {
        let page = stock
            .entries(&product.product.product_id, before.as_deref(), ENTRIES_MAX)
            .await?;
        let Some(last) = page.last() else { break };
        before = Some(last.entry_id.clone());
        for entry in &page {
            if entry.at < now - back {
                since = now - back;
                break 'pages;
            }
            since = entry.at;
            read += 1;
            match entry.movement {
                Movement::Confirm(sold) => changes.push((entry.at, i64::from(sold))),
                Movement::Return(given_back) => changes.push((entry.at, -i64::from(given_back))),
                Movement::Reserve(_)
                | Movement::Release(_)
                | Movement::Restock(_)
                | Movement::WriteOff(_)
                | Movement::WriteOn(_) => {}
            }
        }
        // Less than a week of entries would make the best week too low.
        if read >= READ_MAX
            || (read >= READ_ENOUGH && now - since >= Duration::WEEK && is_enough(since))
        {
            break;
        }
    }
    let units = changes.iter().map(|(_, units)| units).sum();
    // A whole day of opening hours counts as a day, even if less than 24 hours have passed.
    let days_open = hours.open_between(since, now) / (hours.longest_day() / Duration::DAY);
    let over = (now - since).max(days_open);
    Ok(Sales {
        units,
        over,
        is_enough: is_enough(since),
        best_week: best_week(&changes),
    })
}

/// Returns the largest number of units that were sold and not returned within seven days. `changes`
/// are sorted from newest to oldest.
fn best_week(changes: &[(Timestamp, i64)]) -> i64 {
    let (mut best, mut units, mut newest) = (0, 0, 0);
    for (at, change) in changes {
        units += change;
        while changes[newest].0 - *at >= Duration::WEEK {
            units -= changes[newest].1;
            newest += 1;
        }
        best = best.max(units);
    }
    best
}

#[cfg(test)]
mod tests {
    use domain::hours::{Opening, Zone};
    use domain::ids::OrderId;
    use futures::executor::block_on;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::fakes::stock::MemoryStock;
    use crate::laws::stock::{lines, product};
    use crate::ports::stock::Stock as _;

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

    fn always() -> Hours {
        Hours::always(Zone::utc())
    }

    fn sold(
        stock: &MemoryStock,
        id: &domain::ids::ProductId,
        units: u32,
        days_ago: i64,
    ) -> OrderId {
        let (order, at) = (OrderId(Uuid::now_v7()), NOW - Duration::days(days_ago));
        block_on(stock.reserve(order, &lines(&[(id, units)]), at, at + Duration::HOUR))
            .expect("held");
        block_on(stock.confirm(order, at + Duration::MINUTE)).expect("sold");
        order
    }

    #[test]
    fn products_with_sales_are_suggested_first() {
        let stock = MemoryStock::default();
        let (slow, quick, old) = (product("slow"), product("quick"), product("old"));
        for (product, units) in [(&slow, 50), (&quick, 60), (&old, 80)] {
            block_on(stock.add_product(product, units, 5, NOW - Duration::days(100)))
                .expect("added");
        }
        sold(&stock, &slow.product_id, 7, 3);
        sold(&stock, &old.product_id, 50, 40);
        for day in 1..=5 {
            sold(&stock, &quick.product_id, 10, day);
        }
        let returned = sold(&stock, &quick.product_id, 8, 2);
        block_on(stock.release(returned, NOW - Duration::DAY)).expect("given back");

        let suggested = block_on(suggest_reorders(&stock, &Clock, &always(), 7)).expect("read");
        let names: Vec<_> = suggested
            .iter()
            .map(|reorder| &reorder.product.product)
            .collect();
        assert_eq!(names, [&quick, &slow, &old], "most urgent first");
        let sales = Sales {
            units: 50,
            over: Duration::days(7),
            is_enough: true,
            best_week: 50,
        };
        assert_eq!(suggested[0].sales, sales);
        assert_eq!(
            suggested[0].suggestion.quantity, 50,
            "95 would last two weeks"
        );
        assert_eq!(suggested[1].suggestion.quantity, 0);
        assert_eq!(
            suggested[2].sales.units, 0,
            "what was sold before that does not count"
        );
    }

    #[test]
    fn a_new_product_is_measured_from_its_first_day() {
        let stock = MemoryStock::default();
        let new = product("new");
        block_on(stock.add_product(&new, 30, 5, NOW - Duration::days(2))).expect("added");
        sold(&stock, &new.product_id, 20, 1);
        let suggested = block_on(suggest_reorders(&stock, &Clock, &always(), DAYS)).expect("read");
        assert_eq!(
            (suggested[0].sales.units, suggested[0].sales.over),
            (20, Duration::days(2))
        );
        assert_eq!(suggested[0].suggestion.sold_per_day, 10.0);
    }

    #[test]
    fn less_than_a_day_of_sales_is_not_extrapolated() {
        let stock = MemoryStock::default();
        let new = product("new");
        // The shop opened at 9:00 in Berlin, an hour ago. The product was added the evening before.
        let day = Some(Opening::new(9 * 60, 17 * 60).expect("hours"));
        let hours = Hours {
            zone: Zone::parse("Europe/Berlin").expect("a zone"),
            week: [day; 7],
        };
        block_on(stock.add_product(&new, 8, 5, NOW - Duration::hours(10))).expect("added");
        let (order, at) = (OrderId(Uuid::now_v7()), NOW - Duration::minutes(4));
        block_on(stock.reserve(
            order,
            &lines(&[(&new.product_id, 7)]),
            at,
            at + Duration::HOUR,
        ))
        .expect("held");
        block_on(stock.confirm(order, at)).expect("sold");
        let suggested = |days| {
            block_on(suggest_reorders(&stock, &Clock, &hours, days))
                .expect("read")
                .remove(0)
        };
        assert!(!suggested(DAYS).sales.is_enough);
        assert_eq!(
            suggested(DAYS).suggestion.quantity,
            4,
            "up to the threshold, not 2,360"
        );
    }

    /// The whole week is read, even if it has many entries at its end. Sales that are projected
    /// from a part of a week would be wrong.
    #[test]
    fn many_small_sales_do_not_hide_older_sales() {
        let stock = MemoryStock::default();
        let busy = product("busy");
        block_on(stock.add_product(&busy, 10_000, 5, NOW - Duration::days(30))).expect("added");
        for days_ago in [10, 6] {
            sold(&stock, &busy.product_id, 90, days_ago);
        }
        // Each sale has two entries. All of them are within two days.
        for index in 0..READ_ENOUGH as i64 {
            sold(&stock, &busy.product_id, 1, 1 + index % 2);
        }
        let suggested = block_on(suggest_reorders(&stock, &Clock, &always(), DAYS)).expect("read");
        assert_eq!(suggested[0].sales.best_week, READ_ENOUGH as i64 + 90);
    }

    #[test]
    fn the_best_week_is_any_seven_consecutive_days() {
        let at = |days: i64, units| (NOW - Duration::days(days), units);
        assert_eq!(best_week(&[]), 0);
        assert_eq!(
            best_week(&[at(1, 5), at(6, 7), at(8, 20), at(9, -2)]),
            27,
            "7 and 20, before the two came back"
        );
    }
}
