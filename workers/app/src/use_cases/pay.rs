//! Charges and refunds cards, for the payment worker. Each order is charged and refunded at most
//! once.
//!
//! The charge is stored as `Requested` in the transaction that places the order. Every call to the
//! payment gateway for it uses one idempotency key, so a repeated call does not charge again. When
//! a call gets no answer, the charge becomes `Unknown`. The next delivery of the message then looks
//! up the result of the charge before it makes any other call. The result is stored and sent to the
//! saga in one transaction. A crash before that transaction only causes another delivery, which
//! finds the same result.

use contract::cause::chain;
use contract::messages::{Envelope, Message, PaymentFailure};
use domain::ids::{EventId, OrderId};
use domain::money::Money;
use uuid::Uuid;

use super::run_saga::Apply;
use super::{CONFLICTS_MAX, Handled, Maker};
use crate::ports::gateway::{ChargeOutcome, Gateway, GatewayError};
use crate::ports::orders::{
    Applied, Change, OrderStore, Payment, PaymentChange, PaymentKind, PaymentState,
};
use crate::ports::{Source, StoreError};

/// Part of the reason of a charge with a wrong amount, between the charged amount and the amount
/// due.
pub(super) const WRONG_AMOUNT: &str = "were charged instead of";

/// Handles one message of the `payments` queue.
pub async fn pay(
    orders: &impl OrderStore,
    applier: &impl Apply,
    gateway: &impl Gateway,
    source: &impl Source,
    maker: &Maker,
    envelope: &Envelope,
) -> Handled {
    let Some(order_id) = envelope.order_id else {
        return Handled::park("no order id in a message about a payment");
    };
    let worker = Worker {
        orders,
        applier,
        gateway,
        source,
        maker,
        order_id,
        event_id: envelope.event_id,
    };
    for _ in 0..CONFLICTS_MAX {
        let outcome = match &envelope.message {
            Message::ChargeCard { .. } => worker.charge().await,
            Message::RefundCard { .. } => worker.refund().await,
            Message::ReserveStock {}
            | Message::ReleaseStock {}
            | Message::OrderCreated { .. }
            | Message::InventoryReserved { .. }
            | Message::PaymentCompleted { .. }
            | Message::PaymentFailed { .. }
            | Message::PaymentRefunded { .. }
            | Message::OrderStatusChanged { .. }
            | Message::OrderShipped { .. }
            | Message::OrderOverdue { .. }
            | Message::StockLevelReached { .. } => return Handled::park_misrouted(envelope),
        };
        match outcome {
            Ok(Applied::Applied) => return Handled::done(),
            Ok(Applied::Duplicate) => return Handled::duplicate(),
            Ok(Applied::Conflict) => continue,
            Err(handled) => return handled,
        }
    }
    Handled::retry("the payment keeps changing")
}

/// The dependencies and the message of one call of [`pay`].
struct Worker<'a, O, A, G, S> {
    orders: &'a O,
    applier: &'a A,
    gateway: &'a G,
    source: &'a S,
    maker: &'a Maker,
    order_id: OrderId,
    event_id: EventId,
}

impl<O: OrderStore, A: Apply, G: Gateway, S: Source> Worker<'_, O, A, G, S> {
    /// Charges the card, or reports the result of the earlier charge again.
    async fn charge(&self) -> Result<Applied, Handled> {
        let charge = self.intent().await?;
        let key = format!("charge:{}", self.order_id);
        match charge.state {
            // The command was sent again, so the result is sent again.
            PaymentState::Captured | PaymentState::Declined => {
                return self.settle(&charge, charge.clone()).await;
            }
            PaymentState::Refunded => return Ok(Applied::Duplicate),
            PaymentState::Requested | PaymentState::Unknown => {}
        }
        let mut outcome = Ok(None);
        if charge.state == PaymentState::Unknown {
            outcome = self.gateway.charge_by_key(&key, charge.amount).await;
        }
        let outcome = match outcome {
            Ok(Some(known)) => Ok(known),
            // The gateway never received the charge. The call uses the same key, so a lost request
            // that arrives late does not cause a second charge.
            Ok(None) => {
                let token = charge.token.as_deref().unwrap_or_default();
                self.gateway
                    .charge(&key, self.order_id, charge.amount, token)
                    .await
            }
            Err(error) => Err(error),
        };
        let settled = match outcome {
            Ok(ChargeOutcome::Captured { charge_id, amount }) => {
                // The amount is validated like any input. A charge with a wrong amount is refunded,
                // and the order fails.
                if amount != charge.amount {
                    self.refund_charge(&charge_id, amount).await?;
                    // The customer's statement shows the charge and the refund. Both are stored,
                    // with the amount that was charged.
                    let refunded = charge.refund(PaymentState::Refunded, &charge_id, amount);
                    self.remember(None, refunded).await?;
                    let reason = format!("{amount} {WRONG_AMOUNT} {}, and refunded", charge.amount);
                    let wrong = Payment {
                        state: PaymentState::Declined,
                        charge_id: Some(charge_id),
                        reason: Some(reason),
                        ..charge.clone()
                    };
                    return self.settle(&charge, wrong).await;
                }
                Payment {
                    state: PaymentState::Captured,
                    charge_id: Some(charge_id),
                    ..charge.clone()
                }
            }
            Ok(ChargeOutcome::Declined { charge_id, reason }) => Payment {
                state: PaymentState::Declined,
                charge_id: Some(charge_id),
                reason: Some(reason),
                ..charge.clone()
            },
            Err(GatewayError::Unknown(why)) => {
                if charge.state == PaymentState::Requested {
                    let unknown = Payment {
                        state: PaymentState::Unknown,
                        ..charge.clone()
                    };
                    self.remember(Some(charge.state), unknown).await?;
                }
                return Err(Handled::retry(format!(
                    "the charge's outcome is unknown: {}",
                    chain(&why)
                )));
            }
            Err(GatewayError::Unavailable(why)) => {
                return Err(Handled::retry(chain(&why)));
            }
            // The gateway rejected the request and charged nothing. The order fails instead of
            // waiting forever.
            Err(GatewayError::Refused(why)) => Payment {
                state: PaymentState::Declined,
                reason: Some(chain(&why)),
                ..charge.clone()
            },
        };
        self.settle(&charge, settled).await
    }

    /// Refunds a charge at the payment gateway.
    async fn refund_charge(&self, charge_id: &str, amount: Money) -> Result<(), Handled> {
        match self
            .gateway
            .refund(&format!("refund:{}", self.order_id), charge_id, amount)
            .await
        {
            Ok(()) => Ok(()),
            Err(GatewayError::Unknown(why) | GatewayError::Unavailable(why)) => {
                Err(Handled::retry(chain(&why)))
            }
            // The customer must get the money back, and only a person can arrange it now.
            Err(GatewayError::Refused(why)) => Err(Handled::park(chain(&why))),
        }
    }

    /// Stores the result of a charge and sends it to the saga, in one transaction.
    async fn settle(&self, read: &Payment, settled: Payment) -> Result<Applied, Handled> {
        let currency = settled.amount.currency.code().to_owned();
        let message = match settled.state {
            PaymentState::Captured => Message::PaymentCompleted {
                payment_id: settled.charge_id.clone().unwrap_or_default(),
                amount_minor: settled.amount.minor,
                currency,
                status: settled.state.code().to_owned(),
            },
            // Callers pass only charges with a result. Any other state counts as a failure, because
            // the money is not certain.
            PaymentState::Declined
            | PaymentState::Requested
            | PaymentState::Unknown
            | PaymentState::Refunded => {
                Message::PaymentFailed {
                    reason: settled
                        .reason
                        .clone()
                        .unwrap_or_else(|| "declined".to_owned()),
                    // A charge that the gateway rejected has no id there.
                    cause: if settled.charge_id.is_some() {
                        PaymentFailure::Declined
                    } else {
                        PaymentFailure::Refused
                    },
                }
            }
        };
        let payment = Some(PaymentChange {
            expected: Some(read.state),
            payment: settled,
        });
        Ok(self.apply(self.event_id, payment, vec![message]).await?)
    }

    /// Refunds the charge, or reports that nothing was charged.
    async fn refund(&self) -> Result<Applied, Handled> {
        let charge = self.intent().await?;
        let charge_id = match (charge.state, &charge.charge_id) {
            (PaymentState::Captured, Some(charge_id)) => charge_id.clone(),
            (PaymentState::Declined, _) => {
                // Nothing was charged, so the refund is zero.
                let message = self.refunded(String::new(), Money::zero(charge.amount.currency));
                return Ok(self.apply(self.event_id, None, vec![message]).await?);
            }
            // A captured charge without an id cannot be refunded before its id is known.
            (
                PaymentState::Captured
                | PaymentState::Requested
                | PaymentState::Unknown
                | PaymentState::Refunded,
                _,
            ) => {
                return Err(Handled::retry("the charge has no outcome yet"));
            }
        };
        let refund = match self
            .orders
            .payment(self.order_id, PaymentKind::Refund)
            .await?
        {
            Some(refund) => refund,
            None => {
                let wanted = charge.refund(PaymentState::Requested, &charge_id, charge.amount);
                let change = Some(PaymentChange {
                    expected: None,
                    payment: wanted.clone(),
                });
                // On a conflict, another delivery inserted an identical row first.
                self.apply(EventId(self.source.uuid()), change, Vec::new())
                    .await?;
                wanted
            }
        };
        if refund.state != PaymentState::Refunded {
            self.refund_charge(&charge_id, refund.amount).await?;
        }
        let message = self.refunded(charge_id, refund.amount);
        let done = Payment {
            state: PaymentState::Refunded,
            ..refund.clone()
        };
        let change = Some(PaymentChange {
            expected: Some(refund.state),
            payment: done,
        });
        Ok(self.apply(self.event_id, change, vec![message]).await?)
    }

    /// Returns the charge of the order, which was stored when the order was placed.
    async fn intent(&self) -> Result<Payment, Handled> {
        let charge = self
            .orders
            .payment(self.order_id, PaymentKind::Charge)
            .await?;
        charge
            .ok_or_else(|| Handled::park(format!("order {} has no charge to make", self.order_id)))
    }

    /// Stores an intermediate state under a new event id, so that the message itself can still be
    /// applied. When another delivery stored its state first, that state is kept.
    async fn remember(
        &self,
        expected: Option<PaymentState>,
        payment: Payment,
    ) -> Result<(), StoreError> {
        let change = Some(PaymentChange { expected, payment });
        self.apply(EventId(self.source.uuid()), change, Vec::new())
            .await
            .map(|_| ())
    }

    async fn apply(
        &self,
        event_id: EventId,
        payment: Option<PaymentChange>,
        messages: Vec<Message>,
    ) -> Result<Applied, StoreError> {
        // The event id is derived from the order and the kind of result. A result that is sent
        // again is therefore the same event, and consumers ignore it as a duplicate.
        let envelope = |message: Message| {
            let name = format!("{} {}", self.order_id, message.kind().name());
            let event_id = EventId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()));
            self.maker
                .envelope_with(event_id, self.source.now(), Some(self.order_id), message)
        };
        let change = Change {
            payment,
            outbox: messages.into_iter().map(envelope).collect(),
            ..Change::of(self.maker.role, event_id, self.source.now())
        };
        self.applier.apply_one(change).await
    }

    fn refunded(&self, payment_id: String, amount: Money) -> Message {
        Message::PaymentRefunded {
            payment_id,
            amount_minor: amount.minor,
            currency: amount.currency.code().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
