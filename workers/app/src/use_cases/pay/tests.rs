use futures::executor::block_on;

use super::*;
use crate::fakes::Noon;
use crate::fakes::orders::MemoryOrders;
use crate::laws::orders::new_order;
use crate::ports::scope::Scope;
use crate::use_cases::for_customers::{Charged, charged};

const MAKER: Maker = Maker {
    role: "payment-worker",
    version: "0",
    traceparent: None,
};

struct Straight<'a>(&'a MemoryOrders);

impl Apply for Straight<'_> {
    async fn apply_one(&self, change: Change) -> Result<Applied, StoreError> {
        self.0.apply(&[change]).await.pop().expect("an answer")
    }
}

/// A payment gateway that charges one minor unit too much.
struct Greedy;

fn more(amount: Money) -> ChargeOutcome {
    ChargeOutcome::Captured {
        charge_id: "ch_1".to_owned(),
        amount: Money::new(amount.minor + 1, amount.currency),
    }
}

impl Gateway for Greedy {
    async fn charge(
        &self,
        _: &str,
        _: OrderId,
        amount: Money,
        _: &str,
    ) -> Result<ChargeOutcome, GatewayError> {
        Ok(more(amount))
    }

    async fn charge_by_key(
        &self,
        _: &str,
        amount: Money,
    ) -> Result<Option<ChargeOutcome>, GatewayError> {
        Ok(Some(more(amount)))
    }

    async fn refund(&self, _: &str, _: &str, _: Money) -> Result<(), GatewayError> {
        Ok(())
    }
}

/// The customer's statement shows a charge and a refund, and the order must show the same.
#[test]
fn a_wrong_charge_is_refunded_and_reported_as_refunded() {
    block_on(async {
        let orders = MemoryOrders::default();
        let new = new_order();
        let (order_id, total) = (new.order.order_id, new.order.totals.total);
        orders
            .place(std::slice::from_ref(&new))
            .await
            .pop()
            .expect("an answer")
            .expect("placed");
        let message = Message::ChargeCard {
            amount_minor: total.minor,
            currency: total.currency.code().to_owned(),
        };
        // A second delivery, as after a crash between the two writes, changes nothing.
        for event in [EventId(Uuid::now_v7()), EventId(Uuid::now_v7())] {
            let envelope = MAKER.envelope_with(event, Noon.now(), Some(order_id), message.clone());
            pay(
                &orders,
                &Straight(&orders),
                &Greedy,
                &Noon,
                &MAKER,
                &envelope,
            )
            .await;
            let back = Money::new(total.minor + 1, total.currency);
            assert_eq!(
                charged(&orders, &Scope::Everything, order_id).await,
                Ok(Charged::Refunded(back))
            );
        }
        let charge = orders
            .payment(order_id, PaymentKind::Charge)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(charge.state, PaymentState::Declined, "the order ends");
    });
}
