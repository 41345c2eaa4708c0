//! Routes with which customers place, read and cancel orders.

use std::collections::HashMap;
use std::time::Duration;

use app::ports::carts::{Cart, CartStore as _};
use app::ports::fulfilment::{FulfilmentStore as _, Shipment, Ticket};
use app::ports::orders::{OrderFilter, OrderStore as _, StoredOrder};
use app::ports::scope::Scope;
use app::ports::views::{OrderView, OrderViewReader as _};
use app::ports::{Backend, Source as _, Unavailable};
use app::use_cases::change_order::{CUSTOMER, ChangeRefusal, cancel_by_customer};
use app::use_cases::for_customers::{public_note, public_reason};
use app::use_cases::place_order::{
    Accepted, Expected, PlaceOrderDeps, Refusal, Request, ShownLine, place_order,
};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use domain::access::{Action, Denial, Resource, may};
use domain::address::{DeliveryAddress, Written};
use domain::cart::{Line, Lines};
use domain::channel::Preferences;
use domain::ids::{LocationId, OrderId, ProductId};
use domain::order::{HistoryEntry, Order, OrderType, Status};
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;

use super::staff_of;
use crate::fields::{Fields, object};
use crate::menu::Offered;
use crate::pages::carry_cart;
use crate::problem::Problem;
use crate::session::Session;
use crate::{App, Observation, Ports, access, digest, random_token, session, staff, tracking};

/// Default number of orders on a page of the session's list.
const LIST: u32 = 20;
/// Maximum number of orders on a page of the session's list.
const LIST_MAX: u32 = 100;
/// Maximum time to place an order. Placing normally takes milliseconds; after this limit the client
/// is told that the result is unknown.
const PLACED_WITHIN: Duration = Duration::from_secs(7);

/// Places an order from the request's items or from the session's cart.
pub async fn place<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let session = session::of(&headers, &app.settings);
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().unwrap_or("\u{7f}").to_owned());
    let Some(key) = key else {
        return Err(Problem::malformed(
            "Idempotency-Key",
            "is required: a header with a value that is new for each order",
        ));
    };
    let mut asked = read(object(&headers, &body)?)?;
    let from_cart = asked.lines.is_none();
    let cart = match (asked.lines.take(), &session) {
        (Some(lines), _) => Cart {
            lines,
            ..Cart::default()
        },
        (None, Some(session)) => app.ports.carts().get(&session.hash).await?,
        (None, None) => Cart::default(),
    };
    // An order from the cart belongs to the session that begins with the order, as with an order
    // from the checkout page.
    let after = session
        .as_ref()
        .filter(|_| from_cart)
        .map(|session| session.after_checkout(&key, &app.settings));
    let owner = after.as_ref().or(session.as_ref());
    let mut request = Request {
        lines: cart.lines.clone(),
        from_cart,
        idempotency_key: key,
        session_hash: owner.map(|session| session.hash.clone()),
        other_sessions: session.as_ref().map(Session::hashes).unwrap_or_default(),
        ..asked.request
    };
    request.expected.lines = remembered(&app, &cart);
    let accepted = accept(&app, request).await?;
    if let (Some(before), Some(after)) = (&session, &after) {
        if !accepted.replayed {
            // The order is valid even if its lines cannot be removed from the cart. The customer
            // can remove them.
            let _ = app.ports.carts().take_out(&before.hash, &cart.lines).await;
        }
        carry_cart(&app, before, after).await;
    }
    let location = format!("/api/v1/orders/{}", accepted.order.order_id);
    let mut response = (StatusCode::ACCEPTED, Json(receipt(&accepted))).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if lacks_address(&accepted.order)
        && let Ok(warning) =
            HeaderValue::from_str(&format!("299 - \"delivery_address {ADDRESS_WARNING}\""))
    {
        response.headers_mut().insert(header::WARNING, warning);
    }
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

/// Places an order that came as JSON or from a form.
///
/// # Errors
/// Returns the reason for the refusal, and `Uncertain` when the database does not answer in time.
pub async fn accept<P: Ports>(app: &App<P>, request: Request) -> Result<Accepted, Refusal> {
    let maker = app.maker();
    let means = PlaceOrderDeps {
        source: app.ports.source(),
        maker: &maker,
        digest,
        tracking_token: random_token(),
        pending_max: app.pending_max(),
    };
    let shop = app.settings.shops.named(request.location_id.as_ref());
    let shop = shop.map_err(|error| Refusal::Fields(vec![error]))?;
    let offers = Offered(app);
    let placing = place_order(app.ports.orders(), &offers, &shop, means, request);
    // This limit is shorter than the limit of the request, so the customer keeps the form and its
    // key.
    let placed = timeout(PLACED_WITHIN, placing).await;
    let accepted = placed.unwrap_or_else(|_| {
        Err(Refusal::Uncertain(Unavailable::new(
            Backend::Orders,
            format!("no answer in {PLACED_WITHIN:?}"),
        )))
    })?;
    app.ports.observe(if accepted.replayed {
        Observation::Replayed
    } else {
        Observation::Accepted
    });
    Ok(accepted)
}

struct Asked {
    request: Request,
    /// The lines of the request; `None` for an order from the cart.
    lines: Option<Lines>,
}

/// Reads the body and reports all invalid fields together. This function checks the types; the use
/// case checks the values.
fn read(body: Map<String, Value>) -> Result<Asked, Problem> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(body, "", &mut errors);
    let customer = fields.object("customer");
    let order_type = fields
        .optional_text("order_type")
        .unwrap_or_else(|| "pickup".to_owned());
    let location = fields
        .optional_text("location_id")
        .map(|id| LocationId::parse(&id));
    if let Some(Err(error)) = &location {
        fields.wrong("location_id", error.message.clone());
    }
    let pickup_at = fields.time("pickup_at");
    let special_instructions = fields
        .optional_text("special_instructions")
        .unwrap_or_default();
    let address = match fields.take("delivery_address") {
        None => None,
        Some(Value::Object(address)) => Some(address),
        Some(_) => {
            fields.wrong("delivery_address", "must be an object");
            None
        }
    };
    let payment_token = fields.text("payment_token");
    let notify = fields.optional_object("notify");
    let cart = fields.flag("cart").unwrap_or_default();
    let expected_total_minor = fields.optional_integer("expected_total_minor");
    let cart_version = fields.optional_integer("cart_version");
    if cart_version.is_some() && !cart {
        fields.wrong("cart_version", "is only for \"cart\": true");
    }
    let items = match fields.take("items") {
        None if cart => None,
        None => {
            fields.wrong("items", "is required, or \"cart\": true");
            None
        }
        Some(_) if cart => {
            fields.wrong("items", "must not be given together with \"cart\": true");
            None
        }
        Some(Value::Array(items)) => Some(items),
        Some(_) => {
            fields.wrong("items", "must be a list");
            None
        }
    };
    fields.finish();
    let mut person = Fields::new(customer, "customer", &mut errors);
    let (name, phone, email) = (
        person.text("name"),
        person.text("phone"),
        person.text("email"),
    );
    person.finish();
    let mut wishes = Fields::new(notify, "notify", &mut errors);
    let usual = Preferences::default();
    let notify = Preferences {
        email: wishes.flag("email").unwrap_or(usual.email),
        sms: wishes.flag("sms").unwrap_or(usual.sms),
    };
    wishes.finish();
    let delivery_address = address.and_then(|address| read_address(address, &mut errors));
    let lines = items.map(|items| read_items(items, &mut errors));
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let request = Request {
        customer_name: name,
        customer_phone: phone,
        customer_email: email,
        notify,
        order_type,
        location_id: location.and_then(Result::ok),
        pickup_at,
        special_instructions,
        delivery_address,
        address_required: requires_address(env!("CARGO_PKG_VERSION")),
        payment_token,
        lines: Lines::default(),
        from_cart: false,
        idempotency_key: String::new(),
        session_hash: None,
        other_sessions: Vec::new(),
        traceparent: chassis::trace::current(),
        expected: Expected {
            total_minor: expected_total_minor,
            cart_version,
            lines: Vec::new(),
        },
    };
    Ok(Asked { request, lines })
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

fn read_address(
    address: Map<String, Value>,
    errors: &mut Vec<domain::FieldError>,
) -> Option<DeliveryAddress> {
    let mut fields = Fields::new(address, "delivery_address", errors);
    let [line1, line2, city, postal_code, note] = ["line1", "line2", "city", "postal_code", "note"]
        .map(|name| fields.optional_text(name).unwrap_or_default());
    fields.finish();
    let written = Written {
        line1: &line1,
        line2: &line2,
        city: &city,
        postal_code: &postal_code,
        note: &note,
    };
    DeliveryAddress::parse(written)
        .map_err(|wrong| errors.extend(wrong))
        .ok()
}

fn read_items(items: Vec<Value>, errors: &mut Vec<domain::FieldError>) -> Lines {
    let mut lines = Vec::with_capacity(items.len().min(100));
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("items[{index}]");
        let Value::Object(item) = item else {
            errors.push(domain::FieldError::new(path, "must be an object"));
            continue;
        };
        let mut fields = Fields::new(item, path, errors);
        let text = fields.text("product_id");
        let product_id = ProductId::parse(&text);
        if let (Err(error), false) = (&product_id, text.is_empty()) {
            fields.wrong("product_id", error.message.clone());
        }
        let quantity = fields.quantity("quantity");
        fields.finish();
        if let (Ok(product_id), Some(quantity)) = (product_id, quantity) {
            lines.push(Line {
                product_id,
                quantity,
            });
        }
    }
    Lines::merge(lines).unwrap_or_else(|error| {
        errors.push(error);
        Lines::default()
    })
}

/// Returns the body for a placed order. It has no field that changes later, so a replay returns the
/// same bytes.
fn receipt(accepted: &Accepted) -> Value {
    let (order, token) = (&accepted.order, &accepted.tracking_token);
    let mut receipt = json!({
        "order_id": order.order_id,
        "order_number": order.order_number,
        "tracking_token": token,
        "status": order.status.code(),
        "subtotal_minor": order.totals.subtotal.minor,
        "tax_minor": order.totals.tax.minor,
        "total_minor": order.totals.total.minor,
        "currency": order.totals.total.currency.code(),
        "links": links(order, Some(token)),
    });
    if lacks_address(order) {
        receipt["warnings"] = json!([{ "field": "delivery_address", "message": ADDRESS_WARNING }]);
    }
    receipt
}

/// The warning for a delivery without an address.
const ADDRESS_WARNING: &str =
    "is required for a delivery from version 0.2.0 on; until then the shop has to call";

fn lacks_address(order: &Order) -> bool {
    order.order_type == OrderType::Delivery && order.delivery_address.is_none()
}

fn links(order: &Order, token: Option<&str>) -> Value {
    let query = token
        .map(|token| format!("?token={token}"))
        .unwrap_or_default();
    let api = format!("/api/v1/orders/{}", order.order_id);
    json!({
        "self": format!("{api}{query}"),
        "events": format!("{api}/events{query}"),
        "cancel": format!("{api}/cancel{query}"),
        // Browsers do not send the fragment to any server.
        "page": format!("/orders/{}{}", order.order_id, token.map(|token| format!("#t={token}")).unwrap_or_default()),
    })
}

/// Shows an order with its history, ticket and shipment.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::ReadOrder, &id, &query, &headers).await?;
    let (scope, order_id) = (app.customer_scope(), stored.order.order_id);
    let history = app.ports.orders().history(&scope, order_id, 0).await?;
    let mut body = told(&stored.order, &history);
    if staff_of(&app, &headers).is_none() {
        hide_notes(&mut body, &stored.order, &history);
    }
    body["ticket"] = app
        .ports
        .orders()
        .tickets(&scope, &[order_id])
        .await?
        .first()
        .map_or(Value::Null, ticket);
    body["shipment"] = match app.ports.orders().shipment(&scope, order_id).await? {
        // The parcel gets its tracking number when it is prepared, and leaves when staff complete
        // the order.
        Some(Shipment {
            tracking_number, ..
        }) => {
            let left = history.iter().find(|entry| entry.to == Status::Completed);
            json!({ "tracking_number": tracking_number, "shipped_at": left.map(|entry| time_text(entry.at)) })
        }
        None => Value::Null,
    };
    Ok(tagged(&stored.order, body))
}

/// Returns a ticket as JSON.
pub fn ticket(ticket: &Ticket) -> Value {
    let slot_at = ticket.slot_at.map(time_text);
    json!({ "day": ticket.day.to_string(), "position": ticket.position, "slot_at": slot_at })
}

/// Lists the session's own orders from the order view, which may be a moment old. Falls back to the
/// orders table when the view does not answer.
pub async fn list<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let (mut limit, mut before, mut errors) = (LIST, None, Vec::new());
    for (name, value) in &query {
        let good = match name.as_str() {
            "limit" => {
                let asked = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LIST_MAX).contains(limit));
                asked.map(|asked| limit = asked).is_some()
            }
            "before" => value.parse().map(|id: OrderId| before = Some(id)).is_ok(),
            _ => false,
        };
        if !good {
            let message = "must be limit (1 to 100) or before (an order id), each legal";
            errors.push(domain::FieldError::new(name, message));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let mut source = "view";
    let mut views = match session::of(&headers, &app.settings) {
        None => Vec::new(),
        Some(session) => match views_of(&app, &session, limit, before).await {
            Some(views) => views,
            None => {
                source = "orders";
                orders_of(&app, &session, limit, before).await?
            }
        },
    };
    for view in &mut views {
        view.reason = public_reason(view.reason.as_deref()).map(str::to_owned);
    }
    let next = (views.len() == limit as usize)
        .then(|| views.last().map(|view| view.order_id))
        .flatten();
    Ok(Json(
        json!({ "orders": views, "next_before": next, "source": source }),
    ))
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
) -> Option<Vec<OrderView>> {
    let (hashes, scope) = (session.hashes(), app.customer_scope());
    if hashes.len() > VIEW_QUERIES_MAX {
        return None;
    }
    let each = hashes
        .iter()
        .map(|hash| app.ports.views().of_session(&scope, hash, limit, before));
    let why = match timeout(VIEWED_WITHIN, try_join_all(each)).await {
        Ok(Ok(views)) => return Some(newest(views, limit)),
        Ok(Err(error)) => error.to_string(),
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
) -> Result<Vec<OrderView>, Unavailable> {
    let filter = OrderFilter {
        statuses: Vec::new(),
        limit,
        before,
        session_hashes: session.hashes(),
    };
    let stored = app
        .ports
        .orders()
        .list_stored(&app.customer_scope(), &filter)
        .await?;
    Ok(stored.iter().map(OrderView::of).collect())
}

fn newest(of_each: Vec<Vec<OrderView>>, limit: u32) -> Vec<OrderView> {
    let mut views: Vec<OrderView> = of_each.into_iter().flatten().collect();
    // Order ids are UUIDv7, so the newest order has the greatest id.
    views.sort_by_key(|view| std::cmp::Reverse(view.order_id));
    views.truncate(limit as usize);
    views
}

/// Cancels an order.
pub async fn cancel<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::CancelOrder, &id, &query, &headers).await?;
    let order = cancel_visible(&app, &headers, &stored).await?;
    let history = history_after(&app, &app.customer_scope(), &order).await;
    let mut body = told(&order, &history);
    if staff_of(&app, &headers).is_none() {
        hide_notes(&mut body, &order, &history);
    }
    let mut response = tagged(&order, body);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
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
    let orders = app.ports.orders();
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
    let staff = staff::of(headers, &app.settings, app.ports.source().now());
    let event = access::event_of(staff.as_ref().err().copied());
    let not_found = || Problem::not_found().noting(event);
    let order_id: OrderId = id.parse().map_err(|_| not_found())?;
    let stored = app
        .ports
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
        Err(Denial::Role) => Err(access::forbidden(action)),
    }
}

/// Returns the history of an order that was just changed, or an empty list when it cannot be read.
/// The change has succeeded, so a failed read must not turn its answer into an error.
pub async fn history_after<P: Ports>(
    app: &App<P>,
    scope: &Scope,
    order: &Order,
) -> Vec<HistoryEntry> {
    app.ports.orders().history(scope, order.order_id, 0).await.unwrap_or_else(|error| {
        tracing::warn!(%error, order_id = %order.order_id, "An order was changed, and is answered without its history");
        Vec::new()
    })
}

/// Returns an order with its history, and with its version as `ETag`.
pub fn answer(order: &Order, history: &[HistoryEntry]) -> Response {
    tagged(order, told(order, history))
}

fn told(order: &Order, history: &[HistoryEntry]) -> Value {
    let mut body = summary(order);
    body["history"] = history.iter().map(entry).collect();
    body["links"] = links(order, None);
    body
}

/// Removes the notes that staff wrote for each other.
fn hide_notes(body: &mut Value, order: &Order, history: &[HistoryEntry]) {
    body["reason"] = json!(public_reason(order.reason.as_deref()));
    for (shown, entry) in body["history"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .zip(history)
    {
        shown["note"] = json!(public_note(entry));
    }
}

fn tagged(order: &Order, body: Value) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", order.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Returns an order as JSON, without its history.
pub fn summary(order: &Order) -> Value {
    let items = order.items.iter().map(|item| {
        let line_total = item
            .unit_price
            .times(item.quantity.get())
            .unwrap_or(item.unit_price);
        json!({
            "product_id": item.product_id,
            "name": item.name,
            "quantity": item.quantity.get(),
            "unit_price_minor": item.unit_price.minor,
            "line_total_minor": line_total.minor,
        })
    });
    json!({
        "order_id": order.order_id,
        "order_number": order.order_number,
        "status": order.status.code(),
        "step": order.state.step().code(),
        "version": order.version,
        "location_id": order.location_id,
        "order_type": order.order_type.code(),
        "customer": {
            "name": order.customer.name,
            "phone": order.customer.phone,
            "phone_extension": order.customer.phone_extension,
            "email": order.customer.email,
        },
        "notify": { "email": order.customer.notify.email, "sms": order.customer.notify.sms },
        "special_instructions": order.special_instructions,
        "delivery_address": order.delivery_address,
        "pickup_at": order.pickup_at.map(time_text),
        "items": items.collect::<Vec<_>>(),
        "subtotal_minor": order.totals.subtotal.minor,
        "tax_basis_points": order.totals.rate.basis_points(),
        "tax_rate_millionths": order.totals.rate.millionths(),
        "tax_minor": order.totals.tax.minor,
        "total_minor": order.totals.total.minor,
        "currency": order.totals.total.currency.code(),
        "reason": order.reason,
        "created_at": time_text(order.created_at),
        "updated_at": time_text(order.updated_at),
    })
}

fn entry(entry: &HistoryEntry) -> Value {
    json!({
        "seq": entry.seq,
        "from_status": entry.from.map(|status| status.code()),
        "to_status": entry.to.code(),
        "step": entry.step.code(),
        "actor": entry.actor,
        "note": entry.note,
        "at": time_text(entry.at),
    })
}

/// Returns the time in RFC 3339.
pub fn time_text(at: domain::Timestamp) -> String {
    // Formatting fails only for years after 9999.
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_of_clients_from_its_version_on() {
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
