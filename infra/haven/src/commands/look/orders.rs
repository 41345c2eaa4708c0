//! `haven orders`: lists orders, prints the order timeline, together with the dead letters and log
//! lines of this machine, and rebuilds the order view.

pub mod list;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use app::use_cases::journey::{Journey, Moment, Record, journey, time_text};
use clap::{Args, Subcommand};
use domain::Timestamp;
use domain::ids::OrderId;
use domain::order::Order;
use domain::text::printable;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::table::{Column, Table};
use haven_console::time::{counted, counted_are, duration};
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{Interrupted, settings, width};
use serde_json::json;

use super::{logs, reproject};
use crate::arguments::STATE;
use crate::commands::look::order_name::{OrderName, order_name};
use crate::commands::operate::dlq::desk::{Desk, Letter};

#[derive(Debug, Subcommand)]
pub enum Orders {
    /// List orders, newest first
    #[command(
        after_help = "Examples:\n  haven orders list\n  haven orders list --status pending --limit 50 --json\n\nReads the database of the local platform."
    )]
    List(list::List),
    /// Show the timeline of an order and what is pending
    #[command(
        after_help = "Examples:\n  haven orders show A-047\n  haven orders show 01934d3c\n  haven orders show A-047 --json\n\nShows the history, payments, redrives and dead letters. -v and --json also show\nstock, messages with their deliveries, notifications, log lines and trace ids.\nNumbers restart each day. A number or a prefix of several orders asks which one\nis meant. Without a terminal, the command lists them and exits with 64.\nExit 2 if there is no such order."
    )]
    Show(Show),
    /// Rebuild the order view from the orders
    #[command(
        after_help = "Examples:\n  haven orders reproject\n  DATABASE_URL=postgres://host/db haven orders reproject --env prod --json\n\nCustomers' order lists read this view. Can run beside the platform and be\nrepeated: newer entries stay. The default database is that of the local\nplatform. If the URL has no login, PGUSER and PGPASSWORD are used."
    )]
    Reproject(reproject::Reproject),
}

#[derive(Debug, Args)]
pub struct Show {
    /// Order number, order id, or at least its first 8 characters
    #[arg(value_name = "ORDER", value_parser = order_name)]
    pub order: OrderName,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Runs a command.
///
/// # Errors
/// As [`list::print`], [`show`] and [`reproject::reproject`].
pub async fn command(command: &Orders) -> anyhow::Result<Exit> {
    match command {
        Orders::List(options) => list::print(options).await,
        Orders::Show(options) => show(options).await,
        Orders::Reproject(options) => reproject::reproject(options).await,
    }
}

/// Prints the order timeline.
///
/// # Errors
/// A failure that exits with 2 when the order does not exist. Another error when no platform runs
/// on the state directory, a store cannot be read, or a signal interrupts the command.
async fn show(options: &Show) -> anyhow::Result<Exit> {
    let stop = chassis::run::shutdown_signal().context("listen for signals")?;
    let desk = Desk::open(&options.state).await?;
    let order_id = options.order.find(&desk.store).await?;
    let missing = || Failure::not_found(format!("no order has the id {order_id}"));
    let stored = desk.store.load_in(&Scope::Everything, order_id).await?;
    let stored = stored.ok_or_else(missing)?;
    let journey = journey(&desk.store, &desk.stock, &Scope::Everything, order_id)
        .await?
        .ok_or_else(missing)?;
    let letters = desk.read(&stop).await?;
    if stop.is_cancelled() {
        return Err(Interrupted.into());
    }
    let mut more: Vec<Moment> = letters
        .iter()
        .filter_map(|letter| dead_letter(letter, order_id))
        .collect();
    more.extend(logs::about(&options.state, order_id, &journey.trace_ids)?);
    let journey = journey.with(more);
    Ok(verdict(&journey).end("haven.order/1", json!(journey), || {
        let (bill, columns) = (bill(&stored.order), width::stdout());
        let text = match settings::get().verbose {
            true => full_text(&journey, &bill, columns),
            false => text(&journey, &bill, columns),
        };
        println!("{text}");
    }))
}

/// Returns the amount and the size of an order.
fn bill(order: &Order) -> String {
    let units = order.items.iter();
    let units = units.map(|item| usize::try_from(item.quantity.get()).unwrap_or(usize::MAX));
    format!(
        "{}, {}, {}",
        order.totals.total,
        counted(order.items.len(), "product"),
        counted(units.sum::<usize>(), "unit")
    )
}

/// Returns the timeline entry of a dead letter, if it belongs to the order.
fn dead_letter(letter: &Letter, order_id: OrderId) -> Option<Moment> {
    if letter.order_id() != Some(order_id) {
        return None;
    }
    let body = letter.json()?;
    let what = format!(
        "{} became a dead letter of {}",
        body["type"].as_str().unwrap_or("a message"),
        letter.queue.slug
    );
    let deliveries = letter
        .parked
        .deliveries
        .map(|count| format!(" (delivery {count})"))
        .unwrap_or_default();
    Some(Moment {
        note: Some(format!("{}{deliveries}", letter.parked.reason)),
        event_id: letter.event_id(),
        ..Moment::new(letter.parked.parked_at?, Record::Parked, what)
    })
}

/// Returns the first lines: the order, and with `more` what only `-v` shows.
fn heading(journey: &Journey, bill: &str, columns: usize, more: &str) -> String {
    let because = journey.reason.as_deref().map(printable);
    let because = because.map_or_else(String::new, |reason| format!(" because {reason}"));
    let day = journey.moments.first().map(|first| time_text(first.at));
    let day = day.as_deref().and_then(|at| at.get(..10));
    let line = format!(
        "{}, {}{because}, {bill}, {}{more}",
        journey.order_number,
        journey.status,
        day.unwrap_or_default()
    );
    wrap(&line, columns, "", "  ") + "\n\n"
}

/// Returns the events that change the order or the money, the redrives and the dead letters.
fn text(journey: &Journey, bill: &str, columns: usize) -> String {
    let mut table = Table::new([
        Column::text("Time (UTC)"),
        Column::number("After"),
        Column::text("Event").shortened(),
        Column::text("By").optional(1),
    ]);
    let is_shown = |moment: &&Moment| match moment.record {
        Record::History | Record::Payment | Record::Redrive | Record::Parked => true,
        Record::Stock | Record::Outbox | Record::Delivery | Record::Notice | Record::Log => false,
    };
    let shown: Vec<&Moment> = journey.moments.iter().filter(is_shown).collect();
    let mut before: Option<Timestamp> = None;
    for moment in &shown {
        let gap_ms = before.map(|before| (moment.at - before).whole_milliseconds());
        before = Some(moment.at);
        table.row([
            clock(moment),
            gap_ms.map_or_else(String::new, after),
            event(moment),
            moment.by.as_deref().map(printable).unwrap_or_default(),
        ]);
    }
    let table = table.render(columns);
    let mut rest = format!("{} of {} events", shown.len(), journey.moments.len());
    rest += &table
        .note()
        .map_or_else(String::new, |note| "; ".to_owned() + &note);
    rest += "; stock, messages, notifications, log lines, trace ids: -v";
    heading(journey, bill, columns, "")
        + &table.text
        + &wrap(&rest, columns, "", "  ")
        + "\n"
        + &pending(journey, columns)
}

/// Returns every event and all ids. A line can be wider than the columns.
fn full_text(journey: &Journey, bill: &str, columns: usize) -> String {
    let mut table = Table::new([
        Column::text("Time (UTC)"),
        Column::number("After"),
        Column::text("Source"),
        Column::text("Event"),
        Column::text("By"),
    ]);
    for moment in &journey.moments {
        table.row([
            time_text(moment.at),
            after(moment.gap_ms.into()),
            moment.record.code().to_owned(),
            event(moment),
            moment.by.as_deref().map(printable).unwrap_or_default(),
        ]);
    }
    let more = format!(
        ", id {}, state {}, version {}",
        journey.order_id, journey.state, journey.version
    );
    let traces = journey.trace_ids.iter();
    let traces: String = traces.map(|trace| format!("trace {trace}\n")).collect();
    heading(journey, bill, columns, &more)
        + &table.render(usize::MAX).text
        + &traces
        + &pending(journey, columns)
}

/// Returns a line for each thing that the order waits for.
fn pending(journey: &Journey, columns: usize) -> String {
    let lines = journey.awaited.iter().map(|awaited| {
        let until = awaited
            .until
            .map(|until| format!(", until {}", time_text(until)));
        let line = format!(
            "{}, since {}{}",
            printable(&awaited.what),
            time_text(awaited.since),
            until.unwrap_or_default()
        );
        wrap(&line, columns, "Pending: ", "  ") + "\n"
    });
    lines.collect()
}

fn verdict(journey: &Journey) -> Verdict {
    let mut status = journey.status.clone();
    if let Some(first) = status.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Verdict::neutral(match journey.awaited.len() {
        0 => format!("{status}. Nothing is pending."),
        pending => format!("{status}. {} pending.", counted_are(pending, "step")),
    })
}

fn event(moment: &Moment) -> String {
    let note = moment.note.as_deref();
    let note = note.map_or_else(String::new, |note| format!(" [{note}]"));
    printable(&format!("{}{note}", moment.what))
}

/// Returns the time of day.
fn clock(moment: &Moment) -> String {
    let time = time_text(moment.at);
    time.get(11..23).unwrap_or(&time).to_owned()
}

/// Returns the time since the event before.
fn after(gap_ms: i128) -> String {
    match gap_ms {
        gap_ms @ ..1_000 => format!("+{gap_ms} ms"),
        gap_ms => {
            let gap_ms = u64::try_from(gap_ms).unwrap_or(u64::MAX);
            format!("+{}", duration(Duration::from_millis(gap_ms)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use app::use_cases::journey::Awaited;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::super::fitting;
    use super::*;
    use crate::schemas::testing::valid;

    fn completed() -> Journey {
        let at = datetime!(2026-03-01 06:52:12.277 UTC);
        let moment = |after_ms: i64, record, what: &str, by: &str| Moment {
            by: Some(by.to_owned()),
            ..Moment::new(at + time::Duration::milliseconds(after_ms), record, what)
        };
        let moments = vec![
            moment(0, Record::History, "accepted, pending (stock)", "customer"),
            moment(143, Record::Stock, "reserved 1 × espresso", "order-worker"),
            moment(
                331,
                Record::Payment,
                "charge of $39.30: captured",
                "payment-worker",
            ),
            moment(73_000, Record::History, "confirmed became preparing", "Zoe"),
        ];
        let journey = Journey {
            order_id: OrderId(Uuid::nil()),
            order_number: "A-004".to_owned(),
            status: "preparing".to_owned(),
            state: "preparing".to_owned(),
            version: 4,
            reason: None,
            moments,
            awaited: Vec::new(),
            trace_ids: BTreeSet::from(["0af7651916cd43dd8448eb211c80319c".to_owned()]),
            missing: None,
        };
        journey.with(Vec::new())
    }

    #[test]
    fn the_short_timeline_has_the_events_that_change_the_order() {
        let rows = "A-004, preparing, $39.30, 3 products, 6 units, 2026-03-01\n\n\
            Time (UTC)        After  Event                       By\n\
            06:52:12.277             accepted, pending (stock)   customer\n\
            06:52:12.608    +331 ms  charge of $39.30: captured  payment-worker\n\
            06:53:25.277  +1 m 12 s  confirmed became preparing  Zoe\n";
        let bill = "$39.30, 3 products, 6 units";
        for columns in [80, 120] {
            let text = fitting(&text(&completed(), bill, columns), columns);
            assert!(text.starts_with(rows), "{text}");
            assert!(text.contains("\n3 of 4 events; stock, "), "{text}");
        }
        let narrow = fitting(&text(&completed(), bill, 60), 60);
        assert!(narrow.contains("; 1 column hidden: By"), "{narrow}");
        let document = serde_json::to_value(completed()).expect("JSON");
        valid(verdict(&completed()).document("haven.order/1", document));
        let full = full_text(&completed(), bill, 80);
        for part in [
            "reserved 1 × espresso",
            "trace 0af7651916cd43dd8448eb211c80319c\n",
            "2026-03-01T06:52:12.420Z",
            "version 4",
        ] {
            assert!(full.contains(part), "no {part} in {full}");
        }
    }

    #[test]
    fn the_last_line_counts_what_is_pending() {
        let mut journey = completed();
        assert_eq!(
            verdict(&journey),
            Verdict::neutral("Preparing. Nothing is pending.")
        );
        journey.reason = Some("payment declined".to_owned());
        journey.awaited.push(Awaited {
            what: "the end of preparation".to_owned(),
            since: datetime!(2026-03-01 06:53:25.277 UTC),
            until: None,
        });
        assert_eq!(
            verdict(&journey),
            Verdict::neutral("Preparing. 1 step is pending.")
        );
        for columns in [60, 80, 120] {
            let text = fitting(&text(&journey, "$39.30", columns), columns);
            assert!(
                text.contains("\nPending: the end of preparation, since")
                    && text.contains("preparing because payment declined, $39.30"),
                "{text}"
            );
        }
    }

    #[test]
    fn gaps_are_formatted_in_one_way() {
        assert_eq!(
            [143, 47_000, 73_000].map(after),
            ["+143 ms", "+47 s", "+1 m 13 s"]
        );
    }
}
