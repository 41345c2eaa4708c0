//! Routes with which customers place, read and cancel orders.

use std::collections::HashMap;
use std::time::Duration;

use app::ports::StoreError;
use app::ports::carts::{Cart, CartStore as _};
use app::ports::fulfilment::FulfilmentStore as _;
use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::views::{OrderView as ListedView, OrderViewReader as _};
use app::use_cases::for_customers::public_reason;
use app::use_cases::place_order::{Request, ShownLine};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use contract::cause::chain;
use contract::route::RouteId;
use domain::access::Action;
use domain::cart::Line;
use domain::ids::OrderId;
use domain::order::Status;
use futures::future::try_join_all;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::new_order::{Channels, NewOrder};
use super::order_view::{
    ADDRESS_WARNING, OrderView, Reader, Receipt, ShipmentView, TicketView, lacks_address,
};
use crate::desk::cart::carry_cart;
use crate::desk::orders::{accept, cancel_visible, history_after, visible};
use crate::desk::staff::staff_of;
use crate::ports::Ports;
use crate::problem::Problem;
use crate::session::Session;
use crate::state::App;
use crate::text::time_text;
use crate::{request, session};

/// Default number of orders on a page of the session's list.
const LIST: u32 = 20;
/// Maximum number of orders on a page of the session's list.
const LIST_MAX: u32 = 100;

/// Places an order. A repeat with the same key and body gets the same response.
#[utoipa::path(
    post,
    path = RouteId::PlaceOrder.path(),
    params(("Idempotency-Key" = String, Header, min_length = 1, max_length = 200,
        description = "A new value for each order")),
    request_body = NewOrder,
    responses((status = 202, description = "The order is placed", body = Receipt))
)]
pub async fn place<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let session = session::of(&headers, &app.settings);
    let Some(key) = headers.get("idempotency-key") else {
        return Err(Problem::malformed(
            "Idempotency-Key",
            "is required; send a new value for each order",
        ));
    };
    // A key that is not ASCII is refused with the other invalid fields.
    let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
    let mut new: NewOrder = request::body(&headers, &body)?;
    let lines = new.take_lines()?;
    let from_cart = lines.is_none();
    let cart = match (lines, &session) {
        (Some(lines), _) => Cart {
            lines,
            ..Cart::default()
        },
        (None, Some(session)) => app.carts().get(&session.hash).await?,
        (None, None) => Cart::default(),
    };
    // An order from the cart belongs to the session that begins with the order, as with an order
    // from the checkout page.
    let after = session
        .as_ref()
        .filter(|_| from_cart)
        .map(|session| session.after_checkout(&key, &app.settings));
    let owner = after.as_ref().or(session.as_ref());
    let mut expected = new.expected();
    expected.lines = remembered(&app, &cart);
    let request = Request {
        order_type: new.order_type(),
        customer_name: new.customer.name.0,
        customer_phone: new.customer.phone.0,
        customer_email: new.customer.email.0,
        notify: Channels::preferences(new.notify),
        location_id: new.location_id.map(|id| id.0),
        pickup_at: new.pickup_at.map(|at| at.0),
        special_instructions: new.special_instructions.unwrap_or_default().0,
        delivery_address: new.delivery_address.map(|address| address.0),
        address_required: requires_address(env!("CARGO_PKG_VERSION")),
        payment_token: new.payment_token.0,
        lines: cart.lines.clone(),
        from_cart,
        idempotency_key: key,
        session_hash: owner.map(|session| session.hash.clone()),
        other_sessions: session.as_ref().map(Session::hashes).unwrap_or_default(),
        traceparent: chassis::trace::current(),
        expected,
    };
    let accepted = accept(&app, request).await?;
    if let (Some(before), Some(after)) = (&session, &after) {
        if !accepted.replayed {
            // The order is valid even if its lines cannot be removed from the cart. The customer
            // can remove them.
            let _ = app.carts().take_out(&before.hash, &cart.lines).await;
        }
        carry_cart(&app, before, after).await;
    }
    let location = format!("/api/v1/orders/{}", accepted.order.order_id);
    let location = [(header::LOCATION, location)];
    let warning = format!("299 - \"delivery_address {ADDRESS_WARNING}\"");
    let warning = lacks_address(&accepted.order).then_some([(header::WARNING, warning)]);
    let receipt = Json(Receipt::of(&accepted));
    let response = (StatusCode::ACCEPTED, location, warning, receipt).into_response();
    Ok(match after {
        Some(after) => after.onto(response),
        None => response,
    })
}

/// Returns the prices that the customer has probably seen: those that the cart stored, otherwise
/// the prices before the last change. They only make messages more precise.
fn remembered<P: Ports>(app: &App<P>, cart: &Cart) -> Vec<ShownLine> {
    let seen = |line: &Line| {
        let price = cart
            .seen
            .get(&line.product_id)
            .copied()
            .or_else(|| app.menu.price_before(&line.product_id));
        price.map(|unit_price_minor| ShownLine {
            product_id: line.product_id.clone(),
            quantity: None,
            unit_price_minor,
        })
    };
    cart.lines.iter().filter_map(seen).collect()
}

/// The first version (major, minor) in which a delivery requires an address. Earlier versions
/// accept one without it and add a warning.
const ADDRESS_REQUIRED_FROM: (u64, u64) = (0, 2);

/// Returns true if this version of the API, such as `0.2.0`, requires an address for a delivery.
fn requires_address(version: &str) -> bool {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse().unwrap_or_default());
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    ) >= ADDRESS_REQUIRED_FROM
}

/// Returns an order with its history, ticket and shipment.
#[utoipa::path(
    get,
    path = RouteId::ReadOrder.path(),
    responses((status = 200, description = "The order", body = OrderView,
        headers(("ETag" = String, description = "The version of the order"))))
)]
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::ReadOrder, &id, &query, &headers).await?;
    let (scope, order_id) = (app.customer_scope(), stored.order.order_id);
    let history = app.orders().history(&scope, order_id, 0).await?;
    let tickets = app.orders().tickets(&scope, &[order_id]).await?;
    let shipment = app.orders().shipment(&scope, order_id).await?;
    let left = history.iter().find(|entry| entry.to == Status::Completed);
    let mut view = OrderView::of(&stored.order, &history, reader(&app, &headers));
    view.ticket = Some(tickets.first().map(TicketView::of));
    view.shipment = Some(shipment.map(|parcel| ShipmentView {
        tracking_number: parcel.tracking_number,
        shipped_at: left.map(|entry| time_text(entry.at)),
    }));
    Ok(view.tagged())
}

fn reader<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Reader {
    match staff_of(app, headers) {
        Some(_) => Reader::Staff,
        None => Reader::Customer,
    }
}

/// The session's own orders.
#[derive(Serialize, ToSchema)]
pub struct OwnOrders {
    #[schema(value_type = Vec<crate::schema::OwnOrder>)]
    orders: Vec<ListedView>,
    /// The value of `before` for the next page, or null on the last page.
    #[schema(value_type = Option<String>)]
    next_before: Option<OrderId>,
    source: ListSource,
}

/// Where a list comes from: the order view, which may be a moment old, or the orders table.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListSource {
    View,
    Orders,
}

/// Lists the session's own orders, newest first.
///
/// The list is from the order view, which may be a moment old, or from the orders table when the
/// view does not answer.
#[utoipa::path(
    get,
    path = RouteId::ListOwnOrders.path(),
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "20 by default"),
        ("before" = Option<String>, Query, format = Uuid,
            description = "Only orders placed before this one"),
    ),
    responses((status = 200, description = "The orders", body = OwnOrders))
)]
pub async fn list<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<OwnOrders>, Problem> {
    let (mut limit, mut before) = (LIST, None);
    let rule = format!("is unknown or invalid; use limit (1-{LIST_MAX}) or before (an order id)");
    request::query(&query, &rule, |name, value| {
        match name {
            "limit" => limit = request::number(value, LIST_MAX)?,
            "before" => before = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    })?;
    let mut source = ListSource::View;
    let mut orders = match session::of(&headers, &app.settings) {
        None => Vec::new(),
        Some(session) => match views_of(&app, &session, limit, before).await {
            Some(views) => views,
            None => {
                source = ListSource::Orders;
                orders_of(&app, &session, limit, before).await?
            }
        },
    };
    for order in &mut orders {
        order.reason = public_reason(order.reason.as_deref()).map(str::to_owned);
    }
    let is_full = orders.len() == limit as usize;
    let last = orders.last().filter(|_| is_full);
    Ok(Json(OwnOrders {
        next_before: last.map(|order| order.order_id),
        orders,
        source,
    }))
}

/// Maximum number of previous and current ids of a browser for the order view, which takes one
/// query per id.
const VIEW_QUERIES_MAX: usize = 8;
/// Maximum time for the order view. The orders table is slower to list, and current.
const VIEWED_WITHIN: Duration = Duration::from_millis(500);

/// Returns the newest orders of a browser's sessions from the order view. Returns `None` when the
/// view does not answer in time, or would need too many queries.
async fn views_of<P: Ports>(
    app: &App<P>,
    session: &Session,
    limit: u32,
    before: Option<OrderId>,
) -> Option<Vec<ListedView>> {
    let (hashes, scope) = (session.hashes(), app.customer_scope());
    if hashes.len() > VIEW_QUERIES_MAX {
        return None;
    }
    let each = hashes
        .iter()
        .map(|hash| app.ports.views().of_session(&scope, hash, limit, before));
    let why = match timeout(VIEWED_WITHIN, try_join_all(each)).await {
        Ok(Ok(views)) => return Some(newest(views, limit)),
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("no answer in {VIEWED_WITHIN:?}"),
    };
    tracing::warn!(error = why, "Listed the orders themselves");
    None
}

/// Returns the same list from the orders table, with one statement for any number of sessions.
async fn orders_of<P: Ports>(
    app: &App<P>,
    session: &Session,
    limit: u32,
    before: Option<OrderId>,
) -> Result<Vec<ListedView>, StoreError> {
    let filter = OrderFilter {
        statuses: Vec::new(),
        limit,
        before,
        session_hashes: session.hashes(),
    };
    let stored = app
        .orders()
        .list_stored(&app.customer_scope(), &filter)
        .await?;
    Ok(stored.iter().map(ListedView::of).collect())
}

fn newest(of_each: Vec<Vec<ListedView>>, limit: u32) -> Vec<ListedView> {
    let mut views: Vec<ListedView> = of_each.into_iter().flatten().collect();
    // Order ids are UUIDv7, so the newest order has the greatest id.
    views.sort_by_key(|view| std::cmp::Reverse(view.order_id));
    views.truncate(limit as usize);
    views
}

/// Cancels an order while it may be canceled.
#[utoipa::path(
    post,
    path = RouteId::CancelOrder.path(),
    responses((status = 202, description = "The order is being canceled", body = OrderView))
)]
pub async fn cancel<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::CancelOrder, &id, &query, &headers).await?;
    let order = cancel_visible(&app, &headers, &stored).await?;
    let history = history_after(&app, &app.customer_scope(), &order).await;
    let view = OrderView::of(&order, &history, reader(&app, &headers));
    let mut response = view.tagged();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_required_from_version_0_2_on() {
        for (version, required) in [
            ("0.0.0", false),
            ("0.1.9", false),
            ("0.2.0", true),
            ("0.10.0", true),
            ("1.0.0", true),
            ("0.2.0-rc.1", true),
        ] {
            assert_eq!(requires_address(version), required, "{version}");
        }
    }
}
