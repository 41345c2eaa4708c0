//! The timeline of an order.

use std::time::Duration;

use app::ports::stock::{Reservation, Reservations};
use app::ports::{Backend, StoreError};
use app::use_cases::journey::{Journey, journey};
use contract::cause::chain;
use domain::ids::OrderId;

use crate::ports::{Ports, within};
use crate::problem::Problem;
use crate::state::App;

/// Returns the timeline of the order with this id. The caller must have checked the access.
///
/// # Errors
/// Returns 404 for an unknown order, and 503 when the database does not answer.
pub async fn of<P: Ports>(app: &App<P>, id: &str) -> Result<Journey, Problem> {
    let order_id: OrderId = id.parse().map_err(|_| Problem::no_such_order())?;
    let found = journey(
        app.orders(),
        &Timely(app.stock()),
        &app.staff_scope(),
        order_id,
    )
    .await?;
    let journey = found.ok_or_else(Problem::no_such_order)?;
    if let Some(error) = &journey.missing {
        tracing::warn!(error = %chain(error), %order_id, "The timeline of an order lacks a record");
    }
    Ok(journey)
}

/// Maximum time for the stock to return its reservation. The timeline is useful without it.
const STOCK_WITHIN: Duration = Duration::from_millis(800);

/// Reads reservations with the time limit [`STOCK_WITHIN`].
struct Timely<'a, R>(&'a R);

impl<R: Reservations> Reservations for Timely<'_, R> {
    async fn reservation(&self, order_id: OrderId) -> Result<Option<Reservation>, StoreError> {
        let answer = self.0.reservation(order_id);
        within(STOCK_WITHIN, Backend::Stock, answer).await?
    }
}
