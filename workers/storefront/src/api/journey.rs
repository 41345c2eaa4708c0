//! The order timeline, for staff.

use std::time::Duration;

use app::ports::stock::{Reservation, Reservations};
use app::ports::{Backend, Unavailable};
use app::use_cases::journey::{Journey, journey};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use domain::access::Action;
use domain::ids::OrderId;
use tokio::time::timeout;

use crate::access::{Refused, authorize};
use crate::problem::Problem;
use crate::{App, Ports};

/// Returns the timeline of an order to staff, and 404 to everybody else. Even the owner of the
/// order does not see internal records.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Journey>, Problem> {
    authorize(&app, &headers, Action::ReadTimeline).map_err(Refused::problem)?;
    of(&app, &id).await.map(Json)
}

/// Returns the timeline of the order with this id. The caller must have checked the access.
///
/// # Errors
/// Returns 404 for an unknown order, and 503 when the database does not answer.
pub async fn of<P: Ports>(app: &App<P>, id: &str) -> Result<Journey, Problem> {
    let order_id: OrderId = id.parse().map_err(|_| Problem::no_such_order())?;
    let found = journey(
        app.ports.orders(),
        &Timely(app.ports.stock()),
        &app.staff_scope(),
        order_id,
    )
    .await?;
    let journey = found.ok_or_else(Problem::no_such_order)?;
    if let Some(error) = &journey.missing {
        tracing::warn!(%error, %order_id, "The timeline of an order lacks a record");
    }
    Ok(journey)
}

/// Maximum time for the stock to return its reservation. The timeline is useful without it.
const STOCK_WITHIN: Duration = Duration::from_millis(800);

/// Reads reservations with the time limit [`STOCK_WITHIN`].
struct Timely<'a, R>(&'a R);

impl<R: Reservations> Reservations for Timely<'_, R> {
    async fn reservation(&self, order_id: OrderId) -> Result<Option<Reservation>, Unavailable> {
        let answer = timeout(STOCK_WITHIN, self.0.reservation(order_id)).await;
        answer.unwrap_or_else(|_| {
            Err(Unavailable::new(
                Backend::Stock,
                format!("no answer in {STOCK_WITHIN:?}"),
            ))
        })
    }
}
