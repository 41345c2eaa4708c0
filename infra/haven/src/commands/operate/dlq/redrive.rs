//! `haven dlq redrive`: sends the dead letters of one cause back to their work queue.
//!
//! - Each dead letter is rehearsed: today's handler runs without writing anything.
//! - One is sent first, as a canary, and its end awaited. If it does not end well, nothing else is
//!   sent.
//! - The others are sent at a steady rate, except those whose rehearsal shows that they would
//!   become dead letters again. Then their ends are awaited.
//!
//! Each send is recorded in the database before it happens. A dead letter is deleted only after its
//! copy was sent. A crash in between sends it twice, which the inbox makes harmless; the other
//! order would lose it.

use std::collections::BTreeSet;
use std::time::Duration;

use adapter_aws::{Parked, SqsParking};
use anyhow::Context as _;
use app::ports::Source as _;
use app::ports::redrives::{Redrive as Record, RedriveEnd, RedriveLog as _};
use app::use_cases::rehearse::Foreseen;
use clap::Args;
use contract::queue::BATCH_MAX;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::progress::{Step, Steps};
use haven_console::prompt::Question;
use haven_console::settings;
use haven_console::time::counted;
use haven_console::verdict::Verdict;
use platform::audit::{Act, operator};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::stores::SystemSource;

use super::cause::{self, Cause};
use super::desk::{Desk, Letter, READ_MAX};
use super::print::{self, Ended};
use crate::arguments::{DRY_RUN, InvalidValue, RATE, StateFolder, YES, number, person};

/// The time in which a message must end. Normally this takes less than a second, but its consumer
/// may be restarting.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// The time after which a message can count as dropped. A duplicate leaves no trace in the
/// database. If it is no dead letter again by then, and a rehearsal still shows no effect, it
/// was dropped.
const DROPPED_AFTER: Duration = Duration::from_secs(3);
/// The seconds for which messages are held before they are sent, well below their lease.
const IN_HAND_S: f64 = 20.0;
const RATE_MAX: f64 = 500.0;
/// The messages that the plan shows at most, unless `-v` is given.
const SHOWN_MAX: usize = 20;
/// The time between two reads of the database.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct Redrive {
    /// Cause from `haven dlq list`, or a unique prefix
    #[arg(value_name = "CAUSE")]
    pub fingerprint: String,
    /// The rate after the first message.
    #[arg(long, default_value_t = 10.0, value_parser = rate, help = RATE)]
    pub rate: f64,
    #[arg(long, help = DRY_RUN)]
    pub dry_run: bool,
    #[arg(long, help = YES)]
    pub yes: bool,
    /// Name for the record of who does this
    #[arg(long, value_name = "NAME", default_value_t = operator(), value_parser = person)]
    pub by: String,
    #[command(flatten)]
    pub folder: StateFolder,
}

fn rate(text: &str) -> Result<f64, InvalidValue> {
    let what = format!("must be a number of messages a second, from 0.1 to {RATE_MAX}");
    number(text, |rate| (0.1..=RATE_MAX).contains(&rate), &what)
}

/// A dead letter of the cause, and the result of its rehearsal.
struct Planned {
    letter: Letter,
    foreseen: Foreseen,
}

/// A dead letter that was sent.
struct Sent {
    redrive_id: Uuid,
    letter: Letter,
    /// The message id of the copy in the work queue.
    copy_id: String,
    at: Instant,
    applied_before: bool,
    end: Option<(RedriveEnd, Option<String>)>,
}

#[derive(Default)]
struct Report {
    sent: Vec<Sent>,
    /// The reason why the other dead letters were not sent.
    stopped: Option<String>,
}

/// Runs the command. The exit code says whether every sent message has ended well.
///
/// # Errors
/// When the platform cannot be reached, no dead letter has the cause, a store or queue fails, or
/// the question cannot be asked.
pub async fn redrive(options: &Redrive, stop: &CancellationToken) -> anyhow::Result<Exit> {
    if !options.yes && !options.dry_run {
        question("", &tip(&options.fingerprint)).check()?;
    }
    let desk = Desk::open(&options.folder.state).await?;
    let steps = Steps::new("dlq redrive");
    let step = steps.begin("Reading the dead letters");
    let letters = desk.read(stop).await?;
    let causes = cause::group(&letters);
    let cause = cause::find(&causes, &options.fingerprint)?;
    let short = print::short(cause, &causes);
    let mut plan = Vec::new();
    for (index, letter) in cause.letters.iter().enumerate() {
        let all = cause.letters.len();
        step.doing(&format!("Rehearsing the dead letters: {index} of {all}"));
        plan.push(Planned {
            letter: (*letter).clone(),
            foreseen: desk.rehearse(letter).await,
        });
    }
    step.ok(&format!("{} rehearsed", counted(plan.len(), "dead letter")));
    if options.dry_run {
        return Ok(print_plan(cause, &plan, short));
    }
    if !is_agreed(options, cause, &plan, short)? {
        let remaining = counted(plan.len(), "dead letter");
        let verdict = Verdict::no(format!(
            "Not redriven: {remaining} in {}.",
            cause.queue.slug
        ));
        return Ok(verdict.print());
    }
    let run = Run {
        desk: &desk,
        parking: desk.parking(cause.queue)?,
        cause,
        by: &options.by,
        stop,
        steps,
    };
    let subject = format!("dead-letters/{}", cause.fingerprint);
    let before = json!({ "queue": cause.queue.slug, "messages": plan.len() });
    // Append the entry before the first send, so that a killed command leaves it too.
    let act = Act::new(&options.by, "dlq.redrive", subject.as_str()).before(&before);
    act.append(&desk.store).await?;
    let report = run.all(&plan, options.rate).await?;
    let after = json!({ "sent": report.sent.len(), "stopped": report.stopped });
    let act = Act::new(&options.by, "dlq.redrive_ended", subject).after(&after);
    act.append(&desk.store).await?;
    Ok(print_report(options, cause, &plan, &report, short))
}

/// Shows the plan and asks, unless `--yes` was given.
///
/// # Errors
/// As [`Question::confirm`].
fn is_agreed(
    options: &Redrive,
    cause: &Cause<'_>,
    plan: &[Planned],
    short: &str,
) -> Result<bool, Failure> {
    let letters = counted(plan.len(), "dead letter");
    let text = format!("Redrive {letters} in {}?", cause.queue.slug);
    if !options.yes && !settings::get().json {
        print_table(plan);
    }
    question(&text, &tip(short)).confirm(options.yes)
}

fn question<'a>(text: &'a str, tip: &'a str) -> Question<'a> {
    Question {
        text,
        command: "haven dlq redrive",
        tip,
    }
}

fn tip(cause: &str) -> String {
    format!("review with `haven dlq redrive {cause} --dry-run`, then add `--yes`")
}

/// The state of one redrive.
struct Run<'a> {
    desk: &'a Desk,
    parking: &'a SqsParking,
    cause: &'a Cause<'a>,
    by: &'a str,
    stop: &'a CancellationToken,
    steps: Steps,
}

impl Run<'_> {
    /// Sends the canary and, if it ends well, the others.
    async fn all(&self, plan: &[Planned], rate: f64) -> anyhow::Result<Report> {
        let mut report = Report::default();
        // Choose the message with the best prospect: if it does not end well, the cause still
        // exists.
        let Some(canary) = plan
            .iter()
            .min_by_key(|planned| prospect(&planned.foreseen))
        else {
            return Ok(report);
        };
        let canary_id = &canary.letter.parked.message_id;
        let step = self.steps.begin("Canary: waiting for its result");
        report.sent = self
            .send(&mut BTreeSet::from([canary_id.clone()]), 1.0, &step)
            .await?;
        self.await_ends(&mut report.sent).await?;
        report.stopped = match report.sent.first().map(|sent| &sent.end) {
            None => Some("the canary left the queue before it was sent".to_owned()),
            Some(Some((RedriveEnd::Applied | RedriveEnd::Dropped, _))) => None,
            Some(Some((RedriveEnd::ParkedAgain, reason))) => Some(format!(
                "the canary failed again: {}",
                reason.as_deref().unwrap_or_default()
            )),
            Some(Some((RedriveEnd::Unknown, _)) | None) => Some(format!(
                "the canary has no result after {} s",
                ENDS_WITHIN.as_secs()
            )),
        };
        if self.stop.is_cancelled() {
            report
                .stopped
                .get_or_insert_with(|| "interrupted".to_owned());
        }
        if report.stopped.is_some() {
            step.failed("Canary: did not end well");
            return Ok(report);
        }
        step.ok("Canary: ended well");
        let rest = plan
            .iter()
            .filter(|planned| !matches!(planned.foreseen, Foreseen::Parked { .. }));
        let mut rest: BTreeSet<String> = rest
            .map(|planned| planned.letter.parked.message_id.clone())
            .collect();
        rest.remove(canary_id);
        if !rest.is_empty() {
            let step = self.steps.begin("Others: sending");
            let mut sent = self.send(&mut rest, rate, &step).await?;
            step.doing("Others: waiting for their results");
            self.await_ends(&mut sent).await?;
            step.ok(&format!("Others: {} sent", sent.len()));
            report.sent.extend(sent);
        }
        report.stopped = self.stop.is_cancelled().then(|| "interrupted".to_owned());
        Ok(report)
    }

    /// Receives dead letters and sends those in `wanted`, at most `rate` per second. All others,
    /// and everything after a stop, become visible again.
    ///
    /// The loop ends when all are sent, after a stop, or when a batch contains only messages that
    /// were received before. `at_once` limits a batch to what can be sent before its lease ends.
    ///
    /// # Errors
    /// When a queue or the database fails. The messages that were put aside are returned then too.
    async fn send(
        &self,
        wanted: &mut BTreeSet<String>,
        rate: f64,
        step: &Step,
    ) -> anyhow::Result<Vec<Sent>> {
        let (all, mut sent, mut aside) = (wanted.len(), Vec::new(), Vec::<Parked>::new());
        let mut due = Instant::now();
        let outcome = loop {
            if wanted.is_empty() || self.stop.is_cancelled() {
                break Ok(());
            }
            let batch = match self.parking.receive().await {
                Ok(batch) => batch.into_iter(),
                Err(error) => {
                    break Err(anyhow::Error::from(error).context("read the dead-letter queue"));
                }
            };
            let known = |parked: &Parked| {
                aside
                    .iter()
                    .any(|other| other.message_id == parked.message_id)
            };
            // One round is complete: messages that were put aside appear again when their lease
            // ends.
            if batch.as_slice().iter().all(known) {
                aside.extend(batch);
                break Ok(());
            }
            let at_once = ((rate * IN_HAND_S) as usize).clamp(1, BATCH_MAX);
            let (mut here, mut failed) = (0, None);
            for parked in batch {
                let stopped = self.stop.is_cancelled() || here == at_once;
                if stopped || failed.is_some() || !wanted.contains(&parked.message_id) {
                    aside.push(parked);
                    continue;
                }
                tokio::time::sleep_until(due).await;
                due = Instant::now() + Duration::from_secs_f64(1.0 / rate);
                match self.send_one(parked.clone()).await {
                    Ok(one) => sent.push(one),
                    Err(error) => {
                        aside.push(parked);
                        failed = Some(error);
                        continue;
                    }
                }
                wanted.remove(&parked.message_id);
                here += 1;
                if all > 1 {
                    step.doing(&format!("Others: {} of {all} sent", sent.len()));
                }
            }
            if let Some(error) = failed {
                break Err(error);
            }
            if here == at_once {
                // The messages put aside were not tried yet. Return them and forget them, so that
                // the check above does not end the loop.
                let back = std::mem::take(&mut aside);
                if let Err(error) = self.parking.hand_back(&back).await {
                    break Err(error.into());
                }
            }
        };
        self.parking.hand_back(&aside).await?;
        outcome?;
        Ok(sent)
    }

    async fn send_one(&self, parked: Parked) -> anyhow::Result<Sent> {
        let letter = Letter {
            queue: self.parking.queue,
            parked,
        };
        let (event_id, parked) = (letter.event_id(), &letter.parked);
        let redrive_id = Uuid::new_v5(
            &Uuid::NAMESPACE_OID,
            format!("redrive {}", parked.message_id).as_bytes(),
        );
        let record = Record {
            redrive_id,
            queue: letter.queue.slug.to_owned(),
            fingerprint: self.cause.fingerprint.clone(),
            reason: parked.reason.clone(),
            event_id,
            order_id: letter.order_id(),
            body: parked.body.clone(),
            actor: self.by.to_owned(),
            at: SystemSource.now(),
            end: None,
        };
        self.desk
            .store
            .begin_redrive(&record)
            .await
            .context("record the redrive")?;
        let applied_before = self.desk.is_applied(&letter).await?;
        let copy_id = self
            .parking
            .send_back(parked)
            .await
            .context("send a message to its queue")?;
        // Delete after the send. A crash in between sends the message twice, which its event id
        // makes harmless.
        self.parking
            .delete(parked)
            .await
            .context("delete the dead letter that was sent")?;
        Ok(Sent {
            redrive_id,
            copy_id,
            at: Instant::now(),
            applied_before,
            end: None,
            letter,
        })
    }

    /// Waits until each message has ended, and records how.
    ///
    /// A message has ended when its effect exists, when its copy became a dead letter, or when it
    /// was dropped as a duplicate.
    async fn await_ends(&self, sent: &mut [Sent]) -> anyhow::Result<()> {
        /// The reads of the database between two reads of the dead-letter queue.
        const LOOKS: usize = 5;
        let until = Instant::now() + ENDS_WITHIN;
        while sent.iter().any(|one| one.end.is_none())
            && Instant::now() < until
            && !self.stop.is_cancelled()
        {
            for _ in 0..LOOKS {
                for one in sent
                    .iter_mut()
                    .filter(|one| one.end.is_none() && !one.applied_before)
                {
                    if self.desk.is_applied(&one.letter).await? {
                        one.end = Some((RedriveEnd::Applied, None));
                    }
                }
                if sent.iter().all(|one| one.end.is_some()) {
                    break;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if sent.iter().all(|one| one.end.is_some()) {
                break;
            }
            let parked = self
                .parking
                .read(READ_MAX, self.stop)
                .await
                .context("read the dead-letter queue")?;
            for one in sent.iter_mut().filter(|one| one.end.is_none()) {
                let again = parked
                    .iter()
                    .find(|parked| parked.original_id.as_ref() == Some(&one.copy_id));
                if let Some(again) = again {
                    one.end = Some((RedriveEnd::ParkedAgain, Some(again.reason.clone())));
                } else if one.at.elapsed() > DROPPED_AFTER
                    && self.desk.rehearse(&one.letter).await.leaves_no_trace()
                    && (one.applied_before || !self.desk.is_applied(&one.letter).await?)
                {
                    one.end = Some((RedriveEnd::Dropped, None));
                }
            }
        }
        for one in sent {
            let (end, _) = one.end.get_or_insert((RedriveEnd::Unknown, None));
            self.desk
                .store
                .end_redrive(one.redrive_id, *end, SystemSource.now())
                .await
                .context("record the result of the redrive")?;
        }
        Ok(())
    }
}

/// Returns the rank of a rehearsal result; smaller is better.
fn prospect(foreseen: &Foreseen) -> u8 {
    match foreseen {
        Foreseen::Done { .. } => 0,
        Foreseen::Later { .. } => 1,
        Foreseen::Dropped => 2,
        Foreseen::Parked { .. } => 3,
    }
}

fn counts(plan: &[Planned]) -> Value {
    let count = |verdict: &str| {
        plan.iter()
            .filter(|planned| print::foreseen(&planned.foreseen)["verdict"] == verdict)
            .count()
    };
    json!({ "done": count("done"), "dropped": count("dropped"), "later": count("later"), "parked": count("parked") })
}

/// Prints the predicted results, worst first.
fn print_table(plan: &[Planned]) -> Option<String> {
    let mut sorted: Vec<&Planned> = plan.iter().collect();
    sorted.sort_by_key(|planned| std::cmp::Reverse(prospect(&planned.foreseen)));
    let shown = match settings::get().verbose {
        true => plan.len(),
        false => SHOWN_MAX.min(plan.len()),
    };
    let shown = &sorted[..shown];
    let note = print::plan(shown.iter().map(|planned| {
        let id = planned.letter.parked.message_id.as_str();
        (id, &planned.foreseen)
    }))
    .print();
    println!();
    match plan.len() - shown.len() {
        0 => note,
        more => Some(format!("{} more: -v", counted(more, "dead letter"))),
    }
}

fn print_plan(cause: &Cause<'_>, plan: &[Planned], short: &str) -> Exit {
    let counts = counts(plan);
    let verdict = print::of_plan(cause.queue.slug, plan.len(), &counts, short);
    if !settings::get().json {
        return verdict.note(print_table(plan)).print();
    }
    let messages = plan.iter().map(|planned| {
        let mut message = print::foreseen(&planned.foreseen);
        message["message_id"] = json!(planned.letter.parked.message_id);
        message["order_id"] = json!(planned.letter.order_id());
        message
    });
    let messages: Vec<Value> = messages.collect();
    let document = json!({ "fingerprint": cause.fingerprint, "queue": cause.queue.slug, "reason": cause.reason,
        "foreseen": counts, "messages": messages });
    verdict.print_json("haven.dlq-redrive/1", document)
}

fn print_report(
    options: &Redrive,
    cause: &Cause<'_>,
    plan: &[Planned],
    report: &Report,
    short: &str,
) -> Exit {
    let count = |end: RedriveEnd| {
        report
            .sent
            .iter()
            .filter(|sent| sent.end.as_ref().is_some_and(|it| it.0 == end))
            .count()
    };
    let [applied, dropped, again, unknown] = RedriveEnd::ALL.map(count);
    let ended = Ended {
        all: plan.len(),
        applied,
        dropped,
        again,
        unknown,
        stopped: report.stopped.as_deref(),
    };
    let verdict = print::of_redrive(&ended, short);
    let canary = report.sent.first().map(|sent| {
        let (end, reason) = sent.end.clone().unwrap_or((RedriveEnd::Unknown, None));
        json!({ "message_id": sent.letter.parked.message_id, "end": end.code(), "reason": reason })
    });
    let document = json!({ "fingerprint": cause.fingerprint, "queue": cause.queue.slug, "reason": cause.reason,
        "by": options.by, "foreseen": counts(plan), "canary": canary, "sent": report.sent.len(), "applied": applied,
        "dropped": dropped, "parked_again": again, "unknown": unknown, "left": plan.len() - report.sent.len(),
        "stopped": report.stopped });
    verdict.end("haven.dlq-redrive/1", document, || {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_that_a_queue_can_take() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["", "0", "-1", "501", "fast", "NaN", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
