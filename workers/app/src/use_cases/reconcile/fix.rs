//! Repairs differences that are safe to repair. Each repair is conditional on the current record:
//! the hold, the version of the order, or the state of the payment.

use contract::messages::Envelope;
use domain::ids::{EventId, OrderId};
use domain::order::{HistoryEntry, Order};

use super::{ACTOR, Difference, Repair};
use crate::ports::orders::{Applied, Change, OrderChange, OrderStore, PaymentChange};
use crate::ports::stock::{Confirmed, Stock};
use crate::ports::{Source, StoreError};
use crate::use_cases::progress::ask_for;
use crate::use_cases::{ASK_AGAIN, Maker, apply_alone};

/// Repairs a difference. Returns false when the difference has no repair, or when the order changed
/// in the meantime.
///
/// Repairs of orders are recorded under [`ACTOR`] in the history. Repairs of stock have the actor
/// of `stock` in the ledger, which must be [`ACTOR`] too.
///
/// # Errors
/// [`StoreError`] when a store cannot be read or written.
pub async fn fix(
    orders: &impl OrderStore,
    stock: &impl Stock,
    source: &impl Source,
    maker: &Maker,
    difference: &Difference,
) -> Result<bool, StoreError> {
    let now = source.now();
    match &difference.repair {
        None => Ok(false),
        Some(Repair::Release(order_id)) => stock.release(*order_id, now).await.map(|()| true),
        Some(Repair::Confirm(order_id)) => {
            Ok(stock.confirm(*order_id, now).await? == Confirmed::Sold)
        }
        Some(Repair::AskAgain(order_id)) => {
            let Some(order) = load(orders, *order_id).await? else {
                return Ok(false);
            };
            let Some(command) = order.state.awaits() else {
                return Ok(false);
            };
            let message = maker.envelope(source, Some(*order_id), ask_for(command, &order));
            let note = format!("overdue: sent {command:?} again");
            apply(orders, source, &order, &note, None, vec![message]).await
        }
        Some(Repair::Record { expected, payment }) => {
            let Some(order) = load(orders, payment.order_id).await? else {
                return Ok(false);
            };
            let (kind, state) = (payment.kind.code(), payment.state.code());
            let was = expected.map_or("not recorded", |state| state.code());
            let note = format!("the {kind} was {was}, the gateway says {state}");
            let change = PaymentChange {
                expected: *expected,
                payment: payment.clone(),
            };
            apply(orders, source, &order, &note, Some(change), Vec::new()).await
        }
    }
}

async fn load(orders: &impl OrderStore, order_id: OrderId) -> Result<Option<Order>, StoreError> {
    Ok(orders.load(order_id).await?.map(|stored| stored.order))
}

/// Applies a repair with a history entry. Status and state of the order do not change.
async fn apply(
    orders: &impl OrderStore,
    source: &impl Source,
    order: &Order,
    note: &str,
    payment: Option<PaymentChange>,
    outbox: Vec<Envelope>,
) -> Result<bool, StoreError> {
    let at = source.now();
    let entry = HistoryEntry {
        seq: order.version + 1,
        from: Some(order.status),
        to: order.status,
        step: order.state.step(),
        actor: ACTOR.to_owned(),
        note: Some(note.to_owned()),
        at,
    };
    let moved = OrderChange {
        order_id: order.order_id,
        expected_version: order.version,
        state: order.state,
        status: order.status,
        reason: None,
        next_action_at: order.state.awaits().map(|_| at + ASK_AGAIN),
        history: vec![entry],
        audit: None,
    };
    let change = Change {
        order: Some(moved),
        payment,
        outbox,
        ..Change::of(ACTOR, EventId(source.uuid()), at)
    };
    Ok(apply_alone(orders, change).await? == Applied::Applied)
}
