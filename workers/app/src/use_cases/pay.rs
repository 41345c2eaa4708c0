//! The payment worker: charges and refunds, each exactly once.
//!
//! The intent to charge is written with the order. The gateway is asked under a key that never
//! changes, and an answer that did not come is a state of its own (`Unknown`): then it is asked
//! what happened before anything else.

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
use crate::ports::{Source, Unavailable};

/// In the reason of a charge whose amount was not what was asked for, between what was charged and
/// what was due.
pub(super) const WRONG_AMOUNT: &str = "were charged instead of";

/// Handles one message of the `payments` queue.
pub async fn pay<O: OrderStore, A: Apply, G: Gateway, S: Source>(
    orders: &O,
    applier: &A,
    gateway: &G,
    source: &S,
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
    async fn charge(&self) -> Result<Applied, Handled> {
        let charge = self.intent().await?;
        let key = format!("charge:{}", self.order_id);
        match charge.state {
            // Asked for again: say again what came of it.
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
            // It never saw the charge. The same key again: even if the lost request arrives now,
            // only one is made.
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
                // What the gateway says is checked like any input: a wrong amount goes back, and
                // the order ends.
                if amount != charge.amount {
                    self.give_back(&charge_id, amount).await?;
                    // The customer's statement shows both, so both are on record, with the amount
                    // that it was.
                    let given_back = Payment {
                        kind: PaymentKind::Refund,
                        amount,
                        state: PaymentState::Refunded,
                        token: None,
                        charge_id: Some(charge_id.clone()),
                        reason: None,
                        ..charge.clone()
                    };
                    self.remember(None, given_back).await?;
                    let reason =
                        format!("{amount} {WRONG_AMOUNT} {}, and given back", charge.amount);
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
                    "the charge's outcome is unknown: {why}"
                )));
            }
            Err(GatewayError::Unavailable(why)) => return Err(Handled::retry(why)),
            // A definite no, and nothing taken: the order must not wait for ever.
            Err(GatewayError::Refused(why)) => Payment {
                state: PaymentState::Declined,
                reason: Some(why),
                ..charge.clone()
            },
        };
        self.settle(&charge, settled).await
    }

    async fn give_back(&self, charge_id: &str, amount: Money) -> Result<(), Handled> {
        match self
            .gateway
            .refund(&format!("refund:{}", self.order_id), charge_id, amount)
            .await
        {
            Ok(()) => Ok(()),
            Err(GatewayError::Unknown(why) | GatewayError::Unavailable(why)) => {
                Err(Handled::retry(why))
            }
            // Money is owed, and nobody but a human can give it back.
            Err(GatewayError::Refused(why)) => Err(Handled::park(why)),
        }
    }

    /// Writes the outcome and tells the saga, in one transaction.
    async fn settle(&self, read: &Payment, settled: Payment) -> Result<Applied, Handled> {
        let currency = settled.amount.currency.code().to_owned();
        let message = match settled.state {
            PaymentState::Captured => Message::PaymentCompleted {
                payment_id: settled.charge_id.clone().unwrap_or_default(),
                amount_minor: settled.amount.minor,
                currency,
                status: settled.state.code().to_owned(),
            },
            // Only a charge that has an outcome is settled; whatever else it were, no money may be
            // counted on.
            PaymentState::Declined
            | PaymentState::Requested
            | PaymentState::Unknown
            | PaymentState::Refunded => {
                Message::PaymentFailed {
                    reason: settled
                        .reason
                        .clone()
                        .unwrap_or_else(|| "declined".to_owned()),
                    // A charge that the gateway never made has no name there.
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

    async fn refund(&self) -> Result<Applied, Handled> {
        let charge = self.intent().await?;
        let charge_id = match (charge.state, &charge.charge_id) {
            (PaymentState::Captured, Some(charge_id)) => charge_id.clone(),
            (PaymentState::Declined, _) => {
                // Nothing was taken, so nothing is owed.
                let message = self.refunded(String::new(), Money::zero(charge.amount.currency));
                return Ok(self.apply(self.event_id, None, vec![message]).await?);
            }
            // Captured without a name cannot be given back until the gateway has been asked for it.
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
                let wanted = Payment {
                    kind: PaymentKind::Refund,
                    state: PaymentState::Requested,
                    token: None,
                    charge_id: Some(charge_id.clone()),
                    reason: None,
                    ..charge.clone()
                };
                let change = Some(PaymentChange {
                    expected: None,
                    payment: wanted.clone(),
                });
                // A conflict: another delivery wrote it first, the very same.
                self.apply(EventId(self.source.uuid()), change, Vec::new())
                    .await?;
                wanted
            }
        };
        if refund.state != PaymentState::Refunded {
            self.give_back(&charge_id, refund.amount).await?;
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

    async fn intent(&self) -> Result<Payment, Handled> {
        let charge = self
            .orders
            .payment(self.order_id, PaymentKind::Charge)
            .await?;
        charge
            .ok_or_else(|| Handled::park(format!("order {} has no charge to make", self.order_id)))
    }

    /// Writes a state that is not the message's effect, so that the message can still be applied.
    /// Where another delivery of the message was faster, its row stands.
    async fn remember(
        &self,
        expected: Option<PaymentState>,
        payment: Payment,
    ) -> Result<(), Unavailable> {
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
    ) -> Result<Applied, Unavailable> {
        // Named after what happened, not after who asked: asked again, it is the same event, and
        // who counts payments counts one.
        let envelope = |message: Message| {
            let name = format!("{} {}", self.order_id, message.kind().name());
            let event_id = EventId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()));
            self.maker
                .envelope_with(event_id, self.source.now(), Some(self.order_id), message)
        };
        let change = Change {
            consumer: self.maker.role,
            event_id,
            order: None,
            payment,
            outbox: messages.into_iter().map(envelope).collect(),
            at: self.source.now(),
            delivery: None,
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
