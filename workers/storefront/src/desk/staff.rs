//! The member of staff behind a request.

use axum::http::HeaderMap;

use crate::ports::Ports;
use crate::staff::{self, Staff};
use crate::state::App;

/// Returns the member of staff who sent the request, if any. [`crate::access`] decides what their
/// role may do.
pub fn staff_of<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Option<Staff> {
    staff::of(headers, &app.settings, app.now()).ok()
}
