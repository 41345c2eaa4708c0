//! Changes of an accepted order by people: cancelling it, and moving it to its next status.

use domain::Timestamp;
use domain::access::Action;
use domain::ids::{EventId, OrderId};
use domain::order::{Order, Status};
use domain::saga::{Decision, Event};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{CONFLICTS_MAX, Maker, apply_alone};
use crate::ports::access::AuditEntry;
use crate::ports::orders::{Applied, OrderStore};
use crate::ports::scope::Scope;
use crate::ports::{Backend, Source, StoreError};

/// The actor in the history for an act by the customer.
pub const CUSTOMER: &str = "customer";
/// The reason of an order that staff cancelled. A note by the member of staff can follow it.
pub const CANCELLED_BY_STAFF: &str = "cancelled by staff";

/// The reason why an order was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// The order does not exist or is out of scope.
    NotFound,
    /// Another change came first. The order is now in this state.
    Stale(Box<Now>),
    /// The status does not allow the change.
    Illegal {
        from: Status,
        to: Status,
    },
    Unavailable(StoreError),
}

/// The current state of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    pub order_number: String,
    pub version: i64,
    pub status: Status,
    /// The actor of the last history entry.
    pub by: Option<String>,
}

impl From<StoreError> for ChangeRefusal {
    fn from(error: StoreError) -> Self {
        ChangeRefusal::Unavailable(error)
    }
}

/// Cancels an order for `actor`: `customer`, or a member of staff who uses the customer's page.
///
/// A repeated call succeeds. The status becomes `cancelled` later, when the charge is refunded and
/// the stock is released.
///
/// # Errors
/// [`ChangeRefusal`] when the order does not exist in scope, is being prepared or has left that
/// stage, keeps changing, or cannot be read.
pub async fn cancel_by_customer(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    scope: &Scope,
    order_id: OrderId,
    actor: &str,
) -> Result<Order, ChangeRefusal> {
    for _ in 0..CONFLICTS_MAX {
        let order = load(orders, scope, order_id).await?;
        // After preparation has started, only staff may cancel the order.
        if order.status == Status::Preparing {
            return Err(ChangeRefusal::Illegal {
                from: order.status,
                to: Status::Cancelled,
            });
        }
        let from = order.status;
        let act = (actor != CUSTOMER).then(|| Act::of(&order, Action::CancelOrderAsStaff, actor));
        let mut progress = Progress::of(order, source, maker);
        progress.because(if actor == CUSTOMER {
            "cancelled by the customer"
        } else {
            CANCELLED_BY_STAFF
        });
        match progress.on(Event::CancelRequested, actor, None) {
            Decision::AlreadyDone => return load(orders, scope, order_id).await,
            Decision::Impossible => {
                return Err(ChangeRefusal::Illegal {
                    from,
                    to: Status::Cancelled,
                });
            }
            Decision::Advance(_) => {}
        }
        if let Some(order) = apply(orders, source, progress, act).await? {
            return Ok(order);
        }
    }
    Err(StoreError::new(Backend::Orders, "the order keeps changing").into())
}

/// A change of status that a member of staff requests.
#[derive(Debug, Clone)]
pub struct Move {
    /// The scope of the member of staff.
    pub scope: Scope,
    pub order_id: OrderId,
    /// The version of the order that the member of staff saw.
    pub expected_version: i64,
    pub to: Status,
    /// The name of the member of staff, for the history.
    pub actor: String,
    pub note: Option<String>,
}

/// Changes the status of an order, if it still has the expected version.
///
/// # Errors
/// [`ChangeRefusal`] when the order does not exist in scope, has another version, does not allow
/// the change, or cannot be read.
pub async fn move_by_staff(
    orders: &impl OrderStore,
    source: &impl Source,
    maker: &Maker,
    asked: Move,
) -> Result<Order, ChangeRefusal> {
    let Move {
        scope,
        order_id,
        expected_version,
        to,
        actor,
        note,
    } = asked;
    let order = load(orders, &scope, order_id).await?;
    if order.version != expected_version {
        return Err(ChangeRefusal::Stale(Box::new(
            now(orders, &scope, order).await?,
        )));
    }
    let from = order.status;
    let illegal = ChangeRefusal::Illegal { from, to };
    let Some(event) = to.set_by_staff() else {
        return Err(illegal);
    };
    let is_cancelled = event == Event::CancelRequested;
    let act = Act::of(
        &order,
        if is_cancelled {
            Action::CancelOrderAsStaff
        } else {
            Action::MoveOrder
        },
        &actor,
    );
    let mut progress = Progress::of(order, source, maker);
    if is_cancelled {
        progress.because(
            note.as_deref()
                .map_or(CANCELLED_BY_STAFF.to_owned(), |note| {
                    format!("{CANCELLED_BY_STAFF}: {note}")
                }),
        );
    }
    match progress.on(event, &actor, note) {
        Decision::Advance(_) => {}
        // A repeated change is rejected too: the member of staff did not see the current status.
        Decision::AlreadyDone | Decision::Impossible => return Err(illegal),
    }
    match apply(orders, source, progress, Some(act)).await? {
        Some(order) => Ok(order),
        None => {
            let order = load(orders, &scope, order_id).await?;
            Err(ChangeRefusal::Stale(Box::new(
                now(orders, &scope, order).await?,
            )))
        }
    }
}

/// Returns the current state of an order, with the author of its last change.
async fn now(orders: &impl OrderStore, scope: &Scope, order: Order) -> Result<Now, StoreError> {
    let last = orders
        .history(scope, order.order_id, order.version - 1)
        .await?
        .pop();
    let Order {
        order_number,
        version,
        status,
        ..
    } = order;
    Ok(Now {
        order_number,
        version,
        status,
        by: last.map(|line| line.actor),
    })
}

async fn load(
    orders: &impl OrderStore,
    scope: &Scope,
    order_id: OrderId,
) -> Result<Order, ChangeRefusal> {
    orders
        .load_in(scope, order_id)
        .await?
        .map(|stored| stored.order)
        .ok_or(ChangeRefusal::NotFound)
}

/// An act of staff on an order, for the audit log.
struct Act {
    action: Action,
    actor: String,
    before: Value,
}

impl Act {
    fn of(order: &Order, action: Action, actor: &str) -> Act {
        let before = json!({ "status": order.status.code(), "version": order.version });
        Act {
            action,
            actor: actor.to_owned(),
            before,
        }
    }

    fn into_entry(self, order: &Order, at: Timestamp) -> AuditEntry {
        let step = order.state.step().code();
        let after =
            json!({ "status": order.status.code(), "step": step, "version": order.version });
        AuditEntry {
            at,
            actor: self.actor,
            action: self.action.code().to_owned(),
            subject: format!("order/{}", order.order_id),
            before: Some(self.before.to_string()),
            after: Some(after.to_string()),
            act_id: None,
        }
    }
}

/// Applies the change together with its audit entry. Returns `None` when another process changed
/// the order first.
async fn apply<S: Source>(
    orders: &impl OrderStore,
    source: &S,
    progress: Progress<'_, S>,
    act: Option<Act>,
) -> Result<Option<Order>, StoreError> {
    let (mut change, order) = progress.into_change(EventId(source.uuid()));
    if let Some(moved) = &mut change.order {
        moved.audit = act.map(|act| act.into_entry(&order, change.at));
    }
    match apply_alone(orders, change).await? {
        Applied::Applied => Ok(Some(order)),
        Applied::Conflict | Applied::Duplicate => Ok(None),
    }
}
