//! The member of staff behind a request.

use axum::http::HeaderMap;

use crate::ports::Ports;
use crate::problem::Problem;
use crate::staff::{self, Staff};
use crate::state::App;

/// Returns the member of staff who sent the request, if any. [`crate::access`] decides what their
/// role may do.
pub fn staff_of<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Option<Staff> {
    staff::of(headers, &app.settings, app.now()).ok()
}

/// Returns the member of staff behind a request that `access::check` let through.
///
/// # Errors
/// Returns 401 when the token is not accepted any more.
pub fn staff_only<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Result<Staff, Problem> {
    staff::of(headers, &app.settings, app.now()).map_err(Problem::unauthorized)
}
