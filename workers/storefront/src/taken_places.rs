//! The places of pickup slots that were taken when the database last answered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::Timestamp;
use domain::ids::{LocationId, TenantId};
use time::Date;

/// Maximum of days in memory: eight days of twenty locations.
const REMEMBERED_MAX: usize = 160;

/// Number of places taken, by the start of the slot.
pub type Taken = HashMap<Timestamp, u32>;
/// A day of a location.
pub type DayOf = (TenantId, LocationId, Date);

/// The places taken when the database last answered, by location and date.
#[derive(Default)]
pub struct TakenPlaces(Mutex<HashMap<DayOf, (Timestamp, Taken)>>);

impl TakenPlaces {
    /// Returns the last count of a day, and when it was made.
    pub fn of(&self, key: &DayOf) -> Option<(Timestamp, Taken)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Stores a count in place of the oldest one if there are too many.
    pub fn remember(&self, key: DayOf, at: Timestamp, taken: Taken) {
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
