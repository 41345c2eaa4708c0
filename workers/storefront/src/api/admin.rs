//! Routes for staff: lists and status changes of orders, and stock changes.

use std::collections::HashMap;
use std::time::Duration;

use app::ports::fulfilment::{FulfilmentStore as _, Ticket};
use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::stock::{
    Adjusted, Adjustment, AdjustmentKind, Adjustments as _, Catalogue as _, StockedProduct,
};
use app::ports::{Backend, Source as _, Unavailable};
use app::use_cases::change_order::{ChangeRefusal, Move, move_by_staff};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::access::{Action, Actor, Resource, may};
use domain::customer::NAME_MAX;
use domain::ids::{OrderId, OrderNumber, ProductId};
use domain::order::{Order, Status};
use domain::text::line;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::orders::{answer, history_after, summary, ticket, time_text};
use super::staff_only;
use crate::fields::{Fields, object};
use crate::problem::Problem;
use crate::staff::Staff;
use crate::{App, Ports, access, audit};

/// Maximum length of a reason or note, in characters.
pub const NOTE_MAX: usize = 300;
/// Maximum of units of one delivery or correction, against typing errors.
const UNITS_MAX: i64 = 100_000;
/// Maximum of orders on one page of the list.
const LIST_MAX: u32 = 200;
/// Maximum time for a stock change, retries included. It is shorter than the limit of a request, so
/// that the answer can name the movement id.
const ADJUSTED_WITHIN: Duration = Duration::from_secs(8);

/// Lists orders, newest first, filtered by status or order number.
pub async fn orders<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    staff_only(&app, &headers)?;
    let mut errors = Vec::new();
    let mut filter = OrderFilter {
        limit: 50,
        ..OrderFilter::default()
    };
    let mut number = None;
    for (name, value) in &query {
        let good = match name.as_str() {
            "status" => {
                let statuses: Option<Vec<_>> = value.split(',').map(Status::from_code).collect();
                statuses
                    .map(|statuses| filter.statuses = statuses)
                    .is_some()
            }
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LIST_MAX).contains(limit));
                limit.map(|limit| filter.limit = limit).is_some()
            }
            "before" => value
                .parse()
                .map(|before: OrderId| filter.before = Some(before))
                .is_ok(),
            "number" => OrderNumber::parse(value)
                .map(|wanted| number = Some(wanted))
                .is_some(),
            _ => false,
        };
        if !good {
            let message = "must be status (one or more, by comma), limit (1 to 200), before (an order id) or number (such as A-047), each legal";
            errors.push(domain::FieldError::new(name, message));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let orders = match number {
        // Order numbers restart each day; the newest order is the one that staff mean.
        Some(number) => newest_with_number(&app, number)
            .await?
            .into_iter()
            .collect(),
        None => app.ports.orders().list(&app.staff_scope(), &filter).await?,
    };
    let tickets = tickets_of(&app, &orders).await?;
    let next = (orders.len() == filter.limit as usize)
        .then(|| orders.last().map(|order| order.order_id))
        .flatten();
    Ok(Json(
        json!({ "orders": orders.iter().map(|order| with_ticket(order, &tickets)).collect::<Vec<_>>(), "next_before": next }),
    ))
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
    let Some(order_id) = app
        .ports
        .orders()
        .newest_with_number(&scope, number)
        .await?
    else {
        return Ok(None);
    };
    Ok(app
        .ports
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
    let tickets = app.ports.orders().tickets(&app.staff_scope(), &ids).await?;
    Ok(tickets
        .into_iter()
        .map(|ticket| (ticket.order_id, ticket))
        .collect())
}

fn with_ticket(order: &Order, tickets: &HashMap<OrderId, Ticket>) -> Value {
    let mut shown = summary(order);
    shown["ticket"] = tickets.get(&order.order_id).map_or(Value::Null, ticket);
    shown
}

/// Changes the status of an order to the requested one, if `If-Match` is its current version.
pub async fn set_status<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let staff = staff_only(&app, &headers)?;
    let order_id: OrderId = id.parse().map_err(|_| Problem::no_such_order())?;
    let mut errors = Vec::new();
    let mut fields = Fields::new(object(&headers, &body)?, "", &mut errors);
    let text = fields.text("status");
    let to = Status::from_code(&text);
    if to.is_none() && !text.is_empty() {
        let legal = Status::ALL.map(Status::code).join(", ");
        fields.wrong("status", format!("must be one of {legal}"));
    }
    let note = fields.optional_text("note");
    fields.finish();
    let note = note
        .map(|note| line("note", &note, NOTE_MAX))
        .transpose()
        .unwrap_or_else(|error| {
            errors.push(error);
            None
        });
    let (Some(to), []) = (to, errors.as_slice()) else {
        return Err(Problem::fields(errors));
    };
    may_set(&staff, to)?;
    let expected_version = if_match(&headers)?;
    let scope = app.staff_scope();
    let asked = Move {
        scope: scope.clone(),
        order_id,
        expected_version,
        to,
        actor: staff.name,
        note,
    };
    let order = move_order(&app, asked).await?;
    let history = history_after(&app, &scope, &order).await;
    Ok(answer(&order, &history))
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
    may(Actor::Staff(staff.role), action, Resource::Shop).map_err(|_| access::forbidden(action))
}

/// Changes the status of an order on behalf of a member of staff.
///
/// # Errors
/// Returns the reason when the order is not visible, its version changed, the transition is not
/// allowed, or the database does not answer.
pub async fn move_order<P: Ports>(app: &App<P>, asked: Move) -> Result<Order, ChangeRefusal> {
    move_by_staff(app.ports.orders(), app.ports.source(), &app.maker(), asked).await
}

/// Returns the version in `If-Match`, a plain number or an `ETag`.
fn if_match(headers: &HeaderMap) -> Result<i64, Problem> {
    let Some(tag) = headers.get("if-match") else {
        return Err(Problem {
            errors: vec![domain::FieldError::new(
                "If-Match",
                "is required: the version of the order that you have seen",
            )],
            ..Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition-required",
                "Which version?",
                "Send If-Match with the version of the order that you have seen.",
            )
        });
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

/// Lists the stock counters of every product.
pub async fn inventory<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    staff_only(&app, &headers)?;
    let products = app.ports.stock().products().await?;
    Ok(Json(
        json!({ "products": products.iter().map(stocked).collect::<Vec<_>>() }),
    ))
}

/// Adds units that a supplier delivered.
pub async fn restock<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let staff = staff_only(&app, &headers)?;
    let asked = read(
        &headers,
        &body,
        "quantity",
        |units| (1..=UNITS_MAX).contains(&units),
        "must be a whole number from 1 to 100000",
    )?;
    let change = AdjustmentKind::Restock(u32::try_from(asked.units).unwrap_or(u32::MAX));
    adjust_by(&app, &product_id, change, asked, staff.name).await
}

/// Corrects the stock after a count: negative for lost units, positive for found ones.
pub async fn adjust<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let staff = staff_only(&app, &headers)?;
    let legal = |units: i64| units != 0 && units.unsigned_abs() <= UNITS_MAX.unsigned_abs();
    let asked = read(
        &headers,
        &body,
        "change",
        legal,
        "must be a whole number, not 0: negative for units lost, positive for units found again",
    )?;
    let change = AdjustmentKind::Correct(asked.units);
    adjust_by(&app, &product_id, change, asked, staff.name).await
}

/// Removes units that were spilled, broken or too old.
pub async fn write_off<P: Ports>(
    State(app): State<App<P>>,
    Path(product_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let staff = staff_only(&app, &headers)?;
    let legal = |units: i64| (1..=UNITS_MAX).contains(&units);
    let asked = read(
        &headers,
        &body,
        "quantity",
        legal,
        "must be a whole number from 1 to 100000",
    )?;
    adjust_by(
        &app,
        &product_id,
        AdjustmentKind::Correct(-asked.units),
        asked,
        staff.name,
    )
    .await
}

/// A stock change as the client requested it.
pub struct Asked {
    /// Number of units; negative for a correction that removes units.
    pub units: i64,
    /// Why the stock changes.
    pub reason: String,
    /// The client's id of the change, with which a repeat is counted once.
    pub movement_id: Option<String>,
}

/// Reads the body of a stock change. `legal` checks the units in `field`; `rule` is the message for
/// an invalid number.
fn read(
    headers: &HeaderMap,
    body: &Bytes,
    field: &str,
    legal: impl Fn(i64) -> bool,
    rule: &str,
) -> Result<Asked, Problem> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(object(headers, body)?, "", &mut errors);
    let units = fields.integer(field);
    if units.is_some_and(|units| !legal(units)) {
        fields.wrong(field, rule);
    }
    let reason = fields.text("reason");
    let movement_id = fields.optional_text("movement_id");
    fields.finish();
    check(units.unwrap_or_default(), &reason, movement_id, errors)
}

/// Validates a stock change and adds to `errors`. A reason is required, because the ledger is read
/// much later.
///
/// # Errors
/// Returns 422 with all invalid fields.
pub fn check(
    units: i64,
    reason: &str,
    movement_id: Option<String>,
    mut errors: Vec<domain::FieldError>,
) -> Result<Asked, Problem> {
    let told = errors.iter().any(|error| error.field == "reason");
    let reason = line("reason", reason, NOTE_MAX).unwrap_or_else(|error| {
        if !told {
            errors.push(error);
        }
        String::new()
    });
    // `line` refuses texts that look like card numbers, and the digits of a UUID can match by
    // chance.
    let id_of = |id: String| match Uuid::parse_str(&id) {
        Ok(_) => Ok(id),
        Err(_) => line("movement_id", &id, NAME_MAX),
    };
    let movement_id = movement_id.map(id_of).transpose().unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    if errors.is_empty() {
        Ok(Asked {
            units,
            reason,
            movement_id,
        })
    } else {
        Err(Problem::fields(errors))
    }
}

/// Changes the stock and answers with the product's counters.
async fn adjust_by<P: Ports>(
    app: &App<P>,
    product_id: &str,
    change: AdjustmentKind,
    asked: Asked,
    actor: String,
) -> Result<Json<Value>, Problem> {
    adjust_stock(app, product_id, change, asked, actor)
        .await
        .map(|product| Json(stocked(&product)))
}

/// Changes the stock, and records who did it and why in the ledger and the audit log.
///
/// # Errors
/// Returns 404 for an unknown product, and 409 when there are too few units. Returns 422 for a
/// movement id that was used for another change, and 503 with the movement id when the result is
/// unknown.
pub async fn adjust_stock<P: Ports>(
    app: &App<P>,
    product_id: &str,
    change: AdjustmentKind,
    asked: Asked,
    actor: String,
) -> Result<StockedProduct, Problem> {
    let product_id = ProductId::parse(product_id).map_err(|_| Problem::not_found())?;
    let source = app.ports.source();
    let movement_id = asked
        .movement_id
        .unwrap_or_else(|| source.uuid().to_string());
    let adjustment = Adjustment {
        movement_id: movement_id.clone(),
        product_id,
        change,
        actor,
        reason: asked.reason,
        at: source.now(),
    };
    let adjusted = timeout(ADJUSTED_WITHIN, app.ports.stock().adjust(&adjustment)).await;
    app.menu.forget();
    let no_answer = |_| {
        Err(Unavailable::new(
            Backend::Stock,
            format!("no answer in {ADJUSTED_WITHIN:?}"),
        ))
    };
    let adjusted = adjusted.unwrap_or_else(no_answer).map_err(|error| Problem {
        // With this id the client can repeat the change safely and search the ledger.
        more: vec![("movement_id", json!(movement_id))],
        ..Problem::uncertain(
            &error,
            format!(
                "We cannot say yet whether the stock was changed. Send the same change again with movement_id \
                 {movement_id}: it is counted once."
            ),
        )
    })?;
    match adjusted {
        Adjusted::Now(product) => {
            let (action, change) = match adjustment.change {
                AdjustmentKind::Restock(units) => (Action::ReceiveStock, i64::from(units)),
                AdjustmentKind::Correct(units) if units < 0 => (Action::WriteOffStock, units),
                AdjustmentKind::Correct(units) => (Action::CorrectStock, units),
            };
            let subject = format!("product/{}", adjustment.product_id);
            // The entry has no counters from before the change: after a repeat with the same
            // movement id they are unknown.
            let after = json!({ "change": change, "available": product.counters.available, "reason": adjustment.reason,
                "movement_id": adjustment.movement_id });
            // A repeat adds no second audit entry, and adds the first one if it was not written.
            let act_id = format!("stock/{}/{}", adjustment.product_id, adjustment.movement_id);
            audit::append(
                app,
                adjustment.actor,
                action,
                subject,
                Some(after),
                Some(act_id),
            )
            .await;
            Ok(product)
        }
        Adjusted::NoSuchProduct => Err(Problem::not_found()),
        Adjusted::IdReused => Err(Problem::field(
            "movement_id",
            "was used for another change: give this one its own",
        )),
        Adjusted::TooFew => Err(Problem {
            errors: vec![domain::FieldError::new(
                "change",
                "is more than there is to take",
            )],
            ..Problem::new(
                StatusCode::CONFLICT,
                "too-few",
                "Too few",
                "There are fewer units than you want to take.",
            )
        }),
    }
}

fn stocked(product: &StockedProduct) -> Value {
    let counters = product.counters;
    json!({
        "product_id": product.product.product_id,
        "name": product.product.name,
        "available": counters.available,
        "reserved": counters.reserved,
        "sold": counters.sold,
        "written_off": counters.written_off,
        "received": counters.received,
        "low_stock_threshold": product.low_stock_threshold,
        "availability": product.availability().code(),
        "last_restocked": product.last_restocked.map(time_text),
        "version": product.version,
    })
}
