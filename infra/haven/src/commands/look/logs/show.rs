//! `haven logs`: shows and follows the log lines of the roles, from the files of this machine or
//! from CloudWatch Logs.

use std::time::Duration;

use app::ports::Source as _;
use app::use_cases::journey::time_text;
use clap::Args;
use contract::role::ROLES;
use domain::Timestamp;
use domain::text::printable;
use haven_console::error::{Failure, unknown};
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::time::thousands;
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
use haven_console::{output, settings, terminal};
use platform::environment::{ENVIRONMENT, GATEWAY};
use platform::private_file::check_owner;
use serde_json::{Value, json};
use tracing::Level;
use worker::stores::SystemSource;

use super::SURROUNDINGS;
use super::cloudwatch::Groups;
use super::entry::{Batch, Entry, Filter};
use super::files::{self, Tail};
use crate::arguments::{
    InvalidValue, LIMIT, ORDER, Place, Settings, Target, duration, environments,
};
use crate::target;

/// The time between two reads of the files with `--follow`.
const FILES_EVERY: Duration = Duration::from_millis(250);
/// How far back the log groups are read without `--since`. A search through all of a busy
/// environment takes minutes.
const GROUPS_SINCE: Duration = Duration::from_secs(3_600);

#[derive(Debug, Args)]
pub struct Logs {
    /// Role to show, or payment-gateway [default: all]
    #[arg(value_name = "ROLE")]
    pub role: Option<String>,
    /// Environment, local or on AWS [default: local]
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
    #[arg(long, value_name = "N", help = LIMIT, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub place: Place,
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

/// The logs of an environment.
enum Source {
    Files(Vec<Tail>),
    Groups(Groups),
}

impl Source {
    async fn read(&mut self, filter: &Filter, limit: usize) -> anyhow::Result<Batch> {
        match self {
            Source::Files(files) => files::read(files, filter, limit),
            Source::Groups(groups) => groups.read(filter, limit).await,
        }
    }

    /// Returns the time between two reads.
    fn pause(&self) -> Duration {
        match self {
            Source::Files(_) => FILES_EVERY,
            Source::Groups(groups) => groups.pause(),
        }
    }
}

/// Prints the newest lines, and with `--follow` all later ones. Always ends with 0.
///
/// # Errors
/// When the environment or the role is unknown, there are no logs, or AWS does not answer.
pub async fn command(options: &Logs) -> anyhow::Result<Exit> {
    let names = options.environment.as_slice();
    let names = environments(names, options.env.as_deref(), &[ENVIRONMENT])?;
    let environment = names.first().map_or(ENVIRONMENT, String::as_str);
    let is_local = environment == ENVIRONMENT;
    let now = SystemSource.now();
    let since = options.since.or((!is_local).then_some(GROUPS_SINCE));
    let filter = Filter {
        level: options.level,
        since: since.map(|since| now - since),
        order: options.order.clone(),
    };
    let roles = roles(options.role.as_deref(), is_local)?;
    let mut source = if is_local {
        Source::Files(log_files(options, &roles)?)
    } else {
        let target = Target {
            which: options.settings.of(environment),
            place: options.place.clone(),
        };
        let (aws, settings) = target::resolve(&target).await?;
        let config = aws.target(settings).config;
        let since = filter.since.unwrap_or(now);
        Source::Groups(Groups::new(&config, environment, &roles, since))
    };
    let steps = Steps::new("logs");
    let reading = steps.begin(&format!("Reading the logs of {environment}"));
    let batch = source.read(&filter, options.limit as usize).await?;
    drop(reading);
    print(&batch.entries);
    if !options.follow {
        end(&batch, !is_local && options.since.is_none());
        return Ok(Exit::Done);
    }
    drop(steps);
    // Ctrl-C ends the program.
    while !output::has_failed() {
        tokio::time::sleep(source.pause()).await;
        let batch = source.read(&filter, usize::MAX).await?;
        print(&batch.entries);
    }
    Ok(Exit::Done)
}

fn log_files(options: &Logs, roles: &[&'static str]) -> anyhow::Result<Vec<Tail>> {
    let state = &options.place.state;
    check_owner(state)?;
    if !state.join("logs").is_dir() {
        let message = format!("{} has no logs", state.display());
        let tip = "run `haven up`, or name another directory with `--state DIR`";
        return Err(Failure::new(Exit::Failed, message).tip(tip).into());
    }
    Ok(roles.iter().map(|role| Tail::new(state, role)).collect())
}

/// Returns the roles to show. The payment gateway runs on this machine only.
fn roles(named: Option<&str>, is_local: bool) -> Result<Vec<&'static str>, Failure> {
    let mut all: Vec<&'static str> = ROLES.iter().map(|role| role.slug).collect();
    all.extend(is_local.then_some(GATEWAY));
    match named {
        None => Ok(all),
        Some(name) => match all.iter().find(|role| **role == name) {
            Some(role) => Ok(vec![*role]),
            None => Err(unknown("role", name, &all)),
        },
    }
}

fn print(entries: &[Entry]) {
    let (columns, settings) = (width::stdout_text(), settings::get());
    let now = SystemSource.now();
    for entry in entries {
        if settings.json {
            let line = json!({ "event": "line", "role": entry.role, "log": entry.log });
            println!("{}", terminal::json_line(&line));
        } else {
            output::always(text(entry, now, columns, settings.verbose));
        }
    }
}

/// Prints the last line: with `--json` always, else if lines are missing.
fn end(batch: &Batch, is_last_hour: bool) {
    let settings = settings::get();
    let shown = batch.entries.len();
    let sentence = summary(shown, batch.total, is_last_hour);
    if settings.json {
        let result = json!({ "event": "result", "schema": "haven.logs/1", "ok": true, "verdict": sentence,
            "lines": shown, "matching": batch.total });
        println!("{}", terminal::json_line(&result));
    } else if shown == 0 {
        Verdict::neutral(sentence).print();
    } else if shown < batch.total && !settings.quiet {
        eprintln!("{sentence}");
    }
}

fn summary(shown: usize, total: usize, is_last_hour: bool) -> String {
    let [shown_text, total_text] = [shown, total].map(|count| thousands(count as u64));
    match shown {
        0 if is_last_hour => {
            "No log lines of the last hour match; --since shows older ones.".to_owned()
        }
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
    use haven_console::width::of_text;
    use time::macros::datetime;

    use super::*;
    use crate::commands::look::logs::entry::line;

    const NOW: Timestamp = datetime!(2026-11-29 08:04 UTC);

    fn rejected() -> Entry {
        let rest = r#""message":"message rejected: not JSON\u001b[2J","queue":"orders","reason":"key must be a string","delivery":1,"target":"chassis::consume","span":{"order.id":"33db0289"}"#;
        let line = line("08:03:38.230", "WARN", rest);
        Filter::ALL.entry("order-worker", &line).expect("an entry")
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
    fn unknown_roles_are_refused_with_a_tip_and_missing_lines_are_explained() {
        let failure = roles(Some("order-workr"), true).expect_err("unknown");
        assert_eq!(failure.exit.code(), 64);
        let tip = failure.tip.unwrap_or_default();
        assert!(tip.starts_with("did you mean `order-worker`?"), "{tip}");
        assert_eq!(roles(Some(GATEWAY), true).expect("known"), [GATEWAY]);
        assert_eq!(roles(None, true).expect("all").len(), ROLES.len() + 1);
        assert!(roles(Some(GATEWAY), false).is_err(), "not on AWS");
        assert_eq!(summary(0, 0, false), "No log lines match.");
        assert_eq!(
            summary(100, 1_204, true),
            "The newest 100 of 1,204 log lines; --limit shows more."
        );
        let older = summary(0, 0, true);
        assert!(older.contains("--since"), "{older}");
        assert!(order("A-004").is_err() && order("33db0289").is_ok());
        assert_eq!(level("warn"), Ok(Level::WARN));
    }
}
