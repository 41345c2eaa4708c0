//! The times that a customer may choose: the days of a week, and the slots of one day.

use std::time::Duration;

use app::location::Location;
use app::use_cases::place_order::{PICKUP_AHEAD, is_too_far_ahead};
use domain::Timestamp;
use domain::hours::date_text;
use time::Date;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use tokio::time::timeout;

use super::checkout_form::{CheckoutForm, TimeChoice, TimeView};
use crate::desk::slots::{Offered, offered};
use crate::ports::Ports;
use crate::state::App;
use crate::text::time_text;

/// Maximum time to count the free places. Afterwards the form shows the times without the count.
const PLACES_WITHIN: Duration = Duration::from_millis(800);
const DATE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// Maximum number of free places that the page mentions.
const FEW: u32 = 3;

/// Returns the days of the next week that have future slots, and the slots of the form's day with
/// free places.
pub async fn choice<P: Ports>(app: &App<P>, form: &CheckoutForm) -> TimeChoice {
    let shop = app.settings.shops.home();
    let mut choice = choice_by_hours(app, form);
    let Ok(day) = Date::parse(&choice.day, DATE) else {
        return choice;
    };
    // Without a result all times are shown; placing the order counts again.
    if let Ok(Ok(of_day)) = timeout(PLACES_WITHIN, offered(app, &shop, day)).await {
        let to_come: Vec<_> = hours_of(&shop, day, app.now()).collect();
        let free = of_day.slots.into_iter().filter(|offered| offered.left > 0);
        let free = free.filter(|offered| to_come.contains(&offered.slot.starts_at));
        let time =
            |Offered { slot, left, .. }: Offered| time_view(&shop, slot.starts_at, Some(left));
        choice.times = free.map(time).collect();
    }
    choice
}

/// Returns the same choice from the opening hours alone, without calling a dependency.
pub fn choice_by_hours<P: Ports>(app: &App<P>, form: &CheckoutForm) -> TimeChoice {
    let shop = app.settings.shops.home();
    let (zone, now) = (&shop.hours.zone, app.now());
    let today = zone.date_of(now);
    let last = zone.date_of(now + PICKUP_AHEAD);
    let all =
        std::iter::successors(Some(today), |date| date.next_day()).take_while(|date| *date <= last);
    let days: Vec<Date> = all
        .filter(|date| hours_of(&shop, *date, now).next().is_some())
        .collect();
    let asked = Date::parse(&form.pickup_day, DATE).ok();
    let kept = wanted_time(&form.pickup_at)
        .ok()
        .flatten()
        .map(|at| zone.date_of(at));
    let known = |date: &Date| days.contains(date);
    let day = asked
        .filter(known)
        .or(kept.filter(known))
        .or(days.first().copied());
    let label = |date: Date| match date {
        _ if date == today => "Today".to_owned(),
        _ if today.next_day() == Some(date) => format!("Tomorrow, {}", date_text(date)),
        _ => date_text(date),
    };
    let times = day.into_iter().flat_map(|day| hours_of(&shop, day, now));
    TimeChoice {
        // A customer who chooses a later day wants a time on that day.
        now: shop.hours.is_open(now) && day == days.first().copied(),
        days: days
            .iter()
            .map(|date| TimeView {
                value: date.to_string(),
                label: label(*date),
            })
            .collect(),
        day: day.map(|date| date.to_string()).unwrap_or_default(),
        times: times
            .map(|starts_at| time_view(&shop, starts_at, None))
            .collect(),
    }
}

/// Returns the starts of a date's slots that can still be chosen by the opening hours.
fn hours_of(shop: &Location, date: Date, now: Timestamp) -> impl Iterator<Item = Timestamp> {
    let slots = shop
        .hours
        .slots(date, shop.slots)
        .into_iter()
        .map(|slot| slot.starts_at);
    slots.filter(move |starts_at| *starts_at > now && !is_too_far_ahead(*starts_at, now))
}

/// Returns a time with its label. The label contains the number of free places if there are few.
fn time_view(shop: &Location, starts_at: Timestamp, left: Option<u32>) -> TimeView {
    let clock = shop.hours.zone.clock_text(starts_at);
    TimeView {
        value: time_text(starts_at),
        label: match left.filter(|left| *left <= FEW) {
            Some(1) => format!("{clock} (1 place left)"),
            Some(left) => format!("{clock} ({left} places left)"),
            None => clock,
        },
    }
}

/// Parses the chosen time; an empty text means as soon as possible.
///
/// # Errors
/// Returns the parser's error for a text that is not RFC 3339.
pub fn wanted_time(text: &str) -> Result<Option<Timestamp>, time::error::Parse> {
    if text.is_empty() {
        return Ok(None);
    }
    Timestamp::parse(text, &Rfc3339).map(Some)
}
