//! `haven logs`: shows and follows the log lines of the roles of this machine.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use app::ports::Source as _;
use app::use_cases::journey::time_text;
use clap::Args;
use contract::parameter_root;
use contract::role::ROLES;
use domain::Timestamp;
use domain::text::printable;
use haven_console::error::{Failure, unknown};
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::time::thousands;
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
use haven_console::{output, settings, terminal};
use platform::environment::{ENVIRONMENT, GATEWAY};
use platform::private_file::check_owner;
use platform::state::State;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::Level;
use worker::stores::SystemSource;

use super::SURROUNDINGS;
use crate::arguments::{InvalidValue, ORDER, STATE, duration, environments};
use crate::target::OURS;

/// The time between two reads of the files with `--follow`.
const FOLLOWED_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub struct Logs {
    /// Role to show, or payment-gateway [default: all]
    #[arg(value_name = "ROLE")]
    pub role: Option<String>,
    /// Environment, of which only local is supported
    #[arg(value_name = "ENV", hide = true)]
    pub environment: Option<String>,
    #[arg(long)]
    pub env: Option<String>,
    /// Keep showing new lines until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    #[arg(long, value_name = "ORDER", value_parser = order, help = ORDER)]
    pub order: Option<String>,
    /// Show this level and worse: error, warn, info, debug or trace
    #[arg(long, default_value = "trace", value_parser = level)]
    pub level: Level,
    /// Show only lines of this last time, such as 15m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub since: Option<Duration>,
    /// Show at most this many lines, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    #[arg(long)]
    pub json: bool,
}

fn level(text: &str) -> Result<Level, InvalidValue> {
    let level = text.parse();
    level.map_err(|_| InvalidValue::new("must be error, warn, info, debug or trace"))
}

/// Checks an order id, or the beginning of one.
fn order(text: &str) -> Result<String, InvalidValue> {
    const SHORTEST: usize = 8;
    let is_id = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
    if text.len() >= SHORTEST && text.chars().all(is_id) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(InvalidValue::new(
            "must be an order's id, or at least its first 8 characters",
        ))
    }
}

/// Prints the newest lines, and with `--follow` all later ones. Always returns true.
///
/// # Errors
/// When another environment or an unknown role is named, or there are no logs.
pub async fn command(options: &Logs) -> anyhow::Result<bool> {
    refuse_other_environments(options)?;
    let roles = roles(options.role.as_deref())?;
    check_owner(&options.state)?;
    if !options.state.join("logs").is_dir() {
        let message = format!("{} has no logs", options.state.display());
        let tip = "run `haven up`, or name another directory with `--state DIR`";
        return Err(Failure::new(Exit::Failed, message).tip(tip).into());
    }
    let filter = Filter {
        level: options.level,
        since: options.since.map(|since| SystemSource.now() - since),
        order: options.order.clone(),
    };
    let mut files: Vec<Tail> = roles
        .into_iter()
        .map(|role| Tail {
            role,
            path: State::log_path(&options.state, role),
            offset: 0,
        })
        .collect();
    let limit = options.limit as usize;
    let mut batch = Batch::read(&mut files, &filter, limit)?;
    let newest = batch.entries.len().saturating_sub(limit);
    batch.entries.drain(..newest);
    print(&batch.entries, options.json);
    if !options.follow {
        end(&batch, options.json);
        return Ok(true);
    }
    // Ctrl-C ends the program.
    while !output::has_failed() {
        tokio::time::sleep(FOLLOWED_EVERY).await;
        let batch = Batch::read(&mut files, &filter, usize::MAX)?;
        print(&batch.entries, options.json);
    }
    Ok(true)
}

fn refuse_other_environments(options: &Logs) -> anyhow::Result<()> {
    let names: Vec<String> = options.environment.iter().cloned().collect();
    let names = environments(&names, options.env.as_deref(), &[ENVIRONMENT])?;
    let name = names.first().map_or(ENVIRONMENT, String::as_str);
    if name == ENVIRONMENT {
        return Ok(());
    }
    if !OURS.contains(&name) {
        return Err(unknown("environment", name, &OURS).into());
    }
    let role = options.role.as_deref().unwrap_or("order-worker");
    let message = format!("the logs of `{name}` are in CloudWatch, which haven does not read yet");
    let tip = format!(
        "run `aws logs tail {}/{role} --follow`",
        parameter_root(name)
    );
    Err(Failure::usage(message).tip(tip).into())
}

/// Returns the roles to show.
fn roles(named: Option<&str>) -> Result<Vec<&'static str>, Failure> {
    let mut all: Vec<&'static str> = ROLES.iter().map(|role| role.slug).collect();
    all.push(GATEWAY);
    match named {
        None => Ok(all),
        Some(name) => match all.iter().find(|role| **role == name) {
            Some(role) => Ok(vec![*role]),
            None => Err(unknown("role", name, &all)),
        },
    }
}

/// Which lines are shown.
struct Filter {
    level: Level,
    since: Option<Timestamp>,
    order: Option<String>,
}

/// A line of a log.
struct Entry {
    at: Timestamp,
    role: &'static str,
    level: Level,
    log: Value,
}

impl Filter {
    /// Returns the entry of a line if it is shown. A line in another format has none.
    fn entry(&self, role: &'static str, line: &str) -> Option<Entry> {
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

/// A log file, which is read up to an offset.
struct Tail {
    role: &'static str,
    path: PathBuf,
    offset: u64,
}

impl Tail {
    /// Passes each whole line after the offset to `line`. A file that does not exist has none.
    fn each_line(&mut self, mut line: impl FnMut(&str)) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if file.metadata()?.len() < self.offset {
            // The log was set aside, and a new one begun.
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut file = BufReader::new(file);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = file.read_until(b'\n', &mut bytes)?;
            // The rest of a line that is being written is read next time.
            if bytes.last() != Some(&b'\n') {
                return Ok(());
            }
            self.offset += read as u64;
            line(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// The new lines of all files.
struct Batch {
    /// Oldest first.
    entries: Vec<Entry>,
    /// The number of lines that match, of which `entries` can lack older ones.
    total: usize,
}

impl Batch {
    /// Reads all files, and keeps the newest `limit` lines of each.
    fn read(files: &mut [Tail], filter: &Filter, limit: usize) -> anyhow::Result<Batch> {
        let (mut entries, mut total) = (Vec::new(), 0);
        for file in files {
            let mut kept = VecDeque::new();
            let role = file.role;
            file.each_line(|line| {
                if let Some(entry) = filter.entry(role, line) {
                    total += 1;
                    if kept.len() == limit {
                        kept.pop_front();
                    }
                    kept.push_back(entry);
                }
            })
            .with_context(|| format!("read {}", file.path.display()))?;
            entries.extend(kept);
        }
        entries.sort_by_key(|entry: &Entry| entry.at);
        Ok(Batch { entries, total })
    }
}

fn print(entries: &[Entry], json: bool) {
    let (columns, is_full) = (width::stdout_text(), settings::get().verbose);
    let now = SystemSource.now();
    for entry in entries {
        if json {
            let line = json!({ "event": "line", "role": entry.role, "log": entry.log });
            println!("{}", terminal::json_line(&line));
        } else {
            println!("{}", text(entry, now, columns, is_full));
        }
    }
}

/// Prints the last line: with `--json` always, else if lines are missing.
fn end(batch: &Batch, json: bool) {
    let shown = batch.entries.len();
    let sentence = summary(shown, batch.total);
    if json {
        let result = json!({ "event": "result", "schema": "haven.logs/1", "ok": true, "verdict": sentence,
            "lines": shown, "matching": batch.total });
        println!("{}", terminal::json_line(&result));
    } else if shown == 0 {
        Verdict::neutral(sentence).print();
    } else if shown < batch.total && !settings::get().quiet {
        eprintln!("{sentence}");
    }
}

fn summary(shown: usize, total: usize) -> String {
    let [shown_text, total_text] = [shown, total].map(|count| thousands(count as u64));
    match shown {
        0 => "No log lines match.".to_owned(),
        1 if total == 1 => "1 log line.".to_owned(),
        shown if shown == total => format!("{total_text} log lines."),
        _ => format!("The newest {shown_text} of {total_text} log lines; --limit shows more."),
    }
}

/// Returns a line for people: time, level, role and message, and the fields below.
fn text(entry: &Entry, now: Timestamp, columns: usize, is_full: bool) -> String {
    const LEVEL: usize = 5;
    let is_old = now - entry.at >= time::Duration::DAY;
    let moment = time_text(entry.at);
    // The time of day, without the date and the zone.
    let short = moment.get(11..23).filter(|_| !is_full && !is_old);
    let moment = short.unwrap_or(&moment);
    let word = entry.level.as_str();
    let padding = " ".repeat(LEVEL.saturating_sub(word.len()));
    let word = match entry.level {
        Level::ERROR => Meaning::Fail.paint(word),
        Level::WARN => Meaning::Warn.paint(word),
        Level::DEBUG | Level::TRACE => Meaning::Aside.paint(word),
        _ => word.to_owned(),
    };
    let indent = " ".repeat(moment.len() + LEVEL + 2);
    let first = format!("{moment} {word}{padding} {}  ", entry.role);
    let message = printable(entry.log["message"].as_str().unwrap_or_default());
    let mut text = wrap(&message, columns, &first, &indent);
    if message.is_empty() {
        text = first.trim_end().to_owned();
    }
    let fields = fields(&entry.log, is_full);
    if !fields.is_empty() {
        text += &format!("\n{}", wrap(&fields, columns, &indent, &indent));
    }
    text
}

/// Returns the fields of the event as `name=value`, with `is_full` also target and span.
fn fields(log: &Value, is_full: bool) -> String {
    let is_shown = |name: &str| {
        !SURROUNDINGS.contains(&name) || (is_full && matches!(name, "target" | "span"))
    };
    let fields = log.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, _)| is_shown(name));
    let fields = fields.map(|(name, value)| match value {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_whitespace) => {
            printable(&format!("{name}={text}"))
        }
        other => printable(&format!("{name}={other}")),
    });
    fields.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use haven_console::width::of_text;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    const ALL: Filter = Filter {
        level: Level::TRACE,
        since: None,
        order: None,
    };
    const NOW: Timestamp = datetime!(2026-11-29 08:04 UTC);

    fn line(time: &str, level: &str, rest: &str) -> String {
        format!(
            "{{\"role\":\"r\",\"timestamp\":\"2026-11-29T{time}Z\",\"level\":\"{level}\",{rest}}}\n"
        )
    }

    fn rejected() -> Entry {
        let rest = r#""message":"message rejected: not JSON\u001b[2J","queue":"orders","reason":"key must be a string","delivery":1,"target":"chassis::consume","span":{"order.id":"33db0289"}"#;
        let line = line("08:03:38.230", "WARN", rest);
        ALL.entry("order-worker", &line).expect("an entry")
    }

    #[test]
    fn a_line_has_its_fields_below() {
        let entry = rejected();
        for columns in [60, 80, 120] {
            let text = text(&entry, NOW, columns, true);
            assert!(!text.contains("\u{1b}[2J"), "{text:?}");
            for line in text.lines() {
                assert!(
                    of_text(line) <= columns && line == line.trim_end(),
                    "{line:?}"
                );
            }
        }
        let warn = Meaning::Warn.paint("WARN");
        let indent = " ".repeat(19);
        let short = text(&entry, NOW, 120, false);
        assert!(
            short.starts_with(&format!(
                "08:03:38.230 {warn}  order-worker  message rejected: not JSON"
            )),
            "{short}"
        );
        for field in [
            "queue=orders",
            "delivery=1",
            "reason=\"key must be a string\"",
        ] {
            assert!(short.contains(field), "{field}: {short}");
        }
        assert!(short.contains(&format!("\n{indent}")), "{short}");
        assert!(!short.contains("target="), "{short}");
        let full = text(&entry, NOW, 120, true);
        assert!(full.contains("target=chassis::consume"), "{full}");
        assert!(full.starts_with("2026-11-29T08:03:38.230Z "), "{full}");
    }

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
        assert_eq!(of(ALL), r#""a""b""#);
        let level = Level::WARN;
        assert_eq!(of(Filter { level, ..ALL }), r#""b""#);
        let since = Some(datetime!(2026-11-29 08:01 UTC));
        assert_eq!(of(Filter { since, ..ALL }), r#""b""#);
        let order = Some("33db0289".to_owned());
        assert_eq!(of(Filter { order, ..ALL }), r#""a""#);
    }

    #[test]
    fn new_lines_are_read_once_and_in_order() {
        let folder = std::env::temp_dir().join(format!("haven-logs-{}", Uuid::now_v7()));
        fs::create_dir_all(&folder).expect("a directory");
        let mut files = ["sweeper", "storefront", "order-worker"].map(|role| Tail {
            role,
            path: folder.join(role),
            offset: 0,
        });
        let messages = |files: &mut [Tail], limit: usize| {
            let batch = Batch::read(files, &ALL, limit).expect("read");
            let messages = batch
                .entries
                .iter()
                .map(|entry| entry.log["message"].as_str());
            let messages: Vec<String> = messages.flatten().map(str::to_owned).collect();
            (messages.join(" "), batch.total)
        };
        let message =
            |time: &str, text: &str| line(time, "INFO", &format!("\"message\":\"{text}\""));
        let old = message("08:00:00", "one") + &message("08:00:02", "three") + "{\"half\":";
        fs::write(folder.join("sweeper"), &old).expect("written");
        fs::write(folder.join("storefront"), message("08:00:01", "two")).expect("written");
        assert_eq!(messages(&mut files, 9), ("one two three".to_owned(), 3));
        assert_eq!(messages(&mut files, 9), (String::new(), 0));
        // A smaller file is a new one.
        fs::write(folder.join("sweeper"), message("08:00:03", "four")).expect("written");
        assert_eq!(messages(&mut files, 9), ("four".to_owned(), 1));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn unknown_roles_and_other_environments_are_refused_with_a_tip() {
        let failure = roles(Some("order-workr")).expect_err("unknown");
        assert_eq!(failure.exit.code(), 64);
        let tip = failure.tip.unwrap_or_default();
        assert!(tip.starts_with("did you mean `order-worker`?"), "{tip}");
        assert_eq!(roles(Some(GATEWAY)).expect("known"), [GATEWAY]);
        assert_eq!(roles(None).expect("all").len(), ROLES.len() + 1);
        assert_eq!(summary(0, 0), "No log lines match.");
        assert_eq!(
            summary(100, 1_204),
            "The newest 100 of 1,204 log lines; --limit shows more."
        );
        assert!(order("A-004").is_err() && order("33db0289").is_ok());
        assert_eq!(level("warn"), Ok(Level::WARN));
    }
}
