//! What to order from the supplier, and how urgently: what was sold lately, carried on.

use time::Duration;

/// How far ahead the shop looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// A delivery takes so many days: who has less left than that orders today.
    pub lead_days: i64,
    /// A delivery is to last so many days.
    pub cover_days: i64,
}

impl Policy {
    /// A supplier who comes twice a week, and two weeks on the shelf.
    pub const HOUSE: Policy = Policy {
        lead_days: 4,
        cover_days: 14,
    };
}

/// What was sold of one product, and over which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sales {
    /// Sold and not given back.
    pub units: i64,
    pub over: Duration,
    /// Whether `over` has a whole day of opening hours: less says nothing about the next fortnight.
    pub is_enough: bool,
    /// Sold at most within seven days of it.
    pub best_week: i64,
}

/// What is known, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suggestion {
    pub sold_per_day: f64,
    /// Until nothing is left, if it goes on as it did; `None` when nothing was sold.
    pub days_left: Option<f64>,
    /// Units to order today; zero when what is there lasts until the next delivery.
    pub quantity: i64,
}

const DAY_S: i128 = 24 * 3600;

/// Orders when what is left does not outlast a delivery, or stands at its threshold.
///
/// With enough history: as much as the days to cover take, with the threshold on top, less what is
/// there, and at most what was sold in the best week, but always up to the threshold. With less
/// history: up to the threshold. A rush of four minutes is no forecast.
pub fn suggest(
    available: i64,
    low_stock_threshold: i64,
    sales: Sales,
    policy: Policy,
) -> Suggestion {
    let units = i128::from(sales.units.max(0));
    let over_s = i128::from(sales.over.max(Duration::DAY).whole_seconds());
    let there = i128::from(available.max(0));
    let to_threshold = (i128::from(low_stock_threshold.max(0)) - there).max(0);
    // there / (units / days) < lead, without a division that loses a unit.
    let runs_out = there * over_s < i128::from(policy.lead_days) * units * DAY_S;
    let quantity = if sales.is_enough && (runs_out || available <= low_stock_threshold) {
        let needed = divided_up(units * DAY_S * i128::from(policy.cover_days), over_s);
        let wanted = (needed + i128::from(low_stock_threshold.max(0)) - there).max(0);
        wanted
            .min(i128::from(sales.best_week.max(0)))
            .max(to_threshold)
    } else {
        to_threshold
    };
    let sold_per_day = units as f64 * DAY_S as f64 / over_s as f64;
    Suggestion {
        sold_per_day,
        days_left: (units > 0).then(|| there as f64 / sold_per_day),
        quantity: i64::try_from(quantity).unwrap_or(i64::MAX),
    }
}

/// Half a cup is a cup that somebody wants. Both are positive.
const fn divided_up(units: i128, by: i128) -> i128 {
    (units + by - 1) / by
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        lead_days: 4,
        cover_days: 14,
    };

    fn suggested(available: i64, units: i64, days: i64) -> Suggestion {
        let sales = Sales {
            units,
            over: Duration::days(days),
            is_enough: true,
            best_week: i64::MAX,
        };
        suggest(available, 5, sales, POLICY)
    }

    #[test]
    fn what_does_not_outlast_a_delivery_is_ordered_for_the_days_to_cover() {
        // Three a day: eleven last less than four days, and twelve just as long.
        let short = suggested(11, 84, 28);
        assert_eq!((short.sold_per_day, short.quantity), (3.0, 14 * 3 + 5 - 11));
        assert!(
            short
                .days_left
                .is_some_and(|days| (3.6..3.7).contains(&days))
        );
        assert_eq!(suggested(12, 84, 28).quantity, 0);
    }

    #[test]
    fn what_stands_at_its_threshold_is_filled_up_to_it_though_nobody_buys_it() {
        assert_eq!(
            suggested(5, 0, 28),
            Suggestion {
                sold_per_day: 0.0,
                days_left: None,
                quantity: 0
            }
        );
        assert_eq!(suggested(2, 0, 28).quantity, 3);
        assert_eq!(suggested(6, 0, 28).quantity, 0);
    }

    #[test]
    fn a_part_of_a_unit_is_a_unit() {
        assert_eq!(
            suggested(0, 1, 28).quantity,
            1 + 5,
            "half a unit in fourteen days"
        );
    }

    #[test]
    fn a_rush_is_no_forecast() {
        // Seven sold in four minutes: carried on, that is 2,520 a day.
        let rush = Sales {
            units: 7,
            over: Duration::minutes(4),
            is_enough: false,
            best_week: 7,
        };
        let after = suggest(3, 5, rush, POLICY);
        assert_eq!(
            (after.sold_per_day, after.quantity),
            (7.0, 2),
            "filled up to the threshold"
        );
        assert_eq!(suggest(20, 5, rush, POLICY).quantity, 0);
    }

    #[test]
    fn nobody_orders_more_than_was_sold_in_the_best_week() {
        let sales = |best_week| Sales {
            units: 84,
            over: Duration::days(28),
            is_enough: true,
            best_week,
        };
        assert_eq!(
            suggest(0, 5, sales(30), POLICY).quantity,
            30,
            "47 would last a fortnight"
        );
        assert_eq!(
            suggest(0, 5, sales(3), POLICY).quantity,
            5,
            "the threshold is filled up all the same"
        );
    }

    proptest! {
        #[test]
        fn more_on_the_shelf_never_means_a_larger_order(
            available in -5i64..1_000, units in -5i64..10_000, days in 1i64..90, threshold in -1i64..50,
        ) {
            let of = |available| {
                let sales = Sales { units, over: Duration::days(days), is_enough: days > 1, best_week: units / 2 };
                suggest(available, threshold, sales, POLICY).quantity
            };
            prop_assert!(of(available) >= of(available + 1));
            prop_assert!(of(available) >= 0);
        }
    }
}
