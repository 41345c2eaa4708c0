//! The times that a customer may choose, in words.

use app::ports::Source as _;
use domain::Timestamp;
use domain::hours::Zone;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::views::TimeView;
use crate::api::offered_slots;
use crate::api::orders::time_text;
use crate::problem::Problem;
use crate::{App, Ports};

/// As many as somebody looks through.
const SHOWN: usize = 24;

/// The next times that have a place left, today and, when today is nearly over, tomorrow.
pub async fn times<P: Ports>(app: &App<P>) -> Result<Vec<TimeView>, Problem> {
    let shop = app.settings.shops.home();
    let zone = &shop.hours.zone;
    let now = app.ports.source().now();
    let today = zone.date_of(now);
    let mut times = Vec::new();
    for date in [Some(today), today.next_day()].into_iter().flatten() {
        if times.len() >= SHOWN {
            break;
        }
        let prefix = if date == today { "" } else { "tomorrow " };
        for offered in offered_slots(app, &shop, date).await? {
            if offered.slot.starts_at > now && offered.left > 0 && times.len() < SHOWN {
                times.push(TimeView {
                    value: time_text(offered.slot.starts_at),
                    label: format!("{prefix}{}", clock(zone, offered.slot.starts_at)),
                });
            }
        }
    }
    Ok(times)
}

/// What the clock on the shop's wall shows.
pub fn clock(zone: &Zone, at: Timestamp) -> String {
    zone.local(at).format(format_description!("[hour]:[minute]")).unwrap_or_default()
}

/// `None` for as soon as it is ready.
///
/// # Errors
/// When it is no time.
pub fn wanted_time(text: &str) -> Result<Option<Timestamp>, time::error::Parse> {
    if text.is_empty() {
        return Ok(None);
    }
    Timestamp::parse(text, &Rfc3339).map(Some)
}
