//! The log of requests that the signed front refused: `STATE/logs/local-aws-front.log`.
//!
//! The log shows when another account guesses keys. Such an account must not fill the disk, so
//! there is at most one line per second. A line describes one refusal and counts the refusals since
//! the line before.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use front::{OnRefusal, Refusal};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::mutex::locked;
use crate::state::State;

const NAME: &str = "local-aws-front";
const BETWEEN_LINES: Duration = Duration::from_secs(1);
/// The longest path and method in the log, in characters, because a client chooses their length.
const PATH_MAX: usize = 200;

/// Returns a hook that writes the log. Refusals that are counted but not written yet are written
/// when the hook is dropped.
///
/// # Errors
/// When the log cannot be opened.
pub fn log(state: &State) -> anyhow::Result<OnRefusal> {
    let log = Mutex::new(Log {
        file: state.log(NAME)?,
        written: None,
        left_out: 0,
    });
    Ok(Arc::new(move |refusal| {
        locked(&log).note(refusal, Instant::now())
    }))
}

struct Log {
    file: File,
    /// The time of the last line.
    written: Option<Instant>,
    /// The number of refusals since the last line.
    left_out: u64,
}

impl Log {
    fn note(&mut self, refusal: &Refusal<'_>, now: Instant) {
        if self
            .written
            .is_some_and(|written| now.duration_since(written) < BETWEEN_LINES)
        {
            self.left_out += 1;
            return;
        }
        self.written = Some(now);
        let path: String = refusal.path.chars().take(PATH_MAX).collect();
        let method: String = refusal.method.chars().take(PATH_MAX).collect();
        self.write(json!({ "error": refusal.name, "status": refusal.status, "method": method, "path": path }));
    }

    fn write(&mut self, mut line: serde_json::Value) {
        line["timestamp"] = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default()
            .into();
        line["level"] = "WARN".into();
        line["message"] = "The local AWS refused a request".into();
        line["event"] = "refused".into();
        if self.left_out > 0 {
            line["left_out_before"] = self.left_out.into();
            self.left_out = 0;
        }
        // A refusal does not depend on its log, so a failed write is ignored.
        let _ = writeln!(self.file, "{line}");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.left_out > 0 {
            self.write(json!({}));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn refusals_are_logged_once_a_second_and_all_counted() {
        let path = std::env::temp_dir().join(format!("haven-refusals-{}", uuid::Uuid::now_v7()));
        let mut log = Log {
            file: File::create(&path).expect("a file"),
            written: None,
            left_out: 0,
        };
        let long = format!("/{}\"\n", "x".repeat(10_000));
        let refusal = Refusal {
            name: "AccessDenied",
            status: 403,
            method: "GET",
            path: &long,
        };
        let begun = Instant::now();
        for number in 0..1_000 {
            log.note(&refusal, begun + Duration::from_millis(number));
        }
        log.note(&refusal, begun + BETWEEN_LINES);
        log.note(&refusal, begun + BETWEEN_LINES);
        drop(log);
        let text = fs::read_to_string(&path).expect("written");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let left_out: Vec<_> = lines
            .iter()
            .map(|line| line["left_out_before"].as_u64())
            .collect();
        assert_eq!(left_out, [None, Some(999), Some(1)], "{text}");
        assert!(text.len() < 2_000, "{text}");
        assert_eq!(
            (&lines[0]["error"], &lines[0]["status"]),
            (&json!("AccessDenied"), &json!(403))
        );
        fs::remove_file(path).expect("removed");
    }
}
