//! Texts for customers about orders that ended: the reason, and the state of the charge. Codes of
//! the payment gateway and notes of staff appear only in the order timeline.

use contract::role::Role;
use domain::ids::OrderId;
use domain::money::Money;
use domain::order::{HistoryEntry, Order, Status};

use super::change_order::{CANCELLED_BY_STAFF, CUSTOMER};
use super::pay::WRONG_AMOUNT;
use super::time_out::NOT_COLLECTED;
use crate::ports::StoreError;
use crate::ports::orders::{OrderStore, PaymentKind, PaymentState};
use crate::ports::scope::Scope;

/// The state of the customer's charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charged {
    /// Nothing was charged.
    Nothing,
    /// This amount was charged and is not refunded.
    Kept(Money),
    /// This amount is being refunded.
    BeingRefunded(Money),
    /// This amount was refunded.
    Refunded(Money),
}

impl Charged {
    /// Returns a sentence for the customer of an order that ended early.
    pub fn sentence(self) -> String {
        match self {
            Charged::Nothing => "Your card was not charged.".to_owned(),
            Charged::Kept(amount) => format!("Your card was charged {amount}."),
            Charged::BeingRefunded(amount) => format!("Your refund of {amount} is on its way."),
            Charged::Refunded(amount) => format!("We have refunded {amount} to your card."),
        }
    }
}

/// Returns the state of an order's charge. An order out of scope has [`Charged::Nothing`].
///
/// # Errors
/// [`StoreError`] when the payments cannot be read.
pub async fn charged(
    orders: &impl OrderStore,
    scope: &Scope,
    order_id: OrderId,
) -> Result<Charged, StoreError> {
    let Some(charge) = orders
        .payment_in(scope, order_id, PaymentKind::Charge)
        .await?
    else {
        return Ok(Charged::Nothing);
    };
    // A charge with a wrong amount has the state declined, and a refund.
    let refund = orders
        .payment_in(scope, order_id, PaymentKind::Refund)
        .await?;
    Ok(match (refund, charge.state) {
        (Some(refund), _) if refund.state == PaymentState::Refunded => {
            Charged::Refunded(refund.amount)
        }
        (Some(refund), _) => Charged::BeingRefunded(refund.amount),
        (None, PaymentState::Refunded) => Charged::Refunded(charge.amount),
        (None, PaymentState::Captured) => Charged::Kept(charge.amount),
        // The result of such a charge may be unknown. An order does not end before the result is
        // known.
        (None, PaymentState::Declined | PaymentState::Requested | PaymentState::Unknown) => {
            Charged::Nothing
        }
    })
}

/// Returns the reason why an order was cancelled or failed, as a sentence for the customer. Texts
/// that were written for staff are replaced or left out.
pub fn why_ended(order: &Order) -> String {
    let reason = order.reason.as_deref().unwrap_or_default();
    if let Some(code) = reason.strip_prefix("payment declined: ") {
        if code.contains(WRONG_AMOUNT) {
            return "Your card was charged a wrong amount, so we stopped your order.".to_owned();
        }
        // The code of the payment gateway, as it spells it.
        return match code.replace('_', " ").as_str() {
            "insufficient funds" => {
                "Your card does not have enough funds for this order.".to_owned()
            }
            _ => "Your card was declined.".to_owned(),
        };
    }
    if let Some(products) = reason.strip_prefix("sold out: ") {
        let gone = products.split(", ");
        let name = |id: &str| {
            order
                .items
                .iter()
                .find(|item| item.product_id.as_str() == id)
                .map(|item| &item.name)
        };
        let names: Vec<&str> = gone.filter_map(|id| name(id).map(String::as_str)).collect();
        return match names.as_slice() {
            [] => "Something in your order sold out before we could reserve it.".to_owned(),
            [one] => format!("{one} sold out before we could reserve it."),
            many => format!(
                "{} sold out before we could reserve them.",
                many.join(" and ")
            ),
        };
    }
    match reason {
        "cancelled by the customer" => "You cancelled it.",
        _ if reason.starts_with(CANCELLED_BY_STAFF) => "The shop had to cancel it.",
        _ if reason.starts_with("the hold on the stock") => {
            "Your payment took so long that your items were released."
        }
        "it took too long" => "The payment did not go through in time.",
        _ => "We could not complete it.",
    }
    .to_owned()
}

/// Returns the reason of an order for its customer in the API, without the notes of staff.
pub fn public_reason(reason: Option<&str>) -> Option<&str> {
    reason.map(|reason| {
        if reason.starts_with(CANCELLED_BY_STAFF) {
            CANCELLED_BY_STAFF
        } else {
            reason
        }
    })
}

/// Returns the note of a history entry for the customer: notes by roles, and none by staff.
pub fn public_note(entry: &HistoryEntry) -> Option<&str> {
    let ours = entry.actor == CUSTOMER || Role::by_slug(&entry.actor).is_some();
    entry.note.as_deref().filter(|_| ours)
}

/// Returns whether the order was completed because nobody collected it.
pub fn was_not_collected(order: &Order) -> bool {
    order.status == Status::Completed && order.reason.as_deref() == Some(NOT_COLLECTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::orders::MemoryOrders;
    use crate::laws::orders::new_order;
    use crate::ports::orders::{Change, Payment, PaymentChange};

    fn ended(reason: &str) -> Order {
        Order {
            status: Status::Failed,
            reason: Some(reason.to_owned()),
            ..new_order().order
        }
    }

    /// Covers every reason that this crate writes, with the texts that can follow it.
    #[test]
    fn no_code_and_no_note_of_staff_reaches_a_customer() {
        for (reason, words) in [
            (
                "payment declined: insufficient_funds",
                "Your card does not have enough funds for this order.",
            ),
            (
                "payment declined: insufficient funds",
                "Your card does not have enough funds for this order.",
            ),
            (
                "payment declined: do_not_honor_51",
                "Your card was declined.",
            ),
            (
                "payment declined: $9.99 were charged instead of $8.17, and refunded",
                "Your card was charged a wrong amount, so we stopped your order.",
            ),
            (
                "sold out: apple-cake",
                "Ana's \"Apfelkuchen\" 🍰 sold out before we could reserve it.",
            ),
            (
                "sold out: apple-cake, flat-white",
                "Ana's \"Apfelkuchen\" 🍰 and Flat white sold out before we could reserve them.",
            ),
            ("cancelled by the customer", "You cancelled it."),
            ("cancelled by staff", "The shop had to cancel it."),
            (
                "cancelled by staff: he shouted at Ben again",
                "The shop had to cancel it.",
            ),
            (
                "the hold on the stock had ended",
                "Your payment took so long that your items were released.",
            ),
            (
                "it took too long",
                "The payment did not go through in time.",
            ),
            ("E_4711", "We could not complete it."),
        ] {
            assert_eq!(why_ended(&ended(reason)), words, "{reason}");
        }
        assert_eq!(
            why_ended(&Order {
                reason: None,
                ..ended("")
            }),
            "We could not complete it."
        );
    }

    #[test]
    fn customers_do_not_get_notes_of_staff_from_the_api() {
        assert_eq!(
            public_reason(Some("cancelled by staff: he shouted")),
            Some("cancelled by staff")
        );
        assert_eq!(
            public_reason(Some("payment declined: x")),
            Some("payment declined: x")
        );
        let entry = |actor: &str| HistoryEntry {
            actor: actor.to_owned(),
            note: Some("a note".to_owned()),
            ..new_order().history
        };
        assert_eq!(public_note(&entry("Ben")), None);
        for actor in [CUSTOMER, "order-worker"] {
            assert_eq!(public_note(&entry(actor)), Some("a note"), "{actor}");
        }
    }

    #[test]
    fn a_refund_is_mentioned_only_after_a_charge() {
        futures::executor::block_on(async {
            let orders = MemoryOrders::default();
            let new = new_order();
            let (id, total) = (new.order.order_id, new.order.totals.total);
            orders
                .place(std::slice::from_ref(&new))
                .await
                .pop()
                .expect("an answer")
                .expect("placed");
            assert_eq!(
                charged(&orders, &Scope::Everything, id).await,
                Ok(Charged::Nothing),
                "requested and not charged yet"
            );
            let set = async |kind, expected, state| {
                let payment = Payment {
                    order_id: id,
                    kind,
                    amount: total,
                    state,
                    token: None,
                    charge_id: None,
                    reason: None,
                };
                let change = Change {
                    order: None,
                    payment: Some(PaymentChange { expected, payment }),
                    ..crate::laws::orders::step(&new, 1, domain::saga::State::Validated)
                };
                orders
                    .apply(&[change])
                    .await
                    .pop()
                    .expect("an answer")
                    .expect("applied");
                charged(&orders, &Scope::Everything, id)
                    .await
                    .expect("read")
            };
            let (charge, refund) = (PaymentKind::Charge, PaymentKind::Refund);
            let requested = Some(PaymentState::Requested);
            assert_eq!(
                set(charge, requested, PaymentState::Captured).await,
                Charged::Kept(total)
            );
            assert_eq!(
                set(refund, None, PaymentState::Requested).await,
                Charged::BeingRefunded(total)
            );
            assert_eq!(
                set(refund, requested, PaymentState::Refunded).await,
                Charged::Refunded(total)
            );
        });
    }
}
