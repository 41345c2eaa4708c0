//! The pick-up slots of a day.

use std::collections::HashMap;

use app::ports::Source as _;
use app::ports::locations::LocationStore as _;
use app::use_cases::Shop;
use app::use_cases::place_order::PICKUP_AHEAD;
use axum::Json;
use axum::extract::{Query, State};
use domain::FieldError;
use domain::hours::Slot;
use domain::ids::LocationId;
use serde_json::{Value, json};
use time::Date;
use time::macros::format_description;

use super::orders::time_text;
use crate::problem::Problem;
use crate::{App, Ports};

/// A slot with the places that are left in it.
pub struct Offered {
    pub slot: Slot,
    pub left: u32,
    /// An order for it would be too late.
    pub past: bool,
}

pub async fn list<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let known = ["date", "location_id"];
    let unknown = query.keys().filter(|name| !known.contains(&name.as_str()));
    let mut errors: Vec<_> = unknown.map(|name| FieldError::new(name, "is not a known field")).collect();
    let location_id = query.get("location_id").map(|id| LocationId::parse(id)).transpose().unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let shop = app.settings.shops.named(location_id.as_ref()).unwrap_or_else(|error| {
        errors.push(error);
        app.settings.shops.home()
    });
    let date = date_of(&app, &shop, query.get("date")).unwrap_or_else(|error| {
        errors.push(error);
        app.ports.source().now().date()
    });
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let offered = offered(&app, &shop, date).await?;
    let slots = offered.iter().map(|offered| {
        json!({
            "starts_at": time_text(offered.slot.starts_at),
            "ends_at": time_text(offered.slot.ends_at),
            "capacity": shop.slots.capacity,
            "left": offered.left,
            "state": match (offered.past, offered.left) {
                (true, _) => "past",
                (false, 0) => "full",
                (false, _) => "open",
            },
        })
    });
    Ok(Json(json!({
        "date": date.to_string(),
        "location_id": shop.location_id,
        "time_zone": shop.hours.zone.name(),
        "slots": slots.collect::<Vec<_>>(),
    })))
}

/// Today, on the shop's calendar, when none is given.
fn date_of<P: Ports>(app: &App<P>, shop: &Shop, text: Option<&String>) -> Result<Date, FieldError> {
    let now = app.ports.source().now();
    let today = shop.hours.zone.date_of(now);
    let Some(text) = text else { return Ok(today) };
    let date = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let date = date.map_err(|_| FieldError::new("date", "must be a date such as 2026-11-21"))?;
    if date < today || date > shop.hours.zone.date_of(now + PICKUP_AHEAD) {
        return Err(FieldError::new("date", "must be today or one of the next seven days"));
    }
    Ok(date)
}

/// The slots of a date with the places left in each, as they are now: an order that comes first takes its place first.
pub async fn offered<P: Ports>(app: &App<P>, shop: &Shop, date: Date) -> Result<Vec<Offered>, Problem> {
    let slots = shop.hours.slots(date, shop.slots);
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return Ok(Vec::new()) };
    let orders = app.ports.orders();
    let taken = orders.taken(&shop.tenant_id, &shop.location_id, first.starts_at, last.ends_at).await?;
    let taken: HashMap<_, _> = taken.into_iter().collect();
    let now = app.ports.source().now();
    let offer = |slot: Slot| Offered {
        left: shop.slots.capacity.saturating_sub(taken.get(&slot.starts_at).copied().unwrap_or_default()),
        past: slot.ends_at <= now,
        slot,
    };
    Ok(slots.into_iter().map(offer).collect())
}
