//! Lines of logs: which are shown, and the newest of several logs.

use std::collections::VecDeque;

use domain::Timestamp;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::Level;

/// Which lines are shown.
pub struct Filter {
    pub level: Level,
    pub since: Option<Timestamp>,
    pub order: Option<String>,
}

/// A line of a log.
pub struct Entry {
    pub at: Timestamp,
    pub role: &'static str,
    pub level: Level,
    pub log: Value,
}

impl Filter {
    /// Returns the entry of a line if it is shown. A line in another format has none.
    pub fn entry(&self, role: &'static str, line: &str) -> Option<Entry> {
        let order = self.order.as_deref();
        if order.is_some_and(|order| !line.contains(order)) {
            return None;
        }
        let log: Value = serde_json::from_str(line).ok()?;
        let at = OffsetDateTime::parse(log["timestamp"].as_str()?, &Rfc3339).ok()?;
        let level = log["level"].as_str().and_then(|level| level.parse().ok());
        let level = level.unwrap_or(Level::INFO);
        // The more verbose level is the greater one.
        let is_shown = level <= self.level && self.since.is_none_or(|since| at >= since);
        is_shown.then_some(Entry {
            at,
            role,
            level,
            log,
        })
    }
}

/// The newest entries of one log.
pub struct Newest {
    limit: usize,
    entries: VecDeque<Entry>,
    /// The number of entries that were added, of which `entries` can lack older ones.
    total: usize,
}

impl Newest {
    /// Makes an empty list that keeps at most `limit` entries.
    pub fn new(limit: usize) -> Newest {
        Newest {
            limit,
            entries: VecDeque::new(),
            total: 0,
        }
    }

    /// Adds an entry, and drops the oldest one if there are too many.
    pub fn add(&mut self, entry: Entry) {
        self.total += 1;
        if self.entries.len() == self.limit {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

/// The new entries of all logs.
pub struct Batch {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// The number of lines that match, of which `entries` can lack older ones.
    pub total: usize,
}

impl Batch {
    /// Puts the entries of several logs in order, and keeps the newest `limit` of them.
    pub fn of(logs: Vec<Newest>, limit: usize) -> Batch {
        let total = logs.iter().map(|log| log.total).sum();
        let mut entries: Vec<Entry> = logs.into_iter().flat_map(|log| log.entries).collect();
        entries.sort_by_key(|entry| entry.at);
        entries.drain(..entries.len().saturating_sub(limit));
        Batch { entries, total }
    }
}

#[cfg(test)]
impl Filter {
    /// Shows every line.
    pub const ALL: Filter = Filter {
        level: Level::TRACE,
        since: None,
        order: None,
    };
}

/// Returns a line as a role writes it on the day of the tests.
#[cfg(test)]
pub fn line(time: &str, level: &str, rest: &str) -> String {
    format!(
        "{{\"role\":\"r\",\"timestamp\":\"2026-11-29T{time}Z\",\"level\":\"{level}\",{rest}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn lines_are_filtered_by_level_time_and_order() {
        let of = |filter: Filter| {
            let lines = [
                line("08:00:00", "INFO", r#""message":"a","order":"33db0289-1""#),
                line("08:02:00", "ERROR", r#""message":"b""#),
                "thread panicked\n".to_owned(),
            ];
            let entries = lines
                .iter()
                .filter_map(|line| filter.entry("sweeper", line));
            let messages = entries.map(|entry| entry.log["message"].to_string());
            messages.collect::<String>()
        };
        assert_eq!(of(Filter::ALL), r#""a""b""#);
        let level = Level::WARN;
        assert_eq!(
            of(Filter {
                level,
                ..Filter::ALL
            }),
            r#""b""#
        );
        let since = Some(datetime!(2026-11-29 08:01 UTC));
        assert_eq!(
            of(Filter {
                since,
                ..Filter::ALL
            }),
            r#""b""#
        );
        let order = Some("33db0289".to_owned());
        assert_eq!(
            of(Filter {
                order,
                ..Filter::ALL
            }),
            r#""a""#
        );
    }
}
