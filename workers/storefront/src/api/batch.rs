//! Status changes of many orders in one request. Each order is changed separately, so one failure
//! does not affect the others.

use app::use_cases::change_order::{ChangeRefusal, Move};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use contract::route::RouteId;
use deserr::Deserr;
use domain::ids::OrderId;
use domain::order::{Order, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::orders::{may_set, move_order};
use crate::ports::{Ports, SecurityEvent, SecurityEvents};
use crate::problem::Problem;
use crate::request::{self, Invalid, Note, Parsed, Rule};
use crate::schema;
use crate::staff::Staff;
use crate::state::App;

/// Maximum of changes in one request: more orders than a shop prepares at once.
const CHANGES_MAX: usize = 50;

/// Status changes of many orders.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct StatusChanges {
    #[schema(min_items = 1, max_items = 50)]
    #[deserr(try_from(Vec<OrderChange>) = few -> Rule)]
    changes: Vec<OrderChange>,
}

/// A status change of one order.
#[derive(Deserr, ToSchema)]
#[deserr(error = Invalid, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct OrderChange {
    #[schema(value_type = String, format = Uuid)]
    id: Parsed<OrderId>,
    /// The version of the order that the client read.
    version: i64,
    #[schema(schema_with = schema::status_by_staff)]
    status: Parsed<Status>,
    /// A note for other staff.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 300)]
    #[deserr(default)]
    note: Option<Parsed<Note>>,
}

fn few(changes: Vec<OrderChange>) -> Result<Vec<OrderChange>, Rule> {
    if (1..=CHANGES_MAX).contains(&changes.len()) {
        Ok(changes)
    } else {
        Err(Rule(format!(
            "must be a list of 1 to {CHANGES_MAX} changes"
        )))
    }
}

/// The results of status changes, in the order of the request.
#[derive(Serialize, ToSchema)]
pub struct Results {
    results: Vec<ChangeResult>,
}

/// The result of one change. After a refusal it has the members of the problem that a request for
/// this order alone would get.
#[derive(Serialize, ToSchema)]
pub struct ChangeResult {
    #[schema(value_type = String, format = Uuid)]
    id: OrderId,
    result: Outcome,
    /// Why the change was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    detail: Option<String>,
    /// moved, stale: the status of the order now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::status)]
    status: Option<&'static str>,
    /// moved, stale: the version of the order now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    version: Option<i64>,
    /// stale: who changed the order, or null if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    changed_by: Option<Option<String>>,
}

/// The result of a change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Moved,
    NotFound,
    Stale,
    Illegal,
    Unavailable,
}

impl ChangeResult {
    fn moved(order: &Order) -> ChangeResult {
        ChangeResult {
            id: order.order_id,
            result: Outcome::Moved,
            detail: None,
            status: Some(order.status.code()),
            version: Some(order.version),
            changed_by: None,
        }
    }

    fn refused(id: OrderId, refusal: ChangeRefusal) -> ChangeResult {
        let result = match refusal {
            ChangeRefusal::NotFound => Outcome::NotFound,
            ChangeRefusal::Stale(_) => Outcome::Stale,
            ChangeRefusal::Illegal { .. } => Outcome::Illegal,
            ChangeRefusal::Unavailable(_) => Outcome::Unavailable,
        };
        let problem = *Problem::from(refusal).body;
        ChangeResult {
            id,
            result,
            detail: Some(problem.detail),
            // In an entry, `status` has always been the order's status.
            status: problem.order_status,
            version: problem.version,
            changed_by: problem.changed_by,
        }
    }
}

/// Changes the status of many orders, with one result per entry.
///
/// The response is 200 even if changes were refused; the client checks each result. An invalid
/// entry is reported by its index, and then no order is changed.
#[utoipa::path(
    post,
    path = RouteId::SetStatuses.path(),
    request_body = StatusChanges,
    responses((status = 200, description = "One result per entry", body = Results))
)]
pub async fn set_statuses<P: Ports>(
    State(app): State<App<P>>,
    Extension(staff): Extension<Staff>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let StatusChanges { changes } = request::body(&headers, &body)?;
    for change in &changes {
        may_set(&staff, change.status.0)?;
    }
    let (mut results, mut foreign) = (Vec::with_capacity(changes.len()), Vec::new());
    for change in changes {
        let order_id = change.id.0;
        let asked = Move {
            scope: app.staff_scope(),
            order_id,
            expected_version: change.version,
            to: change.status.0,
            actor: staff.name.clone(),
            note: change.note.map(|Parsed(Note(note))| note),
        };
        let moved = move_order(&app, asked).await;
        if moved == Err(ChangeRefusal::NotFound) {
            foreign.push(SecurityEvent::ForeignLookup);
        }
        results.push(match moved {
            Ok(order) => ChangeResult::moved(&order),
            Err(refusal) => ChangeResult::refused(order_id, refusal),
        });
    }
    let events = Extension(SecurityEvents(foreign));
    Ok((events, Json(Results { results })).into_response())
}
