//! `haven dlq`: lists dead letters by cause, shows one beside a valid message, and redrives them.
//!
//! - [`cause`] groups dead letters with the same reason.
//! - [`compare`] compares a dead letter with a valid message.
//! - [`redrive`] sends one dead letter first, and then the others.

mod cause;
mod compare;
mod print;
mod redrive;

use std::path::{Path, PathBuf};

use adapter_aws::{DynamoStock, DynamoViews, Parked, SqsParking};
use anyhow::Context as _;
use app::ports::journey::JourneyStore as _;
use app::ports::notices::NoticeStatus;
use app::ports::orders::OrderStore as _;
use app::ports::views::OrderViews as _;
use app::use_cases::journey::time_text;
use app::use_cases::rehearse::{Foreseen, RehearsalDeps, consumer_of, rehearse};
use clap::{Args, Subcommand};
use contract::event::{EventKind, Route};
use contract::messages::samples;
use contract::queue::{QUEUES, Queue, QueueId};
use contract::topic::SUBSCRIPTIONS;
use domain::ids::{EventId, OrderId};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use worker::stores::{Store, SystemSource};

use crate::arguments::STATE;
use haven_console::{Interrupted, terminal};
use platform::aws::Aws;
use platform::environment::ENVIRONMENT;
use platform::facts::Facts;

pub use cause::Cause;

#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// Everything that is parked, grouped by cause
    #[command(
        after_help = "Examples:\n  haven dlq list\n  haven dlq list --json\n\nWhat is read is handed back at once. Of one order's messages SQS shows ten at a time."
    )]
    List(Common),
    /// One parked message beside a good one, with its order and what would become of it now
    #[command(
        after_help = "Examples:\n  haven dlq show 3f2a91c04d17\n  haven dlq show 3f2a --message 6e0c... --json\n\nThe beginning of a fingerprint is enough. Exit 2 when nothing that is parked has it."
    )]
    Show(Show),
    /// Send the messages of one cause back to work: one first, then the rest
    #[command(
        after_help = "Examples:\n  haven dlq redrive 3f2a --dry-run\n  haven dlq redrive 3f2a --rate 5 --yes\n\nEach is rehearsed against today's code. One is sent and its end awaited; if it is parked again, the rest stays. A parked\nmessage is deleted only after its copy was sent, and who sent what stands in the order's journey. Exit 2 when a message\nwas parked again, has not ended, or nothing has that fingerprint. Ctrl-C hands back what is not sent."
    )]
    Redrive(redrive::Redrive),
}

#[derive(Debug, Args)]
pub struct Common {
    /// The state folder of `haven up`
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The cause, as `haven dlq list` names it
    pub fingerprint: String,
    /// This message of it, instead of the newest
    #[arg(long, value_name = "ID")]
    pub message: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// Runs a command. Returns whether the result is good.
///
/// # Errors
/// [`Interrupted`] after a signal. Other errors when the platform does not run or cannot be read.
pub async fn command(command: &Dlq) -> anyhow::Result<bool> {
    let stop = chassis::run::shutdown_signal().context("listen for signals")?;
    let ended = match command {
        Dlq::List(common) => list(common, &stop).await,
        Dlq::Show(options) => show(options, &stop).await,
        Dlq::Redrive(options) => redrive::redrive(options, &stop).await,
    }?;
    // All messages have been returned to their queues by now, but the printed result is incomplete.
    if stop.is_cancelled() {
        Err(Interrupted.into())
    } else {
        Ok(ended)
    }
}

/// The number of messages that are read from a queue at most, enough to find every cause.
const READ_MAX: usize = 10_000;

/// The stores and queues that the commands use.
pub struct Desk {
    pub store: Store,
    pub stock: DynamoStock,
    views: DynamoViews,
    queues: Vec<SqsParking>,
}

/// A dead letter and the work queue that it belongs to.
#[derive(Debug, Clone)]
pub struct Letter {
    pub queue: &'static Queue,
    pub parked: Parked,
}

impl Desk {
    /// Connects to the platform that `haven up` runs.
    ///
    /// # Errors
    /// When no platform runs on the state directory, or a store cannot be opened.
    pub async fn open(state: &Path) -> anyhow::Result<Desk> {
        let facts = Facts::read(state)?;
        let aws = Aws::local(&facts.aws_access());
        let addresses = aws.addresses(ENVIRONMENT).await?;
        let store = Store::connect(&facts.database_url, &adapter_sql::Login::default()).await;
        Ok(Desk {
            store: store.context("open the shop's database")?,
            stock: aws.stock(&addresses, "haven dlq")?,
            views: aws.views(&addresses)?,
            queues: QUEUES
                .iter()
                .map(|queue| aws.parking(queue, &addresses))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Reads all dead letters, and makes them visible again before it returns.
    ///
    /// # Errors
    /// When a queue cannot be read.
    pub async fn read(&self, stop: &CancellationToken) -> anyhow::Result<Vec<Letter>> {
        let read = self.queues.iter().map(|parking| async move {
            let parked = parking.read(READ_MAX, stop).await;
            let parked =
                parked.with_context(|| format!("read what is parked of {}", parking.queue.slug))?;
            anyhow::Ok(
                parked
                    .into_iter()
                    .map(|parked| Letter {
                        queue: parking.queue,
                        parked,
                    })
                    .collect::<Vec<_>>(),
            )
        });
        Ok(try_join_all(read).await?.into_iter().flatten().collect())
    }

    /// Returns a work queue and its dead-letter queue.
    ///
    /// # Errors
    /// When the queue is not in the contract.
    pub fn parking(&self, queue: &Queue) -> anyhow::Result<&SqsParking> {
        self.queues
            .iter()
            .find(|parking| parking.queue == queue)
            .context("a queue of the contract")
    }

    /// Runs today's handler for a dead letter without writing anything.
    pub async fn rehearse(&self, letter: &Letter) -> Foreseen {
        let world = RehearsalDeps {
            orders: &self.store,
            stock: &self.stock,
            views: &self.views,
        };
        rehearse(world, &SystemSource, letter.queue, &letter.parked.body).await
    }

    /// Returns whether the effect of a message exists: a row in the inbox, a notification or an
    /// order view, depending on its consumer.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub async fn is_applied(&self, letter: &Letter) -> anyhow::Result<bool> {
        let Some(event_id) = letter.event_id() else {
            return Ok(false);
        };
        match letter.queue.id {
            QueueId::Orders | QueueId::Payments | QueueId::Fulfilment => Ok(self
                .store
                .taken_in(consumer_of(letter.queue), event_id)
                .await?
                .is_some()),
            QueueId::Notifications => {
                let notices = self.store.notices_of(event_id).await?;
                Ok(!notices.is_empty()
                    && notices
                        .iter()
                        .all(|notice| notice.state != NoticeStatus::Pending))
            }
            // The order view has no inbox. A shown version that is not older than the order's
            // proves that some message has updated the view.
            QueueId::Projections => {
                let Some(order_id) = letter.order_id() else {
                    return Ok(false);
                };
                let Some(stored) = self.store.load(order_id).await? else {
                    return Ok(false);
                };
                let shown = self.views.shown_version(order_id).await?;
                Ok(shown.is_some_and(|shown| shown >= stored.order.version))
            }
        }
    }
}

impl Letter {
    /// Returns the body, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.parked.body).ok()
    }

    /// Returns the order id in the body.
    pub fn order_id(&self) -> Option<OrderId> {
        self.json()?["order_id"].as_str()?.parse().ok()
    }

    /// Returns the event id in the body.
    pub fn event_id(&self) -> Option<EventId> {
        self.json()?["event_id"].as_str()?.parse().ok()
    }
}

async fn list(common: &Common, stop: &CancellationToken) -> anyhow::Result<bool> {
    let letters = Desk::open(&common.state).await?.read(stop).await?;
    let causes = cause::group(&letters);
    if common.json {
        let causes: Vec<Value> = causes.iter().map(Cause::json).collect();
        println!(
            "{}",
            terminal::json(&json!({ "messages": letters.len(), "causes": causes }))
        );
    } else {
        print::causes(&causes);
    }
    Ok(true)
}

async fn show(options: &Show, stop: &CancellationToken) -> anyhow::Result<bool> {
    let desk = Desk::open(&options.common.state).await?;
    let letters = desk.read(stop).await?;
    let causes = cause::group(&letters);
    let Some(cause) = cause::find(&causes, &options.fingerprint)? else {
        return Ok(false);
    };
    let letter = match &options.message {
        None => cause.letters.last().copied(),
        Some(id) => cause
            .letters
            .iter()
            .find(|letter| letter.parked.message_id == *id)
            .copied(),
    };
    let Some(letter) = letter else {
        let ids: Vec<&str> = cause
            .letters
            .iter()
            .map(|letter| letter.parked.message_id.as_str())
            .collect();
        eprintln!(
            "haven: no message of {} has that id; there are {}",
            cause.fingerprint,
            ids.join(", ")
        );
        return Ok(false);
    };
    let document = examine(&desk, cause, letter).await?;
    if options.common.json {
        println!("{}", terminal::json(&document));
    } else {
        print::message(&document);
    }
    Ok(true)
}

/// Returns everything about one dead letter: a valid message of its kind, the differences, the
/// result of a rehearsal, and its order.
async fn examine(desk: &Desk, cause: &Cause<'_>, letter: &Letter) -> anyhow::Result<Value> {
    let parked = &letter.parked;
    let (kind, bad) = (kind_of(letter), letter.json());
    let (source, good) = match desk.store.newest_of(kind).await? {
        Some(envelope) => ("outbox", envelope.encode()),
        None => ("sample", samples::of(kind).to_owned()),
    };
    let good: Value = serde_json::from_str(&good).context("read a good message")?;
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
        "foreseen": foreseen_json(&desk.rehearse(letter).await),
        "order": order,
    }))
}

fn foreseen_json(foreseen: &Foreseen) -> Value {
    match foreseen {
        Foreseen::Done { what } => json!({ "verdict": "done", "what": what }),
        Foreseen::Dropped => json!({ "verdict": "dropped", "what": "it was applied before" }),
        Foreseen::Parked { reason } => json!({ "verdict": "parked", "what": reason }),
        Foreseen::Later { reason } => json!({ "verdict": "later", "what": reason }),
    }
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
    let fields = body["data"]
        .as_object()
        .map(|data| data.keys().cloned().collect::<Vec<_>>())
        .unwrap_or_default();
    let alike = |kind: &EventKind| {
        let sample: Value = serde_json::from_str(samples::of(*kind)).unwrap_or_default();
        fields
            .iter()
            .filter(|field| sample["data"].get(field.as_str()).is_some())
            .count()
    };
    EventKind::ALL
        .into_iter()
        .filter(heard)
        .max_by_key(alike)
        .unwrap_or(EventKind::ReserveStock)
}
