//! Routes of pickup slots.

use std::collections::HashMap;

use app::location::Location;
use app::use_cases::place_order::PICKUP_AHEAD;
use axum::Json;
use axum::extract::{Query, State};
use contract::route::RouteId;
use domain::FieldError;
use domain::ids::LocationId;
use serde::Serialize;
use time::Date;
use time::macros::format_description;
use utoipa::ToSchema;

use crate::desk::slots::{Offered, offered};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::state::App;
use crate::text::time_text;

/// The pickup slots of a day.
#[derive(Serialize, ToSchema)]
#[schema(as = Slots)]
pub struct SlotsView {
    #[schema(format = Date, example = "2026-11-21")]
    date: String,
    #[schema(value_type = String)]
    location_id: LocationId,
    #[schema(example = "America/New_York")]
    time_zone: String,
    slots: Vec<SlotView>,
    /// When the places were counted. Only present while they cannot be counted now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    as_of: Option<String>,
}

/// A pickup slot.
#[derive(Serialize, ToSchema)]
#[schema(as = Slot)]
pub struct SlotView {
    #[schema(format = DateTime, example = "2026-11-21T13:30:00Z")]
    starts_at: String,
    #[schema(format = DateTime, example = "2026-11-21T13:45:00Z")]
    ends_at: String,
    /// The start on the location's clock, as on the pages.
    #[schema(example = "8:30 am")]
    local_time: String,
    capacity: u32,
    /// Places that are left.
    left: u32,
    state: SlotState,
}

/// Whether a slot can be chosen.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    Open,
    Full,
    Past,
}

impl SlotView {
    fn of(offered: &Offered, shop: &Location) -> SlotView {
        SlotView {
            starts_at: time_text(offered.slot.starts_at),
            ends_at: time_text(offered.slot.ends_at),
            // The script of the checkout has no rules for the hour that occurs twice when clocks
            // go back.
            local_time: shop.hours.zone.clock_text(offered.slot.starts_at),
            capacity: shop.slots.capacity,
            left: offered.left,
            state: match (offered.past, offered.left) {
                (true, _) => SlotState::Past,
                (false, 0) => SlotState::Full,
                (false, _) => SlotState::Open,
            },
        }
    }
}

/// Lists the pickup slots of a day and the places left in each.
#[utoipa::path(
    get,
    path = RouteId::ListSlots.path(),
    params(
        ("date" = Option<String>, Query, format = Date,
            description = "A date in the location's time zone; today by default"),
        ("location_id" = Option<String>, Query,
            description = "The id of a location; the storefront's own location by default"),
    ),
    responses((status = 200, description = "The slots", body = SlotsView))
)]
pub async fn list<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<SlotsView>, Problem> {
    let known = ["date", "location_id"];
    let unknown = query.keys().filter(|name| !known.contains(&name.as_str()));
    let mut errors: Vec<_> = unknown
        .map(|name| FieldError::new(name, "is not a known field"))
        .collect();
    let location_id = query
        .get("location_id")
        .map(|id| LocationId::parse(id))
        .transpose()
        .unwrap_or_else(|error| {
            errors.push(error);
            None
        });
    let shop = app
        .settings
        .shops
        .named(location_id.as_ref())
        .unwrap_or_else(|error| {
            errors.push(error);
            app.settings.shops.home()
        });
    let date = date_of(&app, &shop, query.get("date")).unwrap_or_else(|error| {
        errors.push(error);
        app.now().date()
    });
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let day = offered(&app, &shop, date).await?;
    Ok(Json(SlotsView {
        date: date.to_string(),
        location_id: shop.location_id.clone(),
        time_zone: shop.hours.zone.name().to_owned(),
        slots: day
            .slots
            .iter()
            .map(|slot| SlotView::of(slot, &shop))
            .collect(),
        as_of: day.as_of.map(time_text),
    }))
}

/// Parses a date. Defaults to today on the shop's calendar.
fn date_of<P: Ports>(
    app: &App<P>,
    shop: &Location,
    text: Option<&String>,
) -> Result<Date, FieldError> {
    let now = app.now();
    let today = shop.hours.zone.date_of(now);
    let Some(text) = text else { return Ok(today) };
    let date = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let date = date.map_err(|_| FieldError::new("date", "must be a date such as 2026-11-21"))?;
    if date < today || date > shop.hours.zone.date_of(now + PICKUP_AHEAD) {
        return Err(FieldError::new(
            "date",
            "must be today or one of the next seven days",
        ));
    }
    Ok(date)
}
