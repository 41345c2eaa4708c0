//! Orders as customers and baristas see them: items, totals, status and history.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::address::DeliveryAddress;
use crate::cart::Quantity;
use crate::customer::Customer;
use crate::ids::{LocationId, OrderId, ProductId, TenantId};
use crate::money::{Money, MoneyError, TaxRate};
use crate::saga::State;
use crate::{FieldError, Timestamp};

pub use crate::status::{Status, Step};

/// How the order leaves the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum OrderType {
    Pickup,
    DineIn,
    Delivery,
}

crate::named_variants!(OrderType);

/// One product of an order, with its name and price when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub product_id: ProductId,
    pub name: String,
    pub quantity: Quantity,
    pub unit_price: Money,
}

impl Item {
    /// Returns the price of all units. [`Totals::of`] refused an order whose amounts overflow.
    pub fn total(&self) -> Money {
        let total = self.unit_price.times(self.quantity.get());
        total.unwrap_or(self.unit_price)
    }
}

/// The amounts of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub subtotal: Money,
    /// The tax rate of the location when the order was placed. Later changes of the rate do not
    /// affect the order.
    pub rate: TaxRate,
    pub tax: Money,
    pub total: Money,
}

impl Totals {
    /// Returns the sum of `items` and the location's tax on it. The tax is computed once, on the
    /// sum, and rounded half away from zero. Therefore the total does not depend on how an order is
    /// split into lines.
    ///
    /// # Errors
    /// A field error when there are no items, the items have different currencies, or an amount
    /// overflows.
    pub fn of(items: &[Item], rate: TaxRate) -> Result<Totals, FieldError> {
        let first = items
            .first()
            .ok_or_else(|| FieldError::new("items", "must have at least one product"))?;
        let add_up = || -> Result<Totals, MoneyError> {
            let mut subtotal = Money::zero(first.unit_price.currency);
            for item in items {
                subtotal = subtotal.plus(item.unit_price.times(item.quantity.get())?)?;
            }
            let tax = subtotal.tax(rate)?;
            Ok(Totals {
                subtotal,
                rate,
                tax,
                total: subtotal.plus(tax)?,
            })
        };
        add_up().map_err(|error| FieldError::new("items", error.to_string()))
    }
}

/// An order without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub order_id: OrderId,
    pub tenant_id: TenantId,
    pub location_id: LocationId,
    /// The number that the shop calls out, such as `A-047`.
    pub order_number: String,
    pub order_type: OrderType,
    pub customer: Customer,
    pub special_instructions: String,
    /// The address of a delivery. Deliveries from before the release that asks for addresses have
    /// none.
    pub delivery_address: Option<DeliveryAddress>,
    /// The pickup time that the customer chose.
    pub pickup_at: Option<Timestamp>,
    pub items: Vec<Item>,
    pub totals: Totals,
    /// The state of the saga.
    pub state: State,
    pub status: Status,
    /// The version, which each change increments by one. A writer passes the version that it read,
    /// so that no concurrent change is lost.
    pub version: i64,
    /// Why the order failed or was cancelled, in words for people.
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One change of status or step in the history of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The position in the history, counted from 1 without gaps.
    pub seq: i64,
    /// The previous status. `None` in the first entry.
    pub from: Option<Status>,
    pub to: Status,
    pub step: Step,
    /// The author of the change: the name of a role, `customer`, or the name of a member of staff.
    pub actor: String,
    pub note: Option<String>,
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::Currency;

    fn item(price: i64, quantity: u32) -> Item {
        Item {
            product_id: ProductId::parse("espresso").expect("a slug"),
            name: "Espresso".to_owned(),
            quantity: Quantity::new(quantity).expect("1 to 99"),
            unit_price: Money::new(price, Currency::Usd),
        }
    }

    #[test]
    fn the_total_is_the_lines_and_the_tax_on_their_sum() {
        let totals = Totals::of(&[item(333, 3), item(101, 1)], TaxRate::of_basis_points(887))
            .expect("adds up");
        assert_eq!(
            (totals.subtotal.minor, totals.tax.minor, totals.total.minor),
            (1_100, 98, 1_198)
        );
    }

    proptest! {
        #[test]
        fn tax_is_exact_however_the_order_is_written(
            prices in proptest::collection::vec((1i64..100_000, 1u32..=99), 1..20),
            millionths in 0u32..=500_000,
        ) {
            let rate = TaxRate::of_millionths(millionths);
            let items: Vec<_> = prices.iter().map(|(price, quantity)| item(*price, *quantity)).collect();
            let totals = Totals::of(&items, rate).expect("adds up");
            // The expected tax in whole millionths of a minor unit, rounded half up.
            let sum: i128 = prices.iter().map(|(price, quantity)| i128::from(*price) * i128::from(*quantity)).sum();
            let exact = sum * i128::from(millionths);
            let expected = exact / 1_000_000 + i128::from(exact % 1_000_000 >= 500_000);
            prop_assert_eq!(i128::from(totals.tax.minor), expected);
            prop_assert_eq!(i128::from(totals.total.minor), sum + expected);
            prop_assert_eq!(totals.rate, rate);
            // The total is the same when every unit has its own line, in reverse order.
            let one_by_one: Vec<_> =
                prices.iter().rev().flat_map(|(price, quantity)| (0..*quantity).map(|_| item(*price, 1))).collect();
            prop_assert_eq!(Totals::of(&one_by_one, rate), Ok(totals));
        }
    }

    #[test]
    fn an_empty_order_and_a_sum_past_counting_are_refused() {
        assert!(Totals::of(&[], TaxRate::of_millionths(0)).is_err());
        assert!(Totals::of(&[item(i64::MAX, 2)], TaxRate::of_millionths(0)).is_err());
    }

    #[test]
    fn staff_may_request_only_allowed_changes_of_status() {
        for status in Status::ALL {
            for next in Status::ALL {
                if status.may_become(next) && status != Status::Pending {
                    assert!(
                        next.set_by_staff().is_some(),
                        "nobody can move {status:?} to {next:?}"
                    );
                }
            }
        }
    }
}
