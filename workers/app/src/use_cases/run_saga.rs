//! Handles the messages of the orders queue: applies a message to its order and moves the order as
//! far as possible.
//!
//! Stock is changed before the order is written, and a repeated change of stock has no effect. A
//! crash between the two therefore only causes another delivery of the message.

use contract::messages::{Envelope, Message, ReservedItem};
use domain::cart::{Line, Lines};
use domain::ids::OrderId;
use domain::money::{Currency, Money};
use domain::order::Order;
use domain::saga::{Decision, Event, State};
use domain::{FieldError, Timestamp};

use super::progress::Progress;
use super::{CONFLICTS_MAX, HOLD, Handled, Maker, load};
use crate::ports::orders::{Applied, Change, OrderStore};
use crate::ports::stock::{Confirmed, MoveTo, Moved, OrderMove, Reserved, Stock};
use crate::ports::{Backend, PortFuture, Source, StoreError};

/// Applies changes of orders. The implementation of the worker combines the changes of concurrent
/// messages into one transaction (group commit).
pub trait Apply: Sync {
    /// Applies one change.
    fn apply_one(&self, change: Change) -> impl PortFuture<Applied>;
}

/// Changes the stock of orders. The implementation of the worker combines the changes of concurrent
/// messages into fewer calls (group commit).
pub trait Shelf: Sync {
    /// Applies one change.
    fn move_one(&self, one: OrderMove) -> impl PortFuture<Moved>;

    /// Releases the units of an order; see [`Stock::release`].
    fn give_back(&self, order_id: OrderId, now: Timestamp) -> impl PortFuture<()>;
}

impl<T: Stock> Shelf for T {
    async fn move_one(&self, one: OrderMove) -> Result<Moved, StoreError> {
        let moved = self.move_orders(std::slice::from_ref(&one)).await.pop();
        moved.unwrap_or_else(|| Err(StoreError::new(Backend::Stock, "no answer to a move")))
    }

    async fn give_back(&self, order_id: OrderId, now: Timestamp) -> Result<(), StoreError> {
        self.release(order_id, now).await
    }
}

/// Handles one message of the `orders` queue.
pub async fn run_saga(
    orders: &impl OrderStore,
    applier: &impl Apply,
    shelf: &impl Shelf,
    source: &impl Source,
    maker: &Maker,
    envelope: &Envelope,
) -> Handled {
    let Some(order_id) = envelope.order_id else {
        return Handled::park("no order id in a message about an order");
    };
    for _ in 0..CONFLICTS_MAX {
        let order = match load(orders, order_id).await {
            Ok(stored) => stored.order,
            Err(handled) => return handled,
        };
        let before = order.status;
        let mut progress = Progress::of(order, source, maker);
        let decision = match advance(&mut progress, shelf, envelope).await {
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
                return Handled {
                    reached,
                    ..Handled::done()
                };
            }
            Ok(Applied::Duplicate) => return Handled::duplicate(),
            // Another change came first, for example a cancellation. The decision is made again.
            Ok(Applied::Conflict) => continue,
            Err(error) => return error.into(),
        }
    }
    Handled::retry("the order keeps changing")
}

/// Carries out the command of a message if the state of the order allows it, and records the
/// transitions.
async fn advance<S: Source>(
    progress: &mut Progress<'_, S>,
    shelf: &impl Shelf,
    envelope: &Envelope,
) -> Result<Decision, Handled> {
    let actor = progress.maker.role;
    match &envelope.message {
        Message::ReserveStock {} => reserve(progress, shelf).await,
        Message::PaymentCompleted {
            amount_minor,
            currency,
            ..
        } => {
            let charged =
                Currency::from_code(currency).map(|currency| Money::new(*amount_minor, currency));
            let due = progress.order.totals.total;
            if charged != Some(due) {
                return Err(Handled::park(format!(
                    "charged {amount_minor} {currency}, due was {due}"
                )));
            }
            charged_card(progress, shelf).await
        }
        Message::PaymentFailed { reason, .. } => {
            progress.because(format!("payment declined: {reason}"));
            Ok(progress.on(Event::CardRefused, actor, Some(reason.clone())))
        }
        Message::PaymentRefunded { .. } => Ok(progress.on(Event::CardRefunded, actor, None)),
        Message::ReleaseStock {} => {
            // The state is checked first: a stray command must not release the stock of an order
            // that is being prepared.
            let decision = progress.on(Event::StockReleased, actor, None);
            if let Decision::Advance(_) = decision {
                shelf
                    .give_back(progress.order.order_id, progress.source.now())
                    .await?;
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
        | Message::StockLevelReached { .. } => Err(Handled::park_misrouted(envelope)),
    }
}

/// Reserves the stock of an order that was just placed.
async fn reserve<S: Source>(
    progress: &mut Progress<'_, S>,
    shelf: &impl Shelf,
) -> Result<Decision, Handled> {
    let actor = progress.maker.role;
    // An order that is already `Validated` is reserved again. Orders pass through this state within
    // one change.
    let accepted = progress.on(Event::Accepted, actor, None);
    if progress.order.state != State::Validated {
        return Ok(accepted);
    }
    let lines = lines_of(&progress.order).map_err(|error| Handled::park(error.to_string()))?;
    let now = progress.source.now();
    let expires_at = now + HOLD;
    let hold = OrderMove {
        order_id: progress.order.order_id,
        lines: lines.clone(),
        to: MoveTo::Reserve { expires_at },
        now,
    };
    let Moved::Reserve(reserved) = shelf.move_one(hold).await? else {
        return Err(mixed_up().into());
    };
    Ok(match reserved {
        Reserved::Held | Reserved::Confirmed => {
            let items = lines.iter().map(|line| ReservedItem {
                product_id: line.product_id.to_string(),
                quantity: line.quantity.get(),
            });
            let reservation_id = progress.order.order_id.to_string();
            progress.also(Message::InventoryReserved {
                reservation_id,
                items: items.collect(),
                expires_at,
            });
            progress.on(Event::StockHeld, actor, None)
        }
        Reserved::TooFew(products) => {
            let names: Vec<_> = products.iter().map(ToString::to_string).collect();
            let reason = format!("sold out: {}", names.join(", "));
            progress.because(reason.clone());
            progress.on(Event::StockRefused, actor, Some(reason))
        }
        Reserved::Released => {
            progress.because("the hold on the stock had ended");
            progress.on(
                Event::StockRefused,
                actor,
                Some("the hold had ended".to_owned()),
            )
        }
    })
}

/// Records the charge and sells the reserved units.
async fn charged_card<S: Source>(
    progress: &mut Progress<'_, S>,
    shelf: &impl Shelf,
) -> Result<Decision, Handled> {
    let actor = progress.maker.role;
    let charged = progress.on(Event::CardCharged, actor, None);
    // Orders pass through `Paid` within one change. An order that was stored in this state
    // continues from here.
    if progress.order.state != State::Paid {
        return Ok(charged);
    }
    let lines = lines_of(&progress.order).map_err(|error| Handled::park(error.to_string()))?;
    let sale = OrderMove {
        order_id: progress.order.order_id,
        lines,
        to: MoveTo::Confirm,
        now: progress.source.now(),
    };
    let Moved::Confirm(confirmed) = shelf.move_one(sale).await? else {
        return Err(mixed_up().into());
    };
    Ok(match confirmed {
        Confirmed::Sold => progress.on(Event::StockConfirmed, actor, None),
        Confirmed::NoHold => {
            progress.because("the hold on the stock had ended before the payment arrived");
            progress.on(
                Event::StockLost,
                actor,
                Some("the hold had ended".to_owned()),
            )
        }
    })
}

/// Returns the error for a result of the wrong variant, which would be a defect of the port.
fn mixed_up() -> StoreError {
    StoreError::new(Backend::Stock, "the response belongs to another request")
}

/// Returns the items of the order as lines of stock.
///
/// # Errors
/// A field error when an order has too many products or units.
pub fn lines_of(order: &Order) -> Result<Lines, FieldError> {
    Lines::merge(order.items.iter().map(|item| Line {
        product_id: item.product_id.clone(),
        quantity: item.quantity,
    }))
}
