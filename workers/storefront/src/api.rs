//! The JSON API under `/api/v1/`, specified in `docs/interfaces.md`.

pub mod admin;
pub mod batch;
pub mod cart;
pub mod events;
pub mod journey;
pub mod ledger;
pub mod menu;
pub mod orders;
pub mod slots;
pub mod webhook;

use axum::http::HeaderMap;

pub use admin::{
    adjust_stock, check as check_adjustment, may_set, move_order, newest_with_number, tickets_of,
};
pub use cart::{Priced, PricedLine, add_to as add_to_cart, price as cart_price};
pub use journey::of as journey_of;
pub use ledger::{PAGE as LEDGER_PAGE, cursor as ledger_cursor, page as ledger_page};
pub use slots::{Offered as OfferedSlot, TakenPlaces, offered as offered_slots};

use crate::problem::Problem;
use crate::staff::{self, Staff};
use crate::{App, Ports};
use app::ports::Source as _;

/// Returns the member of staff who sent the request, if any. [`crate::access`] decides what their
/// role may do.
pub fn staff_of<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Option<Staff> {
    staff::of(headers, &app.settings, app.ports.source().now()).ok()
}

/// Returns the member of staff behind a request that `access::check` let through.
///
/// # Errors
/// Returns 401 when the token is not accepted any more.
fn staff_only<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Result<Staff, Problem> {
    staff::of(headers, &app.settings, app.ports.source().now()).map_err(Problem::unauthorized)
}
