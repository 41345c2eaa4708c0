//! The order timeline, for staff.

use app::use_cases::journey::Journey;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use contract::route::RouteId;

use crate::desk::timeline;
use crate::ports::Ports;
use crate::problem::Problem;
use crate::staff::Staff;
use crate::state::App;

/// Returns the order timeline for staff, and 404 for everybody else.
///
/// The owner of the order gets 404 too, because the timeline has internal records.
#[utoipa::path(
    get,
    path = RouteId::ReadTimeline.path(),
    responses((status = 200, description = "The timeline", body = crate::schema::Timeline))
)]
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    _staff: Extension<Staff>,
) -> Result<Json<Journey>, Problem> {
    timeline::of(&app, &id).await.map(Json)
}
