//! Times, durations and numbers as people read them. JSON has RFC 3339 and plain numbers instead.

use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

/// Returns how long ago a moment was if it is less than a day, else its date and time. A moment in
/// the future counts as now, because clocks of two machines differ.
///
/// ```
/// use time::macros::datetime;
/// let now = datetime!(2026-11-29 08:03 UTC);
/// assert_eq!(haven_console::time::relative(datetime!(2026-11-29 07:51 UTC), now), "12 min");
/// assert_eq!(haven_console::time::relative(datetime!(2026-11-27 07:51 UTC), now), "2026-11-27 07:51 UTC");
/// ```
pub fn relative(moment: OffsetDateTime, now: OffsetDateTime) -> String {
    match (now - moment).whole_seconds().max(0) {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400.. => absolute(moment),
    }
}

/// Returns a moment as `2026-11-29 08:03 UTC`.
pub fn absolute(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let utc = moment.to_offset(time::UtcOffset::UTC);
    // The format has no part that a date could lack.
    utc.format(&format).unwrap_or_else(|_| utc.to_string())
}

/// Returns when something ends, at most a day from now: the time of day, and how long it is until
/// then.
///
/// ```
/// use time::macros::datetime;
/// let now = datetime!(2026-11-29 07:07:23.717 UTC);
/// assert_eq!(haven_console::time::expiry(now + time::Duration::hours(8), now), "15:07 UTC (in 8 h)");
/// ```
pub fn expiry(moment: OffsetDateTime, now: OffsetDateTime) -> String {
    let left = match (moment - now).whole_seconds().max(0) {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600.. => match (seconds / 3_600, seconds % 3_600 / 60) {
            (hours, 0) => format!("{hours} h"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        },
    };
    let utc = moment.to_offset(time::UtcOffset::UTC);
    format!("{:02}:{:02} UTC (in {left})", utc.hour(), utc.minute())
}

/// Returns a duration in at most two units.
///
/// ```
/// use std::time::Duration;
/// use haven_console::time::duration;
/// assert_eq!(duration(Duration::from_millis(13_840)), "13.8 s");
/// assert_eq!(duration(Duration::from_secs(192)), "3 m 12 s");
/// ```
pub fn duration(duration: Duration) -> String {
    let (milliseconds, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        ..20 => format!("{}.{} s", seconds, milliseconds % 1_000 / 100),
        20..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3_600.. => format!("{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Returns a number with commas between thousands.
///
/// ```
/// assert_eq!(haven_console::time::thousands(30_000), "30,000");
/// ```
pub fn thousands(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-" } else { "" }.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number and its noun.
///
/// ```
/// use haven_console::time::counted;
/// assert_eq!([counted(1, "role"), counted(1_204, "order")], ["1 role", "1,204 orders"]);
/// ```
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(count))
}

/// Returns a number, its noun and the verb, such as "1 alarm is".
pub fn counted_are(count: usize, noun: &str) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb}", counted(count, noun))
}

/// Returns an amount with commas between thousands and this many decimals.
///
/// ```
/// assert_eq!(haven_console::time::decimal(1_389.468, 2), "1,389.47");
/// ```
pub fn decimal(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    match whole.trim_start_matches('-').parse::<u64>() {
        Ok(magnitude) => {
            let sign = if whole.starts_with('-') { "-" } else { "" };
            format!("{sign}{}{fraction}", thousands(magnitude))
        }
        // Not a number, infinity, or beyond every amount that we show.
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::time::macros::datetime;

    #[test]
    fn times_are_relative_under_a_day() {
        let now = datetime!(2026-11-29 08:03:30 UTC);
        for (moment, expected) in [
            (datetime!(2026-11-29 08:03:31 UTC), "0 s"),
            (datetime!(2026-11-29 08:02:42 UTC), "48 s"),
            (datetime!(2026-11-29 08:02:30 UTC), "1 min"),
            (datetime!(2026-11-28 08:03:31 UTC), "23 h"),
            (datetime!(2026-11-28 09:03:30 +1), "2026-11-28 08:03 UTC"),
        ] {
            assert_eq!(relative(moment, now), expected);
        }
    }

    #[test]
    fn an_expiry_has_the_time_of_day_and_what_is_left() {
        let now = datetime!(2026-11-29 07:07:23.717990741 UTC);
        for (left, expected) in [
            (time::Duration::milliseconds(1), "07:07 UTC (in 0 s)"),
            (time::Duration::minutes(30), "07:37 UTC (in 30 min)"),
            (time::Duration::minutes(90), "08:37 UTC (in 1 h 30 min)"),
            (time::Duration::hours(8), "15:07 UTC (in 8 h)"),
            (time::Duration::hours(24), "07:07 UTC (in 24 h)"),
        ] {
            assert_eq!(expiry(now + left, now), expected);
        }
        let elsewhere = datetime!(2026-11-29 16:07 +1);
        assert_eq!(expiry(elsewhere, now), "15:07 UTC (in 7 h 59 min)");
    }

    #[test]
    fn durations_have_at_most_two_units() {
        for (milliseconds, expected) in [
            (7, "0.0 s"),
            (432, "0.4 s"),
            (19_999, "19.9 s"),
            (20_000, "20 s"),
            (59_999, "59 s"),
            (365_000, "6 m 05 s"),
            (7_500_000, "2 h 05 m"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn thousands_are_separated() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(thousands(number), expected);
        }
        for (number, expected) in [(0.126, "0.13"), (-1_350.36, "-1,350.36"), (-0.5, "-0.50")] {
            assert_eq!(decimal(number, 2), expected);
        }
        assert_eq!(decimal(1_999.5, 0), "2,000");
        assert_eq!(decimal(f64::INFINITY, 2), "inf");
    }
}
