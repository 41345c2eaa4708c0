//! The text output of `haven dlq`.

use app::use_cases::rehearse::Foreseen;
use domain::Timestamp;
use domain::text::printable;
use haven_console::style::Meaning;
use haven_console::table::{Cell, Column, Table, shortened};
use haven_console::terminal;
use haven_console::time::{counted, relative, thousands};
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use serde_json::{Value, json};

use super::cause::Cause;
use super::desk::Letter;

/// The first digits of a fingerprint that a hint shows at least.
const DIGITS_MIN: usize = 4;
/// The width from which the table of causes always shows the age of a cause.
const WIDE: usize = 80;
/// The column at which the values of `haven dlq show` begin.
const VALUES: usize = 11;

/// Returns the table of all causes for an output of this width.
pub fn causes(causes: &[Cause<'_>], now: Timestamp, columns: usize) -> Table {
    let oldest = Column::text("Oldest");
    let mut table = Table::new([
        Column::text("Cause"),
        Column::text("Queue"),
        Column::number("Count"),
        if columns < WIDE {
            oldest.optional(1)
        } else {
            oldest
        },
        Column::text("Reason").shortened(),
    ]);
    for cause in causes {
        let oldest = cause.letters.first().and_then(|it| it.parked.parked_at);
        table.row([
            cause.fingerprint.clone(),
            cause.queue.slug.to_owned(),
            thousands(cause.letters.len() as u64),
            oldest.map_or_else(String::new, |at| relative(at, now)),
            printable(&cause.reason),
        ]);
    }
    table
}

/// Returns the last line of the list. It is the whole list if there is at most one cause.
pub fn of_causes(causes: &[Cause<'_>]) -> Verdict {
    let total: usize = causes.iter().map(|cause| cause.letters.len()).sum();
    let sentence = match causes {
        [] => return Verdict::neutral("No dead letters."),
        [cause] => format!(
            "{} in {}, cause {}: {}.",
            counted(total, "dead letter"),
            cause.queue.slug,
            cause.fingerprint,
            printable(&cause.reason)
        ),
        several => format!(
            "{}, {} causes.",
            counted(total, "dead letter"),
            several.len()
        ),
    };
    Verdict::neutral(sentence).next(format!("haven dlq show {}", short(&causes[0], causes)))
}

/// Returns the shortest prefix of the fingerprint that no other cause has.
pub fn short<'a>(cause: &'a Cause<'_>, causes: &[Cause<'_>]) -> &'a str {
    let prefix = |digits: usize| cause.fingerprint.get(..digits);
    let is_unique = |prefix: &&str| {
        let alike = causes
            .iter()
            .filter(|other| other.fingerprint.starts_with(*prefix));
        alike.count() <= 1
    };
    let mut prefixes = (DIGITS_MIN..cause.fingerprint.len()).filter_map(prefix);
    prefixes.find(is_unique).unwrap_or(&cause.fingerprint)
}

/// Returns how often the dead letters were received from their queue, if all say so.
pub fn received(letters: &[&Letter]) -> Option<String> {
    let counts: Option<Vec<u32>> = letters.iter().map(|it| it.parked.deliveries).collect();
    let counts = counts?;
    let (least, most) = (*counts.iter().min()?, *counts.iter().max()?);
    let each = if counts.len() == 1 { "" } else { "each " };
    Some(match (least, most) {
        (1, 1) => format!("{each}received once"),
        (least, most) if least == most => format!("{each}received {most} times"),
        (least, most) => format!("received {least} to {most} times"),
    })
}

/// Returns the text of the document that `examine` makes. With `is_full`, both messages and the ids
/// are shown in full.
pub fn message(
    document: &Value,
    received: Option<String>,
    columns: usize,
    is_full: bool,
) -> String {
    let (message, good) = (&document["message"], &document["good"]);
    let count = document["count"].as_u64().unwrap_or_default() as usize;
    let heading = format!(
        "Cause {}: {} in {}{}",
        plain(&document["fingerprint"]),
        counted(count, "dead letter"),
        plain(&document["queue"]),
        received.map_or_else(String::new, |received| format!(", {received}"))
    );
    let mut lines = vec![wrap(&heading, columns, "", "  ")];
    let mut row = |label: &str, value: &str| {
        let first = format!("  {label:<9}");
        lines.push(wrap(value, columns, &first, &" ".repeat(VALUES)));
    };
    row("Reason", &plain(&message["reason"]));
    let differences = document["differences"].as_array().map(Vec::as_slice);
    match differences {
        Some([]) | None => row("Differs", "in no field: the content or the time is wrong"),
        Some(differences) => {
            for (index, difference) in differences.iter().enumerate() {
                let (field, problem) = (plain(&difference["field"]), plain(&difference["problem"]));
                let label = if index == 0 { "Differs" } else { "" };
                row(label, &format!("! {field} {problem}"));
            }
        }
    }
    row("Order", &order(&document["order"]));
    if is_full {
        row("Id", &plain(&message["message_id"]));
        row("Moved at", &plain(&message["parked_at"]));
        row("Trace", &plain(&message["traceparent"]));
        lines.push(format!("\nMessage\n{}", pretty(&message["body"])));
        let from = plain(&good["from"]);
        lines.push(format!(
            "\nValid message, from the {from}\n{}",
            pretty(&good["body"])
        ));
    } else {
        for (label, body) in [("Message", &message["body"]), ("Valid", &good["body"])] {
            let body = shortened(&plain(body), columns.saturating_sub(VALUES));
            lines.push(format!("  {label:<9}{body}"));
        }
    }
    lines.join("\n")
}

fn order(order: &Value) -> String {
    match order {
        Value::Null => "none named".to_owned(),
        order if order["state"].is_null() => {
            format!("{} does not exist", plain(&order["order_id"]))
        }
        order => format!(
            "{} ({}) is {} since {}",
            plain(&order["order_number"]),
            plain(&order["order_id"]),
            plain(&order["state"]),
            plain(&order["updated_at"])
        ),
    }
}

/// Returns the last line of `haven dlq show`: what a redrive of the message would do.
pub fn of_message(foreseen: &Foreseen, short: &str, is_full: bool) -> Verdict {
    let redrive = format!("haven dlq redrive {short}");
    let runbook = "haven runbook show dead-letters";
    let (sentence, next) = match foreseen {
        Foreseen::Done { what } => (
            format!("A redrive would succeed: {}.", printable(what)),
            redrive.as_str(),
        ),
        Foreseen::Dropped => (
            "A redrive would change nothing: the message was applied before.".to_owned(),
            redrive.as_str(),
        ),
        Foreseen::Parked { .. } => ("A redrive would fail again.".to_owned(), runbook),
        Foreseen::Later { reason } => (
            format!("A redrive would be retried: {}.", printable(reason)),
            runbook,
        ),
    };
    let note = (!is_full).then(|| "whole messages: -v".to_owned());
    Verdict::neutral(sentence).note(note).next(next)
}

/// Returns a text, or compact JSON, as one line for a terminal.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// Returns indented JSON, or the text of a body that is not JSON, both safe for a terminal.
fn pretty(body: &Value) -> String {
    match body {
        Value::String(text) => printable(text),
        body => terminal::json(body),
    }
}

/// Returns the result of a rehearsal as JSON.
pub fn foreseen(foreseen: &Foreseen) -> Value {
    match foreseen {
        Foreseen::Done { what } => json!({ "verdict": "done", "what": what }),
        Foreseen::Dropped => json!({ "verdict": "dropped", "what": "it was applied before" }),
        Foreseen::Parked { reason } => json!({ "verdict": "parked", "what": reason }),
        Foreseen::Later { reason } => json!({ "verdict": "later", "what": reason }),
    }
}

/// Returns the table of what a redrive would do to each message, by id.
pub fn plan<'a>(messages: impl IntoIterator<Item = (&'a str, &'a Foreseen)>) -> Table {
    let mut table = Table::new([
        Column::text("Message"),
        Column::text("Redrive"),
        Column::text("Detail").shortened(),
    ]);
    for (id, foreseen) in messages {
        let (meaning, word, detail) = match foreseen {
            Foreseen::Done { what } => (Meaning::Ok, "succeeds", what.as_str()),
            Foreseen::Dropped => (Meaning::Skip, "duplicate", "applied before"),
            Foreseen::Parked { reason } => (Meaning::Fail, "fails again", reason.as_str()),
            Foreseen::Later { reason } => (Meaning::Warn, "retried", reason.as_str()),
        };
        let detail = Cell::from(printable(detail));
        table.row([Cell::from(printable(id)), meaning.cell(word), detail]);
    }
    table
}

/// Returns the last line of a dry run. `counts` has the numbers that `redrive::counts` returns.
pub fn of_plan(queue: &str, total: usize, counts: &Value, short: &str) -> Verdict {
    let count = |verdict: &str| counts[verdict].as_u64().unwrap_or_default() as usize;
    let words = in_words(&[
        (count("done"), "would succeed"),
        (count("dropped"), "would be dropped as duplicates"),
        (count("later"), "would be retried"),
        (count("parked"), "would fail again"),
    ]);
    let sentence = format!(
        "Dry run: {} in {queue}, {words}. Nothing was changed.",
        counted(total, "dead letter")
    );
    Verdict::neutral(sentence).next(format!("haven dlq redrive {short}"))
}

/// The numbers at the end of a redrive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ended<'a> {
    pub all: usize,
    pub applied: usize,
    pub dropped: usize,
    pub again: usize,
    pub unknown: usize,
    /// The reason why other dead letters were not sent.
    pub stopped: Option<&'a str>,
}

/// Returns the verdict of a redrive, which is good if every sent message ended well.
pub fn of_redrive(ended: &Ended<'_>, short: &str) -> Verdict {
    let sent = ended.applied + ended.dropped + ended.again + ended.unknown;
    let all = ended.all;
    let remaining = match all.saturating_sub(sent) + ended.again {
        0 => String::new(),
        1 => " 1 dead letter remains.".to_owned(),
        count => format!(" {} remain.", counted(count, "dead letter")),
    };
    if let Some(why) = ended.stopped {
        let why = printable(why);
        let sentence = format!("Stopped after {sent} of {all}: {why}.{remaining}");
        return Verdict::no(sentence).next(format!("haven dlq show {short}"));
    }
    let words = in_words(&[
        (ended.applied, "applied"),
        (ended.dropped, "dropped as duplicates"),
        (ended.again, "failed again"),
        (ended.unknown, "without a result yet"),
    ]);
    let sentence = format!("{sent} of {all} dead letters sent: {words}.{remaining}");
    if ended.again + ended.unknown > 0 {
        Verdict::no(format!("Incomplete: {sentence}")).next(format!("haven dlq show {short}"))
    } else {
        Verdict::good(format!("Redriven: {sentence}"))
    }
}

/// Returns the counts above zero, each with its words.
fn in_words(counts: &[(usize, &str)]) -> String {
    let some = counts.iter().filter(|(count, _)| *count > 0);
    let words = some.map(|(count, words)| format!("{} {words}", thousands(*count as u64)));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use adapter_aws::Parked;
    use contract::queue::{ORDERS, PAYMENTS, Queue};
    use time::macros::datetime;

    use super::*;
    use crate::commands::operate::dlq::cause::group;

    fn letter(queue: &'static Queue, id: &str, reason: &str) -> Letter {
        let parked = Parked {
            message_id: id.to_owned(),
            handle: String::new(),
            body: "{ poison".to_owned(),
            group: None,
            reason: reason.to_owned(),
            original_id: None,
            deliveries: Some(1),
            parked_at: Some(datetime!(2026-11-29 08:00 UTC)),
            traceparent: None,
        };
        Letter { queue, parked }
    }

    #[track_caller]
    fn assert_fits(text: &str, columns: usize) {
        for line in text.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
            assert_eq!(line, line.trim_end());
        }
    }

    const LONG: &str = "not an envelope: missing field `amount_minor` in the data of the message";

    #[test]
    fn the_list_fits_every_width() {
        let letters = [
            letter(&PAYMENTS, "1", LONG),
            letter(&PAYMENTS, "2", LONG),
            letter(&ORDERS, "3", "no order"),
        ];
        let all = group(&letters);
        let [first, second] = [0, 1].map(|index: usize| all[index].fingerprint.as_str());
        let now = datetime!(2026-11-29 08:02 UTC);
        for columns in [60, 80, 120] {
            let text = causes(&all, now, columns).render(columns).text;
            assert_fits(&without_colors(&text), columns);
        }
        assert_eq!(
            without_colors(&causes(&all, now, 120).render(120).text),
            format!(
                "Cause         Queue     Count  Oldest  Reason\n\
                 {first}  payments      2  2 min   {LONG}\n\
                 {second}  orders        1  2 min   no order\n"
            )
        );
        let next = format!("haven dlq show {}", &first[..DIGITS_MIN]);
        assert_eq!(
            of_causes(&all),
            Verdict::neutral("3 dead letters, 2 causes.").next(next)
        );
        assert_eq!(of_causes(&[]), Verdict::neutral("No dead letters."));
        let next = format!("haven dlq show {}", &second[..DIGITS_MIN]);
        assert_eq!(
            of_causes(&all[1..]),
            Verdict::neutral(format!(
                "1 dead letter in orders, cause {second}: no order."
            ))
            .next(next)
        );
    }

    /// Returns a text without the escape sequences of colors.
    fn without_colors(text: &str) -> String {
        let mut parts = text.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| {
            plain + part.split_once('m').map_or(part, |(_, rest)| rest)
        })
    }

    #[test]
    fn a_dead_letter_is_described_in_a_few_lines() {
        let document = json!({
            "fingerprint": "d9d61c00811e", "queue": "orders", "count": 5,
            "message": { "message_id": "33db0289", "reason": "not JSON: key must be a string",
                "parked_at": "2026-11-29T08:00:00.000Z", "traceparent": null, "body": "{ poison\u{1b}[2J" },
            "good": { "from": "sample", "body": { "data": {}, "type": "PaymentRefunded",
                "metadata": { "source": "payment-worker", "version": "0.1.0" } } },
            "differences": [{ "field": "body", "problem": "is not JSON" }],
            "order": null,
        });
        let letters = [letter(&ORDERS, "1", "x"), letter(&ORDERS, "2", "x")];
        let received = || received(&letters.each_ref());
        let text = message(&document, received(), 80, false);
        let start = "Cause d9d61c00811e: 5 dead letters in orders, each received once\n";
        let rest = "  Reason   not JSON: key must be a string\n  \
            Differs  ! body is not JSON\n  \
            Order    none named\n  \
            Message  { poison [2J\n";
        assert!(text.starts_with(&(start.to_owned() + rest)), "{text}");
        assert!(text.ends_with("..."), "{text}");
        for columns in [60, 80, 120] {
            assert_fits(&message(&document, received(), columns, false), columns);
        }
        let full = message(&document, None, 80, true);
        assert!(full.contains("\"version\": \"0.1.0\""), "{full}");
        assert!(!full.contains('\u{1b}'), "{full}");
        let parked = Foreseen::Parked {
            reason: "x".to_owned(),
        };
        assert_eq!(
            of_message(&parked, "d9d6", true),
            Verdict::neutral("A redrive would fail again.").next("haven runbook show dead-letters")
        );
    }

    #[test]
    fn the_end_of_a_redrive_decides_its_exit_code() {
        let verdict = of_redrive(
            &Ended {
                all: 5,
                applied: 4,
                dropped: 1,
                ..Ended::default()
            },
            "d9d6",
        );
        assert_eq!(
            verdict,
            Verdict::good(
                "Redriven: 5 of 5 dead letters sent: 4 applied, 1 dropped as duplicates."
            )
        );
        assert_eq!(verdict.exit().code(), 0);
        let stopped = Ended {
            all: 5,
            again: 1,
            stopped: Some("the canary failed again"),
            ..Ended::default()
        };
        assert_eq!(
            of_redrive(&stopped, "d9d6"),
            Verdict::no("Stopped after 1 of 5: the canary failed again. 5 dead letters remain.")
                .next("haven dlq show d9d6")
        );
        let unknown = Ended {
            all: 2,
            applied: 1,
            unknown: 1,
            ..Ended::default()
        };
        assert_eq!(of_redrive(&unknown, "d9d6").exit().code(), 2);
    }

    #[test]
    fn a_plan_fits_every_width() {
        let id = "33db0289-0000-7000-8000-000000000047";
        let parked = Foreseen::Parked {
            reason: LONG.to_owned(),
        };
        for columns in [60, 80, 120] {
            let text = plan([(id, &parked), (id, &Foreseen::Dropped)])
                .render(columns)
                .text;
            assert_fits(&without_colors(&text), columns);
        }
        let counts = json!({ "done": 0, "dropped": 1, "later": 0, "parked": 1 });
        assert_eq!(
            of_plan("orders", 2, &counts, "d9d6"),
            Verdict::neutral(
                "Dry run: 2 dead letters in orders, 1 would be dropped as duplicates, 1 would fail \
                 again. Nothing was changed."
            )
            .next("haven dlq redrive d9d6")
        );
    }
}
