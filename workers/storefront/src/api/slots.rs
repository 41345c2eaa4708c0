//! Routes of pickup slots, and the slots of a day for the pages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use app::location::Location;
use app::ports::locations::LocationStore as _;
use app::ports::{Backend, Source as _, Unavailable};
use app::use_cases::place_order::{PICKUP_AHEAD, is_past, is_too_far_ahead};
use axum::Json;
use axum::extract::{Query, State};
use domain::hours::Slot;
use domain::ids::{LocationId, TenantId};
use domain::{FieldError, Timestamp};
use serde_json::{Value, json};
use time::Date;
use time::macros::format_description;
use tokio::time::timeout;

use super::orders::time_text;
use crate::problem::Problem;
use crate::{App, Ports};

/// A slot with the places that are left in it.
pub struct Offered {
    /// Start and end of the slot.
    pub slot: Slot,
    /// Number of places left.
    pub left: u32,
    /// True when it is too late to order for the start of the slot.
    pub past: bool,
}

/// Lists the slots of a day.
pub async fn list<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
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
        app.ports.source().now().date()
    });
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let day = offered(&app, &shop, date).await?;
    let slots = day.slots.iter().map(|offered| {
        json!({
            "starts_at": time_text(offered.slot.starts_at),
            "ends_at": time_text(offered.slot.ends_at),
            // Formatted as on the pages. The script has no rules for the hour that occurs twice
            // when clocks go back.
            "local_time": shop.hours.zone.clock_text(offered.slot.starts_at),
            "capacity": shop.slots.capacity,
            "left": offered.left,
            "state": match (offered.past, offered.left) {
                (true, _) => "past",
                (false, 0) => "full",
                (false, _) => "open",
            },
        })
    });
    let mut body = json!({
        "date": date.to_string(),
        "location_id": shop.location_id,
        "time_zone": shop.hours.zone.name(),
        "slots": slots.collect::<Vec<_>>(),
    });
    if let Some(as_of) = day.as_of {
        body["as_of"] = json!(time_text(as_of));
    }
    Ok(Json(body))
}

/// Parses a date. Defaults to today on the shop's calendar.
fn date_of<P: Ports>(
    app: &App<P>,
    shop: &Location,
    text: Option<&String>,
) -> Result<Date, FieldError> {
    let now = app.ports.source().now();
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

/// Maximum time to count the places that are taken, when there is an older count to show.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);
/// Maximum of days in memory: eight days of twenty locations.
const REMEMBERED_MAX: usize = 160;

/// Number of places taken, by the start of the slot.
type Taken = HashMap<Timestamp, u32>;
/// A day of a location.
type DayOf = (TenantId, LocationId, Date);

/// The places taken when the database last answered, by location and date.
#[derive(Default)]
pub struct TakenPlaces(Mutex<HashMap<DayOf, (Timestamp, Taken)>>);

/// The slots of a day.
pub struct Day {
    /// The slots, in order of their start.
    pub slots: Vec<Offered>,
    /// When the places were counted, if the database does not answer now.
    pub as_of: Option<Timestamp>,
}

/// Returns the slots of a date that can be ordered, with the places left in each. The count
/// reserves nothing: another order may take the place first. While the database does not answer,
/// the last count is used, because placing an order counts again.
///
/// # Errors
/// Returns 503 when the database does not answer and never answered for that date.
pub async fn offered<P: Ports>(app: &App<P>, shop: &Location, date: Date) -> Result<Day, Problem> {
    let slots = shop.hours.slots(date, shop.slots);
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else {
        return Ok(Day {
            slots: Vec::new(),
            as_of: None,
        });
    };
    let now = app.ports.source().now();
    let key = (shop.tenant_id.clone(), shop.location_id.clone(), date);
    let remembered = app.taken.of(&key);
    let asked = app.ports.orders().taken(
        &shop.tenant_id,
        &shop.location_id,
        first.starts_at,
        last.ends_at,
    );
    let answer = match &remembered {
        None => asked.await,
        Some(_) => timeout(TAKEN_WITHIN, asked).await.unwrap_or_else(|_| {
            Err(Unavailable::new(
                Backend::Orders,
                format!("no answer in {TAKEN_WITHIN:?} about the places of {date}"),
            ))
        }),
    };
    let (taken, as_of) = match (answer, remembered) {
        (Ok(taken), _) => {
            let taken: Taken = taken.into_iter().collect();
            app.taken.remember(key, now, taken.clone());
            (taken, None)
        }
        (Err(error), Some((at, taken))) => {
            tracing::warn!(%error, "Pickup slots are shown as they were");
            (taken, Some(at))
        }
        (Err(error), None) => return Err(error.into()),
    };
    let offer = |slot: Slot| Offered {
        left: shop
            .slots
            .capacity
            .saturating_sub(taken.get(&slot.starts_at).copied().unwrap_or_default()),
        past: is_past(slot.starts_at, now),
        slot,
    };
    // On the last day, slots after the current time of day cannot be ordered yet.
    let slots = slots
        .into_iter()
        .filter(|slot| !is_too_far_ahead(slot.starts_at, now));
    Ok(Day {
        slots: slots.map(offer).collect(),
        as_of,
    })
}

impl TakenPlaces {
    fn of(&self, key: &DayOf) -> Option<(Timestamp, Taken)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    fn remember(&self, key: DayOf, at: Timestamp, taken: Taken) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX && !known.contains_key(&key) {
            // The oldest entry is usually of a past day.
            let oldest = known
                .iter()
                .min_by_key(|(_, (at, _))| *at)
                .map(|(key, _)| key.clone());
            if let Some(key) = oldest {
                known.remove(&key);
            }
        }
        known.insert(key, (at, taken));
    }
}
