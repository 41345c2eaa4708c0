//! The pickup slots of a day with the places left in each.

use std::time::Duration;

use app::location::Location;
use app::ports::locations::LocationStore as _;
use app::ports::{Backend, StoreError};
use app::use_cases::place_order::{is_past, is_too_far_ahead};
use contract::cause::chain;
use domain::Timestamp;
use domain::hours::Slot;
use time::Date;
use tokio::time::timeout;

use crate::ports::Ports;
use crate::problem::Problem;
use crate::state::App;
use crate::taken_places::Taken;

/// A slot with the places that are left in it.
pub struct Offered {
    /// Start and end of the slot.
    pub slot: Slot,
    /// Number of places left.
    pub left: u32,
    /// True when it is too late to order for the start of the slot.
    pub past: bool,
}

/// Maximum time to count the places that are taken, when there is an older count to show.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);
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
    let now = app.now();
    let key = (shop.tenant_id.clone(), shop.location_id.clone(), date);
    let remembered = app.taken.of(&key);
    let asked = app.orders().taken(
        &shop.tenant_id,
        &shop.location_id,
        first.starts_at,
        last.ends_at,
    );
    let answer = match &remembered {
        None => asked.await,
        Some(_) => timeout(TAKEN_WITHIN, asked).await.unwrap_or_else(|_| {
            Err(StoreError::new(
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
            tracing::warn!(error = %chain(&error), "The places of pickup slots cannot be counted; the last count is shown");
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
