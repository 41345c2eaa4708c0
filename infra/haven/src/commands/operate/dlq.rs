//! `haven dlq`: lists dead letters by cause, shows one beside a valid message, and redrives them.
//!
//! - [`cause`] groups dead letters with the same reason.
//! - [`compare`] compares a dead letter with a valid message.
//! - [`redrive`] sends one dead letter first, and then the others.

mod cause;
mod compare;
pub mod desk;
mod print;
mod redrive;

use anyhow::Context as _;
use app::ports::Source as _;
use app::ports::journey::JourneyStore as _;
use app::ports::orders::OrderStore as _;
use app::use_cases::journey::time_text;
use app::use_cases::rehearse::Foreseen;
use clap::{Args, Subcommand};
use contract::event::{EventKind, Route};
use contract::messages::samples;
use contract::topic::SUBSCRIPTIONS;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::progress::Steps;
use haven_console::reference::resolve;
use haven_console::{Interrupted, settings, width};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use worker::stores::SystemSource;

use self::cause::Cause;
use self::desk::{Desk, Letter};
use crate::arguments::StateFolder;

#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// List dead letters, grouped by cause
    #[command(
        after_help = "Examples:\n  haven dlq list\n  haven dlq list --json\n\nMessages become visible again at once. Of the messages of one order, SQS returns\nat most ten."
    )]
    List(StateFolder),
    /// Show a dead letter beside a valid message
    #[command(
        after_help = "Examples:\n  haven dlq show 3f2a91c04d17\n  haven dlq show 3f2a --message 6e0c --json\n\nAlso shows its order, and what a redrive would do now. A unique prefix of the\ncause is enough. -v shows both messages in full.\nExit 2 if no dead letter has this cause."
    )]
    Show(Show),
    /// Send the dead letters of a cause back to their queue
    #[command(
        after_help = "Examples:\n  haven dlq redrive 3f2a --dry-run\n  haven dlq redrive 3f2a --rate 5 --yes\n\nEach message is first tested against the current code. One message is sent and\nits end awaited; if it becomes a dead letter again, the others stay. A dead\nletter is deleted only after its copy was sent. The order timeline records who\nsent it. Ctrl-C returns the messages that are not sent.\nExit 2 if a message became a dead letter again or has not ended, or if no dead\nletter has this cause."
    )]
    Redrive(redrive::Redrive),
}

#[derive(Debug, Args)]
pub struct Show {
    /// Cause from `haven dlq list`, or a unique prefix
    #[arg(value_name = "CAUSE")]
    pub fingerprint: String,
    /// Show the message with this id, or unique prefix [default: the newest]
    #[arg(long, value_name = "ID")]
    pub message: Option<String>,
    #[command(flatten)]
    pub folder: StateFolder,
}

/// Runs a command. The exit code says whether the result is good.
///
/// # Errors
/// [`Interrupted`] after a signal. Other errors when the platform does not run or cannot be read.
pub async fn command(command: &Dlq) -> anyhow::Result<Exit> {
    let stop = chassis::run::shutdown_signal().context("listen for signals")?;
    let ended = match command {
        Dlq::List(folder) => list(folder, &stop).await,
        Dlq::Show(options) => show(options, &stop).await,
        Dlq::Redrive(options) => redrive::redrive(options, &stop).await,
    };
    // All messages have been returned to their queues by now, but the printed result is incomplete.
    match ended {
        Ok(_) if stop.is_cancelled() => Err(Interrupted.into()),
        // An interrupted read can miss the cause.
        Err(error) if stop.is_cancelled() && error.is::<Failure>() => Err(Interrupted.into()),
        ended => ended,
    }
}

async fn list(folder: &StateFolder, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let steps = Steps::new("dlq list");
    let reading = steps.begin("Reading the dead letters");
    let letters = Desk::open(&folder.state).await?.read(stop).await?;
    drop(reading);
    let causes = cause::group(&letters);
    let verdict = print::of_causes(&causes);
    Ok(if settings::get().json {
        let causes: Vec<Value> = causes.iter().map(Cause::json).collect();
        let document = json!({ "messages": letters.len(), "causes": causes });
        verdict.print_json("haven.dlq-list/1", document)
    } else if causes.len() > 1 {
        let table = print::causes(&causes, SystemSource.now(), width::stdout());
        let note = table.print();
        println!();
        verdict.note(note).print()
    } else {
        verdict.print()
    })
}

async fn show(options: &Show, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let steps = Steps::new("dlq show");
    let _reading = steps.begin("Reading the dead letters");
    let desk = Desk::open(&options.folder.state).await?;
    let letters = desk.read(stop).await?;
    let causes = cause::group(&letters);
    let cause = cause::find(&causes, &options.fingerprint)?;
    let letter = match &options.message {
        None => cause.letters.last().context("a cause has a dead letter")?,
        Some(id) => resolve("message", id, &cause.letters, |letter| {
            letter.parked.message_id.as_str()
        })?,
    };
    let foreseen = desk.rehearse(letter).await;
    let document = examine(&desk, cause, letter, &foreseen).await?;
    let is_full = settings::get().verbose;
    let verdict = print::of_message(&foreseen, print::short(cause, &causes), is_full);
    let received = print::received(&cause.letters);
    let text = print::message(&document, received, width::stdout_text(), is_full);
    Ok(verdict.end("haven.dlq-show/1", document, || println!("{text}\n")))
}

/// Returns everything about one dead letter: a valid message of its kind, the differences, the
/// result of a rehearsal, and its order.
async fn examine(
    desk: &Desk,
    cause: &Cause<'_>,
    letter: &Letter,
    foreseen: &Foreseen,
) -> anyhow::Result<Value> {
    let parked = &letter.parked;
    let (kind, bad) = (kind_of(letter), letter.json());
    let (source, good) = match desk.store.newest_of(kind).await? {
        Some(envelope) => ("outbox", envelope.encode()),
        None => ("sample", samples::of(kind).to_owned()),
    };
    let good: Value = serde_json::from_str(&good).context("read a valid message")?;
    let order = match letter.order_id() {
        None => Value::Null,
        Some(order_id) => match desk.store.load(order_id).await? {
            None => json!({ "order_id": order_id, "state": null }),
            Some(stored) => json!({
                "order_id": order_id, "order_number": stored.order.order_number, "status": stored.order.status.code(),
                "state": stored.order.state.code(), "version": stored.order.version,
                "awaits": stored.order.state.awaits(), "updated_at": time_text(stored.order.updated_at),
            }),
        },
    };
    Ok(json!({
        "fingerprint": cause.fingerprint,
        "queue": letter.queue.slug,
        "count": cause.letters.len(),
        "message": {
            "message_id": parked.message_id, "original_id": parked.original_id, "group": parked.group,
            "reason": parked.reason, "deliveries": parked.deliveries, "parked_at": parked.parked_at.map(time_text),
            "traceparent": parked.traceparent, "body": bad.clone().unwrap_or_else(|| json!(parked.body)),
        },
        "good": { "from": source, "body": good },
        "differences": compare::differences(&good, bad.as_ref()),
        "foreseen": print::foreseen(foreseen),
        "order": order,
    }))
}

/// Returns the kind that the message names, or else the kind on its queue whose sample has the most
/// fields in common.
fn kind_of(letter: &Letter) -> EventKind {
    let body = letter.json().unwrap_or_default();
    if let Some(kind) = body["type"].as_str().and_then(EventKind::from_name) {
        return kind;
    }
    let heard = |kind: &EventKind| {
        kind.routes().iter().any(|route| match route {
            Route::Queue(queue) => *queue == letter.queue,
            Route::Topic(topic) => SUBSCRIPTIONS
                .iter()
                .any(|heard| heard.queue == letter.queue && heard.topic == *topic),
            Route::Bus => false,
        })
    };
    let alike = |kind: &EventKind| {
        let sample: Value = serde_json::from_str(samples::of(*kind)).unwrap_or_default();
        let fields = body["data"].as_object().into_iter().flatten();
        let known = fields.filter(|(field, _)| sample["data"].get(field).is_some());
        known.count()
    };
    EventKind::ALL
        .into_iter()
        .filter(heard)
        .max_by_key(alike)
        .unwrap_or(EventKind::ReserveStock)
}
