//! The order worker: takes in one message about one order and carries the order as far as it can go.
//!
//! What is done in the world (stock) comes before what is written about it (the order), and is safe to repeat. So a
//! crash between the two costs a second delivery and nothing else.

use contract::messages::{Envelope, Message, ReservedItem};
use domain::FieldError;
use domain::cart::{Line, Lines};
use domain::money::{Currency, Money};
use domain::order::Order;
use domain::saga::{Decision, Event};

use super::progress::Progress;
use super::{CONFLICTS_MAX, HOLD, Handled, Maker};
use crate::ports::orders::{Applied, Change, OrderStore};
use crate::ports::stock::{Confirmed, Reserved, Stock};
use crate::ports::{Source, Unavailable};

/// Where changes are applied. The worker's own groups those of concurrent messages into one transaction.
pub trait Apply: Sync {
    fn apply_one(&self, change: Change) -> impl Future<Output = Result<Applied, Unavailable>> + Send;
}

/// Handles one message of the `orders` queue.
pub async fn run_saga<O: OrderStore, A: Apply, T: Stock, S: Source>(
    orders: &O,
    applier: &A,
    stock: &T,
    source: &S,
    maker: &Maker,
    envelope: &Envelope,
) -> Handled {
    let Some(order_id) = envelope.order_id else { return Handled::park("no order id in a message about an order") };
    for _ in 0..CONFLICTS_MAX {
        let order = match orders.load(order_id).await {
            Ok(Some(stored)) => stored.order,
            // The message left in the same transaction as the order came: without the order it is not ours.
            Ok(None) => return Handled::park(format!("order {order_id} does not exist")),
            Err(error) => return error.into(),
        };
        let before = order.status;
        let mut progress = Progress::of(order, source, maker);
        let decision = match advance(&mut progress, stock, source, maker, envelope).await {
            Ok(decision) => decision,
            Err(handled) => return handled,
        };
        match decision {
            Decision::AlreadyDone => return Handled::duplicate(),
            Decision::Impossible => {
                let state = progress.order.state.code();
                return Handled::park(format!(
                    "{:?} cannot happen to an order that is {state}",
                    envelope.message.kind()
                ));
            }
            Decision::Advance(_) => {}
        }
        let (change, order) = progress.into_change(envelope.event_id);
        match applier.apply_one(change).await {
            Ok(Applied::Applied) => {
                let age = (order.updated_at - order.created_at).as_seconds_f64();
                let reached = (order.status != before).then_some((order.status, age));
                return Handled { reached, ..Handled::done() };
            }
            Ok(Applied::Duplicate) => return Handled::duplicate(),
            // Somebody was faster, a cancellation for example: look again.
            Ok(Applied::Conflict) => continue,
            Err(error) => return error.into(),
        }
    }
    Handled::retry("the order keeps changing")
}

/// Does what the message asks for, if the order's state wants it, and records the steps.
async fn advance<S: Source>(
    progress: &mut Progress<'_, S>,
    stock: &impl Stock,
    source: &S,
    maker: &Maker,
    envelope: &Envelope,
) -> Result<Decision, Handled> {
    let actor = maker.role;
    match &envelope.message {
        Message::ReserveStock {} => reserve(progress, stock, source, actor).await,
        Message::PaymentCompleted { amount_minor, currency, .. } => {
            let charged = Currency::from_code(currency).map(|currency| Money::new(*amount_minor, currency));
            let due = progress.order.totals.total;
            if charged != Some(due) {
                return Err(Handled::park(format!("charged {amount_minor} {currency}, due was {due}")));
            }
            charged_card(progress, stock, source, actor).await
        }
        Message::PaymentFailed { reason, .. } => {
            progress.because(format!("payment declined: {reason}"));
            Ok(progress.on(Event::CardRefused, actor, Some(reason.clone())))
        }
        Message::PaymentRefunded { .. } => Ok(progress.on(Event::CardRefunded, actor, None)),
        Message::ReleaseStock {} => {
            // Ask first: a stray release must not take the stock of an order that is being made.
            let decision = progress.on(Event::StockReleased, actor, None);
            if let Decision::Advance(_) = decision {
                stock.release(progress.order.order_id, source.now()).await?;
            }
            Ok(decision)
        }
        Message::ChargeCard { .. }
        | Message::RefundCard { .. }
        | Message::OrderCreated { .. }
        | Message::InventoryReserved { .. }
        | Message::OrderStatusChanged { .. }
        | Message::OrderShipped { .. }
        | Message::OrderOverdue { .. }
        | Message::StockLevelReached { .. } => {
            Err(Handled::park(format!("{:?} does not belong on this queue", envelope.message.kind())))
        }
    }
}

async fn reserve<S: Source>(
    progress: &mut Progress<'_, S>,
    stock: &impl Stock,
    source: &S,
    actor: &str,
) -> Result<Decision, Handled> {
    // A `Validated` order was being reserved when its worker died.
    let accepted = progress.on(Event::Accepted, actor, None);
    if progress.order.state != domain::saga::State::Validated {
        return Ok(accepted);
    }
    let lines = lines_of(&progress.order).map_err(|error| Handled::park(error.to_string()))?;
    let now = source.now();
    let expires_at = now + HOLD;
    Ok(match stock.reserve(progress.order.order_id, &lines, now, expires_at).await? {
        Reserved::Held | Reserved::Confirmed => {
            let items = lines
                .iter()
                .map(|line| ReservedItem { product_id: line.product_id.to_string(), quantity: line.quantity.get() });
            let reservation_id = progress.order.order_id.to_string();
            progress.also(Message::InventoryReserved { reservation_id, items: items.collect(), expires_at });
            progress.on(Event::StockHeld, actor, None)
        }
        Reserved::TooFew(products) => {
            let names: Vec<_> = products.iter().map(ToString::to_string).collect();
            progress.because(format!("sold out: {}", names.join(", ")));
            progress.on(Event::StockRefused, actor, Some(format!("sold out: {}", names.join(", "))))
        }
        Reserved::Released => {
            progress.because("the hold on the stock had ended");
            progress.on(Event::StockRefused, actor, Some("the hold had ended".to_owned()))
        }
    })
}

async fn charged_card<S: Source>(
    progress: &mut Progress<'_, S>,
    stock: &impl Stock,
    source: &S,
    actor: &str,
) -> Result<Decision, Handled> {
    use domain::saga::State;
    let charged = progress.on(Event::CardCharged, actor, None);
    // `Paid` is passed through, not waited in; one found there was left by a worker that died.
    if progress.order.state != State::Paid {
        return Ok(charged);
    }
    Ok(match stock.confirm(progress.order.order_id, source.now()).await? {
        Confirmed::Sold => progress.on(Event::StockConfirmed, actor, None),
        Confirmed::NoHold => {
            progress.because("the hold on the stock had ended before the payment arrived");
            progress.on(Event::StockLost, actor, Some("the hold had ended".to_owned()))
        }
    })
}

/// The order's items as lines of stock.
pub fn lines_of(order: &Order) -> Result<Lines, FieldError> {
    Lines::merge(order.items.iter().map(|item| Line { product_id: item.product_id.clone(), quantity: item.quantity }))
}
