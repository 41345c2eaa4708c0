//! Suggests how many units to order from the supplier, from recent sales.

use time::Duration;

/// The planning periods of a reorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Days until a delivery arrives. A product whose stock lasts less than that is ordered today.
    pub lead_days: i64,
    /// Days for which a delivery should last.
    pub cover_days: i64,
}

impl Policy {
    /// The default: a supplier who comes twice a week, and stock for two weeks.
    pub const HOUSE: Policy = Policy {
        lead_days: 4,
        cover_days: 14,
    };
}

/// The sales of one product in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sales {
    /// Units sold and not returned.
    pub units: i64,
    /// The length of the period.
    pub over: Duration,
    /// Whether the period contains at least a whole day of opening hours. Less is not enough for a
    /// forecast of two weeks.
    pub is_enough: bool,
    /// Units sold in the best seven days of the period.
    pub best_week: i64,
}

/// The sales rate of a product and the number of units to order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suggestion {
    /// Average number of units sold in a day.
    pub sold_per_day: f64,
    /// Days until the stock is used up at this rate. `None` when nothing was sold.
    pub days_left: Option<f64>,
    /// Units to order today. Zero when the stock lasts until the next delivery.
    pub quantity: i64,
}

const DAY_S: i128 = 24 * 3600;

/// Suggests an order when the stock does not last until a delivery arrives, or is at or below the
/// threshold.
///
/// With enough history, the quantity is the demand for `cover_days` plus the threshold minus the
/// available units. The quantity is limited to the sales of the best week, but always restores the
/// threshold. Without enough history, the quantity only restores the threshold, because a rush of a
/// few minutes is not a forecast.
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
    // Equivalent to `there / (units / days) < lead_days`, without the rounding of an integer
    // division.
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

/// Returns `units / by`, rounded up. `units` is not negative and `by` is positive.
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
    fn products_that_run_out_before_a_delivery_are_ordered() {
        // At three units a day, 11 units last less than four days and 12 units last exactly four.
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
    fn a_product_below_its_threshold_is_filled_up_even_without_sales() {
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
        // Seven units in four minutes would be 2,520 units a day.
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
    fn an_order_is_at_most_the_sales_of_the_best_week() {
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
