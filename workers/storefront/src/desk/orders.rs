//! Placing, reading and changing an order.

use std::collections::HashMap;
use std::time::Duration;

use app::ports::fulfilment::{FulfilmentStore as _, Ticket};
use app::ports::orders::{OrderStore as _, StoredOrder};
use app::ports::scope::Scope;
use app::ports::stock::{Catalogue as _, StockedProduct};
use app::ports::{Backend, StoreError};
use app::use_cases::change_order::{
    CUSTOMER, ChangeRefusal, Move, cancel_by_customer, move_by_staff,
};
use app::use_cases::place_order::{
    Accepted, Offers, PlaceOrderDeps, Refusal, Request, place_order,
};
use axum::http::HeaderMap;
use contract::cause::chain;
use domain::access::{Action, Actor, Denial, Resource, may};
use domain::cart::Line;
use domain::ids::{OrderId, OrderNumber};
use domain::order::{HistoryEntry, Order, Status};

use super::staff::staff_of;
use crate::ports::{Observation, Ports, within};
use crate::problem::Problem;
use crate::random::{digest, random_token};
use crate::staff::Staff;
use crate::state::App;
use crate::{access, menu, session, staff, tracking};

/// Maximum time to place an order. Placing normally takes milliseconds; after this limit the client
/// is told that the result is unknown.
const PLACED_WITHIN: Duration = Duration::from_secs(7);

/// Looks up a product on the cached menu, and in the stock itself when the menu shows too few: units
/// may have arrived a moment ago. An order for units that were sold a moment ago is refused later,
/// when its stock is reserved.
impl<P: Ports> Offers for App<P> {
    async fn offer(&self, line: &Line) -> Result<Option<StockedProduct>, StoreError> {
        let products = self.menu.products(&self.ports).await?;
        let wanted = i64::from(line.quantity.get());
        match menu::find(&products, &line.product_id) {
            Some(product) if product.counters.available >= wanted => Ok(Some(product.clone())),
            _ => self.ports.stock().product(&line.product_id).await,
        }
    }
}

/// Places an order that came as JSON or from a form.
///
/// # Errors
/// Returns the reason for the refusal, and `Uncertain` when the database does not answer in time.
pub async fn accept<P: Ports>(app: &App<P>, request: Request) -> Result<Accepted, Refusal> {
    let maker = app.maker();
    let deps = PlaceOrderDeps {
        source: app.ports.source(),
        maker: &maker,
        digest,
        tracking_token: random_token(),
        pending_max: app.pending_max(),
    };
    let shop = app.settings.shops.named(request.location_id.as_ref());
    let shop = shop.map_err(|error| Refusal::Fields(vec![error]))?;
    let placing = place_order(app.orders(), app, &shop, deps, request);
    // This limit is shorter than the limit of the request, so the customer keeps the form and its
    // key.
    let placed = within(PLACED_WITHIN, Backend::Orders, placing).await;
    let accepted = placed.map_err(Refusal::Uncertain)??;
    app.ports.observe(if accepted.replayed {
        Observation::Replayed
    } else {
        Observation::Accepted
    });
    Ok(accepted)
}

/// Returns the order to its owner's session, to a holder of its tracking token, and to staff.
///
/// # Errors
/// Returns 404 to everybody else, exactly as for an order that does not exist.
pub async fn visible<P: Ports>(
    app: &App<P>,
    action: Action,
    id: &str,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Result<StoredOrder, Problem> {
    let staff = staff::of(headers, &app.settings, app.now());
    let event = access::event_of(staff.as_ref().err().copied());
    let not_found = || Problem::not_found().noting(event);
    let order_id: OrderId = id.parse().map_err(|_| not_found())?;
    let stored = app
        .orders()
        .load_in(&app.customer_scope(), order_id)
        .await?
        .ok_or_else(not_found)?;
    let by_token = tracking::is_carried(
        &stored.tracking_token,
        order_id,
        query,
        headers,
        &app.settings,
    );
    let by_session = || {
        let session = session::of(headers, &app.settings);
        session
            .zip(stored.session_hash.as_ref())
            .is_some_and(|(session, owner)| session.owns(owner))
    };
    let owned = by_token || by_session();
    // Staff have access to the orders of their own location only, whatever their role.
    let staff = staff.ok().filter(|_| app.staff_scope().has(&stored.order));
    let actor = access::actor(staff.as_ref());
    match may(actor, action, Resource::Order { owned }) {
        Ok(()) => Ok(stored),
        Err(Denial::NotVisible | Denial::NotSignedIn) => Err(not_found()),
        Err(Denial::Role) => Err(Problem::forbidden(action)),
    }
}

/// Cancels an order that the caller may see, in the caller's name.
///
/// # Errors
/// Returns the reason when the order cannot be canceled, or the database does not answer.
pub async fn cancel_visible<P: Ports>(
    app: &App<P>,
    headers: &HeaderMap,
    stored: &StoredOrder,
) -> Result<Order, ChangeRefusal> {
    let staff = staff_of(app, headers);
    let actor = staff.as_ref().map_or(CUSTOMER, |staff| &staff.name);
    // `visible` has already checked the access.
    let (scope, order_id) = (app.customer_scope(), stored.order.order_id);
    let orders = app.orders();
    cancel_by_customer(
        orders,
        app.ports.source(),
        &app.maker(),
        &scope,
        order_id,
        actor,
    )
    .await
}

/// Returns the newest order of the location with this number.
///
/// # Errors
/// Returns 503 when the database does not answer.
pub async fn newest_with_number<P: Ports>(
    app: &App<P>,
    number: OrderNumber,
) -> Result<Option<Order>, Problem> {
    let scope = app.staff_scope();
    let Some(order_id) = app.orders().newest_with_number(&scope, number).await? else {
        return Ok(None);
    };
    Ok(app
        .orders()
        .load_in(&scope, order_id)
        .await?
        .map(|stored| stored.order))
}

/// Returns the tickets of the orders that have one.
///
/// # Errors
/// Returns 503 when the database does not answer.
pub async fn tickets_of<P: Ports>(
    app: &App<P>,
    orders: &[Order],
) -> Result<HashMap<OrderId, Ticket>, Problem> {
    let ids: Vec<_> = orders.iter().map(|order| order.order_id).collect();
    let tickets = app.orders().tickets(&app.staff_scope(), &ids).await?;
    Ok(tickets
        .into_iter()
        .map(|ticket| (ticket.order_id, ticket))
        .collect())
}

/// Checks that this member of staff may change orders to this status. The access table lets every
/// role through that may cancel.
///
/// # Errors
/// Returns 403 with the roles that may.
pub fn may_set(staff: &Staff, to: Status) -> Result<(), Problem> {
    let action = match to {
        Status::Cancelled => Action::CancelOrderAsStaff,
        Status::Pending
        | Status::Confirmed
        | Status::Preparing
        | Status::Ready
        | Status::Completed
        | Status::Failed => Action::MoveOrder,
    };
    may(Actor::Staff(staff.role), action, Resource::Shop).map_err(|_| Problem::forbidden(action))
}

/// Changes the status of an order on behalf of a member of staff.
///
/// # Errors
/// Returns the reason when the order is not visible, its version changed, the transition is not
/// allowed, or the database does not answer.
pub async fn move_order<P: Ports>(app: &App<P>, asked: Move) -> Result<Order, ChangeRefusal> {
    move_by_staff(app.orders(), app.ports.source(), &app.maker(), asked).await
}

/// Returns the history of an order that was just changed, or an empty list when it cannot be read.
/// The change has succeeded, so a failed read must not turn its answer into an error.
pub async fn history_after<P: Ports>(
    app: &App<P>,
    scope: &Scope,
    order: &Order,
) -> Vec<HistoryEntry> {
    app.orders().history(scope, order.order_id, 0).await.unwrap_or_else(|error| {
        tracing::warn!(error = %chain(&error), order_id = %order.order_id, "Returned a changed order without its history");
        Vec::new()
    })
}
