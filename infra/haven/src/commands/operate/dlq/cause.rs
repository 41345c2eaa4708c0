//! Groups dead letters with the same reason. Ids, numbers and times in the reason do not count.

use app::use_cases::journey::time_text;
use contract::queue::Queue;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::reference::resolve;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::desk::Letter;

/// The hexadecimal digits of a fingerprint, enough to make a collision in one shop improbable.
const DIGITS: usize = 12;

/// One cause and its dead letters, oldest first.
#[derive(Debug)]
pub struct Cause<'a> {
    pub fingerprint: String,
    pub queue: &'static Queue,
    /// The reason, in which placeholders replace ids, numbers and times.
    pub reason: String,
    pub letters: Vec<&'a Letter>,
}

impl Cause<'_> {
    /// Returns the cause as a JSON document.
    pub fn json(&self) -> Value {
        let ids = self.letters.iter().map(|letter| &letter.parked.message_id);
        let ids: Vec<&String> = ids.collect();
        let (oldest, newest) = (self.letters.first(), self.letters.last());
        let time = |letter: Option<&&Letter>| Some(time_text(letter?.parked.parked_at?));
        json!({
            "fingerprint": self.fingerprint, "queue": self.queue.slug, "reason": self.reason, "count": ids.len(),
            "oldest": time(oldest), "newest": time(newest), "messages": ids,
            "example": newest.map(|letter| &letter.parked.reason),
        })
    }
}

/// Groups dead letters by cause, the most frequent cause first.
pub fn group(letters: &[Letter]) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    for letter in letters {
        let reason = normalized(&letter.parked.reason);
        let fingerprint = fingerprint(letter.queue, &reason);
        match causes
            .iter_mut()
            .find(|cause| cause.fingerprint == fingerprint)
        {
            Some(cause) => cause.letters.push(letter),
            None => causes.push(Cause {
                fingerprint,
                queue: letter.queue,
                reason,
                letters: vec![letter],
            }),
        }
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.letters.len()));
    causes
}

/// Returns the cause whose fingerprint begins with `beginning`.
///
/// # Errors
/// A failure that exits with 2 when there is none, or a usage failure when several begin so.
pub fn find<'a, 'b>(causes: &'b [Cause<'a>], beginning: &str) -> Result<&'b Cause<'a>, Failure> {
    let names = causes.iter().map(|cause| cause.fingerprint.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    resolve("cause", beginning, causes, |cause| {
        cause.fingerprint.as_str()
    })
    .map_err(|mut failure| {
        if failure.exit == Exit::No {
            failure.message = format!("no dead letters match `{beginning}`");
            let known = match causes {
                [] => "all dead-letter queues are empty".to_owned(),
                _ => format!("known causes: {names}"),
            };
            failure.tip = Some(match failure.tip.take() {
                Some(alike) => format!("{alike} ({known})"),
                None => known,
            });
        }
        failure
    })
}

fn fingerprint(queue: &Queue, reason: &str) -> String {
    let hash = Sha256::digest(format!("{}\n{reason}", queue.slug));
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.chars().take(DIGITS).collect()
}

/// Replaces ids, times and numbers in a reason by placeholders.
fn normalized(reason: &str) -> String {
    let mut text = String::with_capacity(reason.len());
    let is_word =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ':' | '.' | '+');
    let mut rest = reason;
    while let Some(first) = rest.chars().next() {
        let ends = rest
            .find(|letter| is_word(letter) != is_word(first))
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(ends);
        if is_word(first) {
            let word = run.trim_end_matches(['.', ':', '-']);
            text.push_str(&class(word));
            text.push_str(&run[word.len()..]);
        } else {
            text.push_str(run);
        }
        rest = after;
    }
    text
}

/// Replaces a word that is an id or a time, or the numbers in any other word.
fn class(word: &str) -> String {
    /// Shorter hexadecimal words can be normal words.
    const HEX_MIN: usize = 16;
    let is_hex = word.len() >= HEX_MIN
        && word
            .chars()
            .all(|letter| letter.is_ascii_hexdigit() || letter == '-');
    if Uuid::parse_str(word).is_ok() || is_hex {
        return "<id>".to_owned();
    }
    if OffsetDateTime::parse(word, &Rfc3339).is_ok() {
        return "<time>".to_owned();
    }
    let mut text = String::with_capacity(word.len());
    let mut in_number = false;
    for letter in word.chars() {
        let continues = in_number && (letter.is_ascii_digit() || letter == '.');
        if letter.is_ascii_digit() && !in_number {
            text.push_str("<n>");
        }
        in_number = letter.is_ascii_digit() || continues;
        if !in_number {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_numbers_and_times_are_not_part_of_a_cause() {
        for (reason, expected) in [
            (
                "order 01934d3c-2a00-7000-8000-000000000002 does not exist",
                "order <id> does not exist",
            ),
            (
                "not an envelope: missing field `total_minor` at line 1 column 45",
                "not an envelope: missing field `total_minor` at line <n> column <n>",
            ),
            (
                "schema version 999 of ChargeCard is not known here: only 1 is",
                "schema version <n> of ChargeCard is not known here: only <n> is",
            ),
            (
                "gave up after 100 deliveries: no result within 15s",
                "gave up after <n> deliveries: no result within <n>s",
            ),
            (
                "charged 450 USD, due was $13.06",
                "charged <n> USD, due was $<n>",
            ),
            ("late since 2026-03-01T12:00:00.182Z.", "late since <time>."),
            (
                "trace 0af7651916cd43dd8448eb211c80319c of A-047",
                "trace <id> of A-<n>",
            ),
            (
                "PaymentCompleted cannot happen to an order that is placed",
                "PaymentCompleted cannot happen to an order that is placed",
            ),
            ("", ""),
        ] {
            assert_eq!(normalized(reason), expected);
        }
    }

    #[test]
    fn an_unknown_cause_is_an_answer_and_an_ambiguous_one_bad_usage() {
        let cause = |fingerprint: &str| Cause {
            fingerprint: fingerprint.to_owned(),
            queue: &contract::queue::ORDERS,
            reason: String::new(),
            letters: Vec::new(),
        };
        let causes = [cause("d9d61c00811e"), cause("d9d6ffffffff")];
        let found = find(&causes, "d9d61").expect("unique");
        assert_eq!(found.fingerprint, "d9d61c00811e");
        let failure = |causes: &[Cause<'_>], beginning: &str| {
            let failure = find(causes, beginning).expect_err("none");
            let tip = failure.tip.clone().unwrap_or_default();
            (failure.exit.code(), failure.to_string(), tip)
        };
        assert_eq!(failure(&causes, "d9d6").0, 64);
        assert_eq!(
            failure(&causes, "00"),
            (
                2,
                "no dead letters match `00`".to_owned(),
                "known causes: d9d61c00811e, d9d6ffffffff".to_owned()
            )
        );
        assert_eq!(failure(&[], "00").2, "all dead-letter queues are empty");
    }

    #[test]
    fn the_same_reason_in_two_queues_is_two_causes() {
        let [orders, payments] = [&contract::queue::ORDERS, &contract::queue::PAYMENTS]
            .map(|queue| fingerprint(queue, "x"));
        assert_ne!(orders, payments);
        assert_eq!(orders.len(), DIGITS);
    }
}
