//! What the customer saw before submitting an order, and how the order differs from that.

use domain::ids::ProductId;
use domain::order::{Item, Totals};
use strum::IntoStaticStr;

use super::Request;
use crate::ports::carts::version_of;

/// The total and the content that the customer saw before submitting the order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The total in minor units. `None` when the client did not send it.
    pub total_minor: Option<i64>,
    /// The version of the cart as [`version_of`] computes it, for an order of the cart's content.
    pub cart_version: Option<i64>,
    /// The lines. They only name the changes and do not decide whether there is one.
    pub lines: Vec<ShownLine>,
}

/// A line of the order as the customer saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownLine {
    pub product_id: ProductId,
    /// The quantity. `None` when only the price is known.
    pub quantity: Option<u32>,
    pub unit_price_minor: i64,
}

/// The reason why an order was not placed: its total or its content is not what the customer saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub differences: Vec<Difference>,
    /// The current amounts.
    pub totals: Totals,
    /// The current version of the cart, for an order of the cart's content.
    pub cart_version: Option<i64>,
}

/// One difference from the order that the customer saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: Differs,
    /// The id and the name of the product, for a difference in a line.
    pub product: Option<(ProductId, String)>,
    pub was: i64,
    pub now: i64,
}

/// The kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Differs {
    /// The total of the order, in minor units.
    Total,
    /// The version of the cart.
    CartVersion,
    /// The unit price of a line, in minor units.
    UnitPrice,
    /// The quantity of a line. 0 stands for a line that did not exist, or no longer exists.
    Quantity,
}

impl Differs {
    /// Returns the name of the kind in JSON.
    pub const fn code(self) -> &'static str {
        self.into_str()
    }
}

/// Returns the differences from the order that the customer saw. `None` when the total and the
/// version of the cart are equal or were not sent.
pub(super) fn changed(
    request: &Request,
    items: &[Item],
    totals: Totals,
    digest: fn(&[u8]) -> String,
) -> Option<Changed> {
    let expected = &request.expected;
    let cart_version = request
        .from_cart
        .then(|| version_of(&request.lines, digest));
    let of_order = |kind, was: Option<i64>, now: Option<i64>| {
        let (was, now) = (was?, now?);
        (was != now).then_some(Difference {
            kind,
            product: None,
            was,
            now,
        })
    };
    let total = of_order(
        Differs::Total,
        expected.total_minor,
        Some(totals.total.minor),
    );
    let cart = of_order(Differs::CartVersion, expected.cart_version, cart_version);
    let mut differences: Vec<_> = total.into_iter().chain(cart).collect();
    if differences.is_empty() {
        return None;
    }
    let shown_in_full = expected.lines.iter().any(|line| line.quantity.is_some());
    for item in items {
        let of_line = |kind, was, now| Difference {
            kind,
            product: Some((item.product_id.clone(), item.name.clone())),
            was,
            now,
        };
        let (price, quantity) = (item.unit_price.minor, i64::from(item.quantity.get()));
        let shown = expected
            .lines
            .iter()
            .find(|line| line.product_id == item.product_id);
        match shown {
            Some(shown) if shown.unit_price_minor != price => {
                differences.push(of_line(Differs::UnitPrice, shown.unit_price_minor, price));
            }
            Some(_) => {}
            None if shown_in_full => differences.push(of_line(Differs::Quantity, 0, quantity)),
            None => {}
        }
        match shown.and_then(|shown| shown.quantity).map(i64::from) {
            Some(was) if was != quantity => {
                differences.push(of_line(Differs::Quantity, was, quantity))
            }
            _ => {}
        }
    }
    for shown in &expected.lines {
        let gone = !items.iter().any(|item| item.product_id == shown.product_id);
        if let (true, Some(was)) = (gone, shown.quantity) {
            let product = Some((shown.product_id.clone(), shown.product_id.to_string()));
            differences.push(Difference {
                kind: Differs::Quantity,
                product,
                was: i64::from(was),
                now: 0,
            });
        }
    }
    Some(Changed {
        differences,
        totals,
        cart_version,
    })
}
