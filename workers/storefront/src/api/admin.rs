//! Routes for staff about orders: the list, and status changes.

use std::collections::HashMap;

use app::ports::orders::{OrderFilter, OrderStore as _};
use app::use_cases::change_order::Move;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use contract::route::RouteId;
use deserr::Deserr;
use domain::FieldError;
use domain::ids::{OrderId, OrderNumber};
use domain::order::Status;
use serde::Serialize;
use utoipa::ToSchema;

use super::order_view::{ListedOrder, OrderView, Reader};
use crate::desk::orders::{history_after, may_set, move_order, newest_with_number, tickets_of};
use crate::ports::Ports;
use crate::problem::{Kind, Problem};
use crate::request::{self, Invalid, Note, Parsed};
use crate::schema;
use crate::staff::Staff;
use crate::state::App;

/// Maximum of orders on one page of the list.
const LIST_MAX: u32 = 200;

/// A page of orders.
#[derive(Serialize, ToSchema)]
pub struct Orders {
    orders: Vec<ListedOrder>,
    /// The value of `before` for the next page, or null on the last page.
    #[schema(value_type = Option<String>)]
    next_before: Option<OrderId>,
}

/// Lists orders, newest first, filtered by status or order number.
#[utoipa::path(
    get,
    path = RouteId::ListOrders.path(),
    params(
        ("status" = Option<String>, Query, description = "One or more, separated by commas"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "50 by default"),
        ("before" = Option<String>, Query, format = Uuid,
            description = "Only orders placed before this one"),
        ("number" = Option<String>, Query,
            description = "Such as A-047: the newest order with this number"),
    ),
    responses((status = 200, description = "The orders", body = Orders))
)]
pub async fn orders<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    _staff: Extension<Staff>,
) -> Result<Json<Orders>, Problem> {
    let mut filter = OrderFilter {
        limit: 50,
        ..OrderFilter::default()
    };
    let mut number = None;
    let rule = format!(
        "is unknown or invalid; use status (one or more, by comma), limit (1-{LIST_MAX}), before \
         (an order id) or number (such as A-047)"
    );
    request::query(&query, &rule, |name, value| {
        match name {
            "status" => {
                let codes = value.split(',').map(Status::from_code);
                filter.statuses = codes.collect::<Option<_>>()?;
            }
            "limit" => filter.limit = request::number(value, LIST_MAX)?,
            "before" => filter.before = Some(value.parse().ok()?),
            "number" => number = Some(OrderNumber::parse(value)?),
            _ => return None,
        }
        Some(())
    })?;
    let orders = match number {
        // Order numbers restart each day; the newest order is the one that staff mean.
        Some(number) => newest_with_number(&app, number)
            .await?
            .into_iter()
            .collect(),
        None => app.orders().list(&app.staff_scope(), &filter).await?,
    };
    let tickets = tickets_of(&app, &orders).await?;
    let is_full = orders.len() == filter.limit as usize;
    let last = orders.last().filter(|_| is_full);
    Ok(Json(Orders {
        orders: orders
            .iter()
            .map(|order| ListedOrder::of(order, tickets.get(&order.order_id)))
            .collect(),
        next_before: last.map(|order| order.order_id),
    }))
}

/// A change of an order's status.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct StatusChange {
    #[schema(schema_with = schema::status_by_staff)]
    status: Parsed<Status>,
    /// A note for other staff.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 300)]
    #[deserr(default)]
    note: Option<Parsed<Note>>,
}

/// Changes the status of an order. If-Match must have the version that the client read.
#[utoipa::path(
    put,
    path = RouteId::SetStatus.path(),
    params(("If-Match" = String, Header, description = "The version of the order, such as 4")),
    request_body = StatusChange,
    responses((status = 200, description = "The order after the change", body = OrderView,
        headers(("ETag" = String, description = "The version of the order"))))
)]
pub async fn set_status<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Extension(staff): Extension<Staff>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let order_id: OrderId = id.parse().map_err(|_| Problem::no_such_order())?;
    let StatusChange {
        status: Parsed(to),
        note,
    } = request::body(&headers, &body)?;
    may_set(&staff, to)?;
    let expected_version = if_match(&headers)?;
    let scope = app.staff_scope();
    let asked = Move {
        scope: scope.clone(),
        order_id,
        expected_version,
        to,
        actor: staff.name,
        note: note.map(|Parsed(Note(note))| note),
    };
    let order = move_order(&app, asked).await?;
    let history = history_after(&app, &scope, &order).await;
    Ok(OrderView::of(&order, &history, Reader::Staff).tagged())
}

/// Returns the version in `If-Match`, a plain number or an `ETag`.
fn if_match(headers: &HeaderMap) -> Result<i64, Problem> {
    let Some(tag) = headers.get("if-match") else {
        let detail = "Send If-Match with the version of the order that you read.";
        let message = "is required; send the version of the order that you read";
        return Err(Problem::new(Kind::PreconditionRequired, detail)
            .naming([FieldError::new("If-Match", message)]));
    };
    let tag = tag
        .to_str()
        .unwrap_or_default()
        .trim()
        .trim_start_matches("W/")
        .trim_matches('"');
    tag.parse()
        .map_err(|_| Problem::malformed("If-Match", "must be a version, such as 4"))
}
