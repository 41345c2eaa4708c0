//! The problems for the refusals of use cases and stores.

use app::ports::StoreError;
use app::ports::carts::CartError;
use app::use_cases::change_order::ChangeRefusal;
use app::use_cases::place_order::{Changed, Difference, Differs, Refusal, UnknownLine};
use domain::FieldError;
use domain::money::Money;

use super::body::Change;
use super::{Kind, Problem, RETRY_AFTER_S};
use crate::text::time_text;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        tracing::warn!(error = %error, "Answered 503");
        Problem::busy(
            RETRY_AFTER_S,
            "This is not possible at the moment. Please try again.",
        )
    }
}

impl From<CartError> for Problem {
    fn from(error: CartError) -> Problem {
        match error {
            CartError::Limit(error) => Problem::fields([error]),
            CartError::Unavailable(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Fields(errors) => Problem::fields(errors),
            Refusal::Key(errors) => Problem::malformed(
                "Idempotency-Key",
                "is required; send a new value for each order",
            )
            .naming(errors),
            Refusal::Pickup(refusal) => Problem::fields([refusal.field_error()]),
            Refusal::NotOnMenu(lines) => {
                Problem::fields(lines.iter().map(UnknownLine::field_error))
            }
            Refusal::SoldOut(products) => {
                let names: Vec<_> = products.iter().map(ToString::to_string).collect();
                let errors = names.iter().map(|name| {
                    FieldError::new("items", format!("{name} is sold out or has too few left"))
                });
                let detail = format!(
                    "Sold out or too few left: {}. Order fewer units.",
                    names.join(", ")
                );
                Problem::new(Kind::SoldOut, detail)
                    .naming(errors)
                    .with(|body| body.sold_out = names)
            }
            Refusal::SlotFull(starts_at) => Problem::new(
                Kind::SlotFull,
                "This pickup time is fully booked. Choose another time.",
            )
            .naming([FieldError::new(
                "pickup_at",
                "is fully booked: choose another time",
            )])
            .with(|body| body.slot = Some(time_text(starts_at))),
            Refusal::KeyReused => Problem::field(
                "Idempotency-Key",
                "was used for another request; use a new key for a new order",
            ),
            Refusal::ShopFull { retry_after_s } => Problem::busy(
                retry_after_s,
                "We have too many open orders right now. Please try again in a moment.",
            ),
            Refusal::Changed(changed) => price_changed(&changed),
            Refusal::Uncertain(error) => Problem::uncertain(
                &error,
                "We do not know yet whether the order was placed. Send the same request again with the same Idempotency-Key. \
                 The order is placed only once.",
            ),
            Refusal::Unavailable(error) => error.into(),
        }
    }
}

impl From<ChangeRefusal> for Problem {
    fn from(refusal: ChangeRefusal) -> Problem {
        match refusal {
            ChangeRefusal::NotFound => Problem::no_such_order(),
            ChangeRefusal::Stale(now) => {
                let detail = format!(
                    "{} changed the order after you read it. Its status is now {}, its version {}. Read the order again.",
                    now.by.as_deref().unwrap_or("Somebody else"),
                    now.status.code(),
                    now.version
                );
                Problem::new(Kind::Stale, detail).with(|body| {
                    body.version = Some(now.version);
                    body.order_status = Some(now.status.code());
                    body.changed_by = Some(now.by);
                })
            }
            ChangeRefusal::Illegal { from, to } => Problem::new(
                Kind::IllegalTransition,
                format!(
                    "An order with the status {} cannot change to {}.",
                    from.code(),
                    to.code()
                ),
            ),
            ChangeRefusal::Unavailable(error) => Problem::uncertain(
                &error,
                "We do not know whether the order was changed. Read the order, and repeat the change if necessary.",
            ),
        }
    }
}

/// Returns 409 with the new total and each difference from the offer that the customer saw.
fn price_changed(changed: &Changed) -> Problem {
    let totals = changed.totals;
    let changes = changed.differences.iter().map(|difference| {
        let (product_id, name) = difference.product.clone().unzip();
        Change {
            kind: difference.kind.code(),
            was: difference.was,
            now: difference.now,
            product_id: product_id.map(|id| id.to_string()),
            name,
        }
    });
    let errors = changed.differences.iter().filter_map(|difference| {
        let field = match difference.kind {
            Differs::Total => "expected_total_minor",
            Differs::CartVersion => "cart_version",
            Differs::UnitPrice | Differs::Quantity => return None,
        };
        Some(FieldError::new(
            field,
            format!("is now {}, not {}", difference.now, difference.was),
        ))
    });
    let next = match totals.total.minor {
        0 => "your cart is empty".to_owned(),
        _ => format!("order again to accept {}", totals.total),
    };
    let detail = format!(
        "{} No order was placed: {next}.",
        what_changed(changed).join(" ")
    );
    Problem::new(Kind::PriceChanged, detail)
        .naming(errors)
        .with(|body| {
            body.changes = changes.collect();
            body.subtotal_minor = Some(totals.subtotal.minor);
            body.tax_minor = Some(totals.tax.minor);
            body.total_minor = Some(totals.total.minor);
            body.currency = Some(totals.total.currency.code());
            body.cart_version = changed.cart_version;
        })
}

/// Returns one sentence per difference, for people.
pub fn what_changed(changed: &Changed) -> Vec<String> {
    let money = |minor| Money::new(minor, changed.totals.total.currency);
    let sentence = |difference: &Difference| {
        let (was, now) = (difference.was, difference.now);
        let name = difference
            .product
            .as_ref()
            .map_or("", |(_, name)| name.as_str());
        match (difference.kind, was, now) {
            (Differs::Total, ..) => {
                format!("The total changed from {} to {}.", money(was), money(now))
            }
            (Differs::CartVersion, ..) => {
                "Your cart has changed since you opened this page.".to_owned()
            }
            (Differs::UnitPrice, ..) => {
                format!("{name} now costs {}, not {}.", money(now), money(was))
            }
            (Differs::Quantity, 0, now) => format!("{now} × {name} was added to your cart."),
            (Differs::Quantity, _, 0) => format!("{name} is no longer in your cart."),
            (Differs::Quantity, was, now) => {
                format!("Your cart now has {now} × {name}, not {was}.")
            }
        }
    };
    changed.differences.iter().map(sentence).collect()
}
