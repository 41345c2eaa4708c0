//! The order timeline, for staff.

use app::use_cases::journey::Journey;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use contract::route::RouteId;
use domain::access::Action;

use crate::access::{Refused, authorize};
use crate::desk::timeline;
use crate::ports::Ports;
use crate::problem::Problem;
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
    headers: HeaderMap,
) -> Result<Json<Journey>, Problem> {
    authorize(&app, &headers, Action::ReadTimeline).map_err(Refused::problem)?;
    timeline::of(&app, &id).await.map(Json)
}
