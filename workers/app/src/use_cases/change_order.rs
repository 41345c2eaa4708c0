//! What people do to an order that was accepted: cancel it, make it, hand it over.

use domain::Timestamp;
use domain::access::Action;
use domain::ids::{EventId, OrderId};
use domain::order::{Order, Status};
use domain::saga::{Decision, Event};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{CONFLICTS_MAX, Maker};
use crate::ports::access::AuditEntry;
use crate::ports::orders::{Applied, OrderStore};
use crate::ports::scope::Scope;
use crate::ports::{Source, Unavailable};

/// The actor in the history when it is not one of us.
pub const CUSTOMER: &str = "customer";
/// Why an order was cancelled that staff cancelled; what they wrote comes after it.
pub const CANCELLED_BY_STAFF: &str = "cancelled by staff";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRefusal {
    NotFound,
    /// Somebody was faster: the order is this by now.
    Stale(Box<Now>),
    Illegal {
        from: Status,
        to: Status,
    },
    Unavailable(Unavailable),
}

/// An order as it is, and who made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    pub order_number: String,
    pub version: i64,
    pub status: Status,
    /// The actor of the last line of its history.
    pub by: Option<String>,
}

impl From<Unavailable> for ChangeRefusal {
    fn from(error: Unavailable) -> Self {
        ChangeRefusal::Unavailable(error)
    }
}

/// Calls the order off while the customer may, in the name of `actor`: `customer`, or a member of
/// staff who looks at the order as a customer does. Doing so twice is no error. The order is
/// `cancelled` when its money and its stock are back, which takes a moment.
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
        // Once the bar has begun, only staff may call it off.
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
    Err(Unavailable::new("orders", "the order keeps changing").into())
}

/// A move that a member of staff asks for.
#[derive(Debug, Clone)]
pub struct Move {
    /// Whose orders they may move.
    pub scope: Scope,
    pub order_id: OrderId,
    /// The version of the order that they have seen.
    pub expected_version: i64,
    pub to: Status,
    /// Their name, for the history.
    pub actor: String,
    pub note: Option<String>,
}

/// Moves the order, unless it has changed since it was looked at.
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
        // Staff who repeat a change have not seen the order as it is, or the change makes no sense
        // here.
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

/// What whoever came too late is told.
async fn now(orders: &impl OrderStore, scope: &Scope, order: Order) -> Result<Now, Unavailable> {
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

/// What a member of staff does to an order, for the audit log.
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

/// `None` when somebody else changed the order in between. An act is recorded with the change.
async fn apply<S: Source>(
    orders: &impl OrderStore,
    source: &S,
    progress: Progress<'_, S>,
    act: Option<Act>,
) -> Result<Option<Order>, Unavailable> {
    let (mut change, order) = progress.into_change(EventId(source.uuid()));
    if let Some(moved) = &mut change.order {
        moved.audit = act.map(|act| act.into_entry(&order, change.at));
    }
    let applied = orders.apply(std::slice::from_ref(&change)).await.pop();
    match applied.unwrap_or_else(|| Err(Unavailable::new("orders", "no answer to a change")))? {
        Applied::Applied => Ok(Some(order)),
        Applied::Conflict | Applied::Duplicate => Ok(None),
    }
}
