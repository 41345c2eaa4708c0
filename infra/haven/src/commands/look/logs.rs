//! The logs of the roles: the lines of this machine about one order, and `haven logs`.

mod cloudwatch;
mod entry;
mod files;
mod show;

pub use show::{Logs, command};

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use app::use_cases::journey::{Moment, Record};
use domain::ids::OrderId;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The fields that describe the origin of a line, not its event.
const SURROUNDINGS: [&str; 7] = [
    "timestamp",
    "level",
    "message",
    "target",
    "role",
    "span",
    "threadId",
];

/// The lines of one file that are kept at most. One order has a few, but one that is retried for
/// days could fill the terminal.
const LINES_MAX: usize = 200;

/// Returns the lines that contain the order id or one of its trace ids, file by file. Without a log
/// directory, returns none.
///
/// # Errors
/// When a log file cannot be opened.
pub fn about(
    state: &Path,
    order_id: OrderId,
    traces: &BTreeSet<String>,
) -> anyhow::Result<Vec<Moment>> {
    let mut moments = Vec::new();
    let wanted: Vec<String> = std::iter::once(order_id.to_string())
        .chain(traces.iter().cloned())
        .collect();
    let Ok(folder) = std::fs::read_dir(state.join("logs")) else {
        return Ok(moments);
    };
    for entry in folder.flatten() {
        let path = entry.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let file = File::open(&path).with_context(|| format!("read {}", path.display()))?;
        // A program that was killed can have left half a line with invalid UTF-8.
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        let ours = lines.filter(|line| wanted.iter().any(|part| line.contains(part)));
        let mut read: Vec<Moment> = ours.filter_map(|line| moment(name, &line)).collect();
        moments.extend(read.split_off(read.len().saturating_sub(LINES_MAX)));
    }
    Ok(moments)
}

/// Parses a log line. Returns `None` for a line in another format.
fn moment(role: &str, line: &str) -> Option<Moment> {
    let line: Value = serde_json::from_str(line).ok()?;
    let at = OffsetDateTime::parse(line["timestamp"].as_str()?, &Rfc3339).ok()?;
    let (level, message) = (
        line["level"].as_str().unwrap_or("INFO"),
        line["message"].as_str().unwrap_or_default(),
    );
    let fields = line
        .as_object()?
        .iter()
        .filter(|(name, _)| !SURROUNDINGS.contains(&name.as_str()));
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Some(Moment {
        by: Some(role.to_owned()),
        note: Some(fields.join(" ")).filter(|note| !note.is_empty()),
        ..Moment::new(at, Record::Log, format!("{level} {message}"))
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn lines_of_an_order_and_its_traces_are_found_and_invalid_lines_skipped() {
        let folder = std::env::temp_dir().join(format!("haven-logs-{}", Uuid::now_v7()));
        std::fs::create_dir_all(folder.join("logs")).expect("a directory");
        let order_id = OrderId(Uuid::now_v7());
        let line = |message: &str, rest: &str| {
            format!(
                "{{\"role\":\"r\",\"timestamp\":\"2026-03-01T12:00:00.182Z\",\"level\":\"WARN\",\"message\":\"{message}\",{rest}}}\n"
            )
        };
        let mut log = line(
            "by its id",
            &format!("\"reason\":\"late\",\"span\":{{\"order.id\":\"{order_id}\"}}"),
        )
        .into_bytes();
        log.extend(line("by its trace", "\"span\":{\"trace.id\":\"abc123\"}").bytes());
        log.extend(line("of another", "\"span\":{}").bytes());
        log.extend(b"\xff\xfe half a line with abc123\n");
        std::fs::write(folder.join("logs/order-worker.log"), log).expect("written");
        std::fs::write(folder.join("logs/order-worker.log.old"), "abc123").expect("written");
        let found = about(&folder, order_id, &BTreeSet::from(["abc123".to_owned()])).expect("read");
        let said: Vec<_> = found
            .iter()
            .map(|it| (it.what.as_str(), it.note.as_deref(), it.by.as_deref()))
            .collect();
        let by = Some("order-worker");
        assert_eq!(
            said,
            [
                ("WARN by its id", Some("reason=\"late\""), by),
                ("WARN by its trace", None, by)
            ]
        );
        assert!(
            about(Path::new("nowhere"), order_id, &BTreeSet::new())
                .expect("no logs")
                .is_empty()
        );
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
