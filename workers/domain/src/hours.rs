//! Opening hours of a shop in its own time zone, and the pickup slots within them.
//!
//! Opening hours are wall-clock times, and a day with a daylight saving change has 23 or 25 hours.
//! Slots are therefore counted in elapsed time from opening to closing: all have the same length,
//! and none is missing. `jiff` is built with the IANA database, so the result does not depend on
//! the time zone files of the machine.

use jiff::tz::{AmbiguousOffset, TimeZone};
use time::{Date, Duration, PrimitiveDateTime, UtcOffset};

use crate::{FieldError, Timestamp};

/// Minutes in a day of wall-clock time.
const DAY: u16 = 24 * 60;

/// A time zone from the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Returns the time zone with this name.
    ///
    /// # Errors
    /// A field error when the IANA database has no such zone.
    pub fn parse(name: &str) -> Result<Zone, FieldError> {
        let unknown = |_| {
            FieldError::new(
                "time_zone",
                "must be a name of the IANA database, such as America/New_York",
            )
        };
        TimeZone::get(name).map(Zone).map_err(unknown)
    }

    /// Returns the zone UTC.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// Returns the name in the IANA database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// Returns the date and the wall-clock time in this zone.
    pub fn local(&self, at: Timestamp) -> PrimitiveDateTime {
        let instant = jiff::Timestamp::from_second(at.unix_timestamp()).unwrap_or_default();
        let offset = self.0.to_offset(instant).seconds();
        let offset = UtcOffset::from_whole_seconds(offset).unwrap_or(UtcOffset::UTC);
        let local = at.to_offset(offset);
        PrimitiveDateTime::new(local.date(), local.time())
    }

    /// Returns the date in this zone.
    pub fn date_of(&self, at: Timestamp) -> Date {
        self.local(at).date()
    }

    /// Returns the time of day for people, such as `8:30 am`.
    ///
    /// When clocks go back, one hour occurs twice. Times in that hour get the abbreviation of the
    /// zone: `1:30 am EDT`, and an hour later `1:30 am EST`.
    pub fn clock_text(&self, at: Timestamp) -> String {
        let local = self.local(at);
        let fold = self
            .abbreviation_in_fold(at)
            .map(|zone| format!(" {zone}"))
            .unwrap_or_default();
        let (hour, half) = match local.hour() {
            0 => (12, "am"),
            hour @ 1..=11 => (hour, "am"),
            12 => (12, "pm"),
            hour => (hour - 12, "pm"),
        };
        format!("{hour}:{:02} {half}{fold}", local.minute())
    }

    /// Returns the abbreviation of the zone when the wall-clock time at `at` occurs twice.
    fn abbreviation_in_fold(&self, at: Timestamp) -> Option<String> {
        let instant = jiff::Timestamp::from_second(at.unix_timestamp()).ok()?;
        let info = self.0.to_offset_info(instant);
        let shown = info.offset().to_datetime(instant);
        match self.0.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Fold { .. } => Some(info.abbreviation().to_owned()),
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => None,
        }
    }

    /// Returns the date and the time of day, such as `Mon 2 Mar, 8:30 am`.
    pub fn date_and_clock_text(&self, at: Timestamp) -> String {
        format!("{}, {}", date_text(self.date_of(at)), self.clock_text(at))
    }

    /// Returns the time of day, with the date when it is not today: `8:30 am`, or `Mon 2 Mar, 8:30
    /// am`. A date in another year includes the year.
    pub fn time_text(&self, at: Timestamp, now: Timestamp) -> String {
        let (date, today) = (self.date_of(at), self.date_of(now));
        if date == today {
            return self.clock_text(at);
        }
        let year = if date.year() == today.year() {
            String::new()
        } else {
            format!(" {}", date.year())
        };
        format!("{}{year}, {}", date_text(date), self.clock_text(at))
    }

    /// Returns the instant at which the wall clock shows `minutes` after the midnight at the start
    /// of `date`. Of a time that occurs twice, the first one counts. A time that a daylight saving
    /// change skips becomes a time after the gap.
    fn instant(&self, date: Date, minutes: u16) -> Option<Timestamp> {
        let year = i16::try_from(date.year()).ok()?;
        let midnight =
            jiff::civil::Date::new(year, u8::from(date.month()) as i8, date.day() as i8).ok()?;
        let day = if minutes >= DAY {
            midnight.tomorrow().ok()?
        } else {
            midnight
        };
        let minutes = minutes % DAY;
        let local = day
            .at((minutes / 60) as i8, (minutes % 60) as i8, 0, 0)
            .to_zoned(self.0.clone())
            .ok()?;
        Timestamp::from_unix_timestamp(local.timestamp().as_second()).ok()
    }
}

/// Returns a date for people, such as `Mon 2 Mar`.
pub fn date_text(date: Date) -> String {
    format!(
        "{:.3} {} {:.3}",
        date.weekday().to_string(),
        date.day(),
        date.month().to_string()
    )
}

/// The opening and closing time of a shop on a weekday, in minutes after midnight of wall-clock
/// time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    opens: u16,
    closes: u16,
}

impl Opening {
    /// The whole day, from 0:00 to 24:00.
    pub const ALL_DAY: Opening = Opening {
        opens: 0,
        closes: DAY,
    };

    /// Returns an opening from `opens` to `closes`.
    ///
    /// # Errors
    /// A field error unless `opens` is before `closes` and `closes` is at most 24:00.
    pub fn new(opens: u16, closes: u16) -> Result<Opening, FieldError> {
        if opens < closes && closes <= DAY {
            return Ok(Opening { opens, closes });
        }
        Err(FieldError::new(
            "hours",
            "must close after they open, at 24:00 at the latest",
        ))
    }
}

/// The opening hours of a shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// The time zone of the shop.
    pub zone: Zone,
    /// The opening of each weekday, Monday first. `None` is a day on which the shop is closed.
    pub week: [Option<Opening>; 7],
}

/// The length and the capacity of the pickup slots of a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRule {
    minutes: u16,
    /// Number of orders that the shop can hand over in one slot.
    pub capacity: u32,
}

impl SlotRule {
    /// Returns the rule for slots of this many minutes.
    ///
    /// # Errors
    /// A field error when the length of a slot is not 1 to 240 minutes.
    pub fn new(minutes: u16, capacity: u32) -> Result<SlotRule, FieldError> {
        if (1..=240).contains(&minutes) {
            return Ok(SlotRule { minutes, capacity });
        }
        Err(FieldError::new("slot_minutes", "must be 1 to 240"))
    }
}

/// A pickup slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The first instant of the slot.
    pub starts_at: Timestamp,
    /// The first instant after the slot.
    pub ends_at: Timestamp,
}

impl Hours {
    /// Returns the hours of a shop that never closes.
    pub const fn always(zone: Zone) -> Hours {
        Hours {
            zone,
            week: [Some(Opening::ALL_DAY); 7],
        }
    }

    /// Returns when the shop opens and closes on a date in its own zone. `None` on a day on which
    /// it is closed.
    pub fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        let opening = self.week[usize::from(date.weekday().number_days_from_monday())]?;
        let (opens, closes) = (
            self.zone.instant(date, opening.opens)?,
            self.zone.instant(date, opening.closes)?,
        );
        (opens < closes).then_some((opens, closes))
    }

    /// Returns whether the shop is open at an instant.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.on(self.zone.date_of(at))
            .is_some_and(|(opens, closes)| opens <= at && at < closes)
    }

    /// Returns the next opening after `at`, within seven days.
    pub fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        let today = self.zone.date_of(at);
        (0..=7)
            .filter_map(|days| self.on(today.checked_add(Duration::days(days))?))
            .map(|(opens, _)| opens)
            .find(|opens| *opens > at)
    }

    /// Returns the time for which the shop was open between two instants.
    pub fn open_between(&self, from: Timestamp, until: Timestamp) -> Duration {
        let days = std::iter::successors(Some(self.zone.date_of(from)), |day| day.next_day());
        let last = self.zone.date_of(until);
        days.take_while(|day| *day <= last)
            .filter_map(|day| self.on(day))
            .map(|(opens, closes)| (closes.min(until) - opens.max(from)).max(Duration::ZERO))
            .sum()
    }

    /// Returns the length of the longest opening of the week, in wall-clock time. Returns 24 hours
    /// for a shop that never opens.
    pub fn longest_day(&self) -> Duration {
        let longest = self
            .week
            .iter()
            .flatten()
            .map(|day| day.closes - day.opens)
            .max();
        Duration::minutes(i64::from(longest.unwrap_or(DAY)))
    }

    /// Returns a sentence for visitors that states when the shop opens again. `None` while it is
    /// open.
    pub fn closed_notice(&self, now: Timestamp) -> Option<String> {
        if self.is_open(now) {
            return None;
        }
        Some(match self.opens_after(now) {
            Some(opens) if self.zone.date_of(opens) == self.zone.date_of(now) => {
                format!("We are closed. We open at {}.", self.zone.clock_text(opens))
            }
            Some(opens) => format!(
                "We are closed. We open on {}.",
                self.zone.date_and_clock_text(opens)
            ),
            None => "We are closed.".to_owned(),
        })
    }

    /// Returns the slots of a date, from opening to closing. A slot that would end after closing is
    /// left out.
    pub fn slots(&self, date: Date, rule: SlotRule) -> Vec<Slot> {
        let Some((opens, closes)) = self.on(date) else {
            return Vec::new();
        };
        let length = Duration::minutes(i64::from(rule.minutes));
        std::iter::successors(Some(opens), |starts_at| Some(*starts_at + length))
            .map(|starts_at| Slot {
                starts_at,
                ends_at: starts_at + length,
            })
            .take_while(|slot| slot.ends_at <= closes)
            .collect()
    }

    /// Returns the slot that contains an instant.
    pub fn slot_at(&self, at: Timestamp, rule: SlotRule) -> Option<Slot> {
        let slots = self.slots(self.zone.date_of(at), rule);
        slots
            .into_iter()
            .find(|slot| slot.starts_at <= at && at < slot.ends_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::{date, datetime};

    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::parse(name).expect("a zone")
    }

    fn weekdays(name: &str, opens: u16, closes: u16) -> Hours {
        let day = Some(Opening::new(opens, closes).expect("hours"));
        Hours {
            zone: zone(name),
            week: [day, day, day, day, day, None, None],
        }
    }

    fn rule(minutes: u16) -> SlotRule {
        SlotRule::new(minutes, 4).expect("a rule")
    }

    #[test]
    fn the_same_wall_clock_is_another_instant_in_winter_and_in_summer() {
        let hours = weekdays("America/New_York", 7 * 60, 18 * 60);
        let opens = |date| hours.on(date).map(|(opens, _)| opens);
        assert_eq!(
            opens(date!(2026 - 03 - 06)),
            Some(datetime!(2026-03-06 12:00 UTC))
        );
        assert_eq!(
            opens(date!(2026 - 03 - 09)),
            Some(datetime!(2026-03-09 11:00 UTC)),
            "the clocks went forward"
        );
        assert_eq!(opens(date!(2026 - 03 - 08)), None, "a Sunday");
    }

    #[test]
    fn a_day_of_change_has_the_slots_of_its_real_hours() {
        let hours = Hours::always(zone("America/New_York"));
        let count = |date| hours.slots(date, rule(15)).len();
        assert_eq!(count(date!(2026 - 03 - 07)), 96);
        assert_eq!(count(date!(2026 - 03 - 08)), 92, "23 hours");
        assert_eq!(count(date!(2026 - 11 - 01)), 100, "25 hours");
    }

    #[test]
    fn a_partial_slot_before_closing_is_not_offered() {
        let hours = weekdays("Europe/Berlin", 9 * 60, 9 * 60 + 50);
        let slots = hours.slots(date!(2026 - 01 - 05), rule(20));
        assert_eq!(slots.len(), 2);
        assert_eq!(slots[1].ends_at, datetime!(2026-01-05 08:40 UTC));
        assert_eq!(
            hours.slot_at(datetime!(2026-01-05 08:39 UTC), rule(20)),
            Some(slots[1])
        );
        assert_eq!(
            hours.slot_at(datetime!(2026-01-05 08:40 UTC), rule(20)),
            None
        );
        assert!(
            hours.is_open(datetime!(2026-01-05 08:49 UTC))
                && !hours.is_open(datetime!(2026-01-05 08:50 UTC))
        );
    }

    #[test]
    fn only_opening_hours_count() {
        let hours = weekdays("Europe/Berlin", 9 * 60, 17 * 60);
        let open = |from, until| hours.open_between(from, until);
        // From Friday at 16:00 to Monday at 9:04 in the shop's own zone.
        assert_eq!(
            open(
                datetime!(2026-03-27 15:00 UTC),
                datetime!(2026-03-30 07:04 UTC)
            ),
            Duration::minutes(64)
        );
        assert_eq!(
            open(
                datetime!(2026-03-28 08:00 UTC),
                datetime!(2026-03-29 20:00 UTC)
            ),
            Duration::ZERO,
            "closed"
        );
        assert_eq!(hours.longest_day(), Duration::hours(8));
        assert_eq!(Hours::always(Zone::utc()).longest_day(), Duration::DAY);
    }

    #[test]
    fn a_closed_shop_returns_its_next_opening() {
        let hours = weekdays("Europe/Berlin", 9 * 60, 17 * 60);
        let friday_evening = datetime!(2026-03-27 18:00 UTC);
        assert_eq!(
            hours.opens_after(friday_evening),
            Some(datetime!(2026-03-30 07:00 UTC)),
            "Monday, in summer time"
        );
        let never = Hours {
            zone: Zone::utc(),
            week: [None; 7],
        };
        assert_eq!(never.opens_after(friday_evening), None);
    }

    #[test]
    fn people_read_the_time_of_the_shop_and_the_date_where_it_is_not_today() {
        let new_york = zone("America/New_York");
        let now = datetime!(2026-03-01 12:00 UTC);
        for (at, text) in [
            (datetime!(2026-03-01 13:30 UTC), "8:30 am"),
            (datetime!(2026-03-01 17:00 UTC), "12:00 pm"),
            (datetime!(2026-03-01 05:05 UTC), "12:05 am"),
            (datetime!(2026-03-02 04:59 UTC), "11:59 pm"),
            (datetime!(2026-03-02 05:00 UTC), "Mon 2 Mar, 12:00 am"),
            (datetime!(2025-09-30 16:00 UTC), "Tue 30 Sep 2025, 12:00 pm"),
            // Daylight saving time has started by this date.
            (datetime!(2026-03-08 12:00 UTC), "Sun 8 Mar, 8:00 am"),
        ] {
            assert_eq!(new_york.time_text(at, now), text, "{at}");
        }
    }

    #[test]
    fn a_closed_shop_says_when_it_opens() {
        let hours = weekdays("America/New_York", 8 * 60, 18 * 60);
        for (now, notice) in [
            (
                datetime!(2026-03-02 12:59 UTC),
                Some("We are closed. We open at 8:00 am."),
            ),
            (datetime!(2026-03-02 13:00 UTC), None),
            (
                datetime!(2026-03-06 23:00 UTC),
                Some("We are closed. We open on Mon 9 Mar, 8:00 am."),
            ),
        ] {
            assert_eq!(hours.closed_notice(now).as_deref(), notice, "{now}");
        }
        let never = Hours {
            zone: Zone::utc(),
            week: [None; 7],
        };
        assert_eq!(
            never
                .closed_notice(datetime!(2026-03-02 12:00 UTC))
                .as_deref(),
            Some("We are closed.")
        );
    }

    /// In New York, clocks go back from 2:00 to 1:00 on November 1, 2026.
    #[test]
    fn an_hour_that_the_clock_shows_twice_says_which_one_it_is() {
        let new_york = zone("America/New_York");
        for (at, text) in [
            (datetime!(2026-11-01 04:59 UTC), "12:59 am"),
            (datetime!(2026-11-01 05:00 UTC), "1:00 am EDT"),
            (datetime!(2026-11-01 05:45 UTC), "1:45 am EDT"),
            (datetime!(2026-11-01 06:00 UTC), "1:00 am EST"),
            (datetime!(2026-11-01 06:59 UTC), "1:59 am EST"),
            (datetime!(2026-11-01 07:00 UTC), "2:00 am"),
            (datetime!(2026-03-08 07:00 UTC), "3:00 am"),
        ] {
            assert_eq!(new_york.clock_text(at), text, "{at}");
        }
        let evening_before = datetime!(2026-10-31 20:00 UTC);
        assert_eq!(
            new_york.time_text(datetime!(2026-11-01 06:15 UTC), evening_before),
            "Sun 1 Nov, 1:15 am EST"
        );
        let all_day = Hours::always(new_york.clone());
        let mut texts: Vec<_> = all_day
            .slots(date!(2026 - 11 - 01), rule(15))
            .iter()
            .map(|slot| new_york.clock_text(slot.starts_at))
            .collect();
        let all = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(
            (all, texts.len()),
            (100, 100),
            "no two of a night's slots read alike"
        );
        assert_eq!(
            Zone::utc().clock_text(datetime!(2026-11-01 06:15 UTC)),
            "6:15 am"
        );
    }

    #[test]
    fn invalid_zones_and_hours_are_reported() {
        assert_eq!(
            Zone::parse("Mars/Olympus").expect_err("no zone").field,
            "time_zone"
        );
        assert!(
            Opening::new(600, 600).is_err()
                && Opening::new(0, 1_441).is_err()
                && SlotRule::new(0, 1).is_err()
        );
        assert_eq!(zone("Europe/Berlin").name(), "Europe/Berlin");
    }

    proptest! {
        /// Covers every zone with unusual rules, every day and every length of slot.
        #[test]
        fn slots_follow_each_other_and_find_their_own_times(
            which in 0usize..5,
            day in 0i64..1_500,
            minutes in 1u16..=240,
            opens in 0u16..1_200,
            open_for in 30u16..=240,
        ) {
            let zones = ["America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"];
            let day_hours = Some(Opening::new(opens, opens + open_for).expect("hours"));
            let hours = Hours { zone: zone(zones[which]), week: [day_hours; 7] };
            let date = date!(2025 - 01 - 01) + Duration::days(day);
            let slots = hours.slots(date, rule(minutes));
            for pair in slots.windows(2) {
                prop_assert_eq!(pair[0].ends_at, pair[1].starts_at);
            }
            for slot in slots {
                prop_assert_eq!(slot.ends_at - slot.starts_at, Duration::minutes(i64::from(minutes)));
                prop_assert_eq!(hours.slot_at(slot.starts_at, rule(minutes)), Some(slot));
                prop_assert_eq!(hours.slot_at(slot.ends_at - Duration::seconds(1), rule(minutes)), Some(slot));
                prop_assert!(hours.is_open(slot.starts_at));
            }
        }
    }
}
