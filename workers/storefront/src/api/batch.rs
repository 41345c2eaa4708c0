//! Status changes of many orders in one request. Each order is changed separately, so one failure
//! does not affect the others.

use app::use_cases::change_order::{ChangeRefusal, Move};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use domain::FieldError;
use domain::ids::OrderId;
use domain::order::Status;
use domain::text::line;
use serde_json::{Value, json};

use super::admin::{NOTE_MAX, may_set, move_order};
use super::staff_only;
use crate::fields::{Fields, object};
use crate::problem::Problem;
use crate::security::{SecurityEvent, SecurityEvents};
use crate::{App, Ports};

/// Maximum of changes in one request: more orders than a bar prepares at once.
const CHANGES_MAX: usize = 50;

struct Change {
    order_id: OrderId,
    version: i64,
    to: Status,
    note: Option<String>,
}

/// Changes each order and answers 200 with one result per entry, in the order of the request. The
/// client checks each result.
pub async fn set_statuses<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let staff = staff_only(&app, &headers)?;
    let changes = read(&headers, &body)?;
    for change in &changes {
        may_set(&staff, change.to)?;
    }
    let (mut results, mut foreign) = (Vec::with_capacity(changes.len()), Vec::new());
    for change in changes {
        let asked = Move {
            scope: app.staff_scope(),
            order_id: change.order_id,
            expected_version: change.version,
            to: change.to,
            actor: staff.name.clone(),
            note: change.note,
        };
        let moved = move_order(&app, asked).await;
        if moved == Err(ChangeRefusal::NotFound) {
            foreign.push(SecurityEvent::ForeignLookup);
        }
        results.push(match moved {
            Ok(order) => json!({
                "id": order.order_id, "result": "moved", "status": order.status.code(), "version": order.version,
            }),
            Err(refusal) => refused(change.order_id, refusal),
        });
    }
    let mut response = Json(json!({ "results": results })).into_response();
    response.extensions_mut().insert(SecurityEvents(foreign));
    Ok(response)
}

/// Returns the result of a failed change, with the detail and the members of the problem that a
/// request for this order alone would get.
fn refused(order_id: OrderId, refusal: ChangeRefusal) -> Value {
    let result = match refusal {
        ChangeRefusal::NotFound => "not_found",
        ChangeRefusal::Stale(_) => "stale",
        ChangeRefusal::Illegal { .. } => "illegal",
        ChangeRefusal::Unavailable(_) => "unavailable",
    };
    let problem = Problem::from(refusal);
    let mut told = json!({ "id": order_id, "result": result, "detail": problem.detail });
    for (name, value) in problem.more {
        // In an entry, `status` has always been the order's status.
        told[if name == "order_status" {
            "status"
        } else {
            name
        }] = value;
    }
    told
}

/// Reads all entries, or none: an invalid entry is reported by its index and no order is changed.
fn read(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Change>, Problem> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(object(headers, body)?, "", &mut errors);
    let entries = match fields.take("changes") {
        Some(Value::Array(entries)) if (1..=CHANGES_MAX).contains(&entries.len()) => entries,
        _ => {
            fields.wrong(
                "changes",
                format!("must be a list of 1 to {CHANGES_MAX} changes"),
            );
            Vec::new()
        }
    };
    fields.finish();
    let mut changes = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let path = format!("changes[{index}]");
        let Value::Object(entry) = entry else {
            errors.push(FieldError::new(path, "must be an object"));
            continue;
        };
        let mut fields = Fields::new(entry, path.clone(), &mut errors);
        let (id, version, status) = (
            fields.text("id"),
            fields.integer("version"),
            fields.text("status"),
        );
        let (order_id, to) = (id.parse().ok(), Status::from_code(&status));
        if order_id.is_none() && !id.is_empty() {
            fields.wrong("id", "must be the id of an order");
        }
        if to.is_none() && !status.is_empty() {
            fields.wrong(
                "status",
                format!(
                    "must be one of {}",
                    Status::ALL.map(Status::code).join(", ")
                ),
            );
        }
        let note = fields.optional_text("note");
        fields.finish();
        let note = note
            .map(|note| line(&format!("{path}.note"), &note, NOTE_MAX))
            .transpose();
        match (order_id, version, to, note) {
            (Some(order_id), Some(version), Some(to), Ok(note)) => changes.push(Change {
                order_id,
                version,
                to,
                note,
            }),
            (.., Err(error)) => errors.push(error),
            _ => {}
        }
    }
    if errors.is_empty() {
        Ok(changes)
    } else {
        Err(Problem::fields(errors))
    }
}
