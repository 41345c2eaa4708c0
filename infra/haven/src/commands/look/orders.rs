//! `haven orders`: prints the order timeline, together with the dead letters and log lines of this
//! machine, and rebuilds the order view.

use std::path::PathBuf;

use anyhow::Context as _;
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use app::use_cases::journey::{Journey, Moment, Record, journey, time_text};
use clap::{Args, Subcommand};
use domain::ids::{OrderId, OrderNumber};
use domain::text::printable;
use haven_console::{Interrupted, terminal};

use super::{logs, reproject};
use crate::arguments::{STATE, order_id};
use crate::commands::operate::dlq::desk::{Desk, Letter};

#[derive(Debug, Subcommand)]
pub enum Orders {
    /// Show the timeline of an order and what is pending
    #[command(
        after_help = "Examples:\n  haven orders show A-047\n  haven orders show 01934d3c-2a00-7000-8000-000000000002\n  haven orders show A-047 --json\n\nShows history, money, stock, messages with their deliveries, notifications, dead\nletters and log lines.\nExit 2 if there is no such order."
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
    /// Order id or order number; of several orders with one number, the newest
    #[arg(value_name = "ID|NUMBER", value_parser = order_name)]
    pub order: OrderName,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// The id or the number of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderName {
    Id(OrderId),
    Number(OrderNumber),
}

fn order_name(text: &str) -> Result<OrderName, String> {
    let number = OrderNumber::parse(text).map(OrderName::Number);
    number
        .map_or_else(|| order_id(text).map(OrderName::Id), Ok)
        .map_err(|wrong| format!("{wrong}, or a number, such as A-047"))
}

/// Runs a command. Returns whether its result is good.
///
/// # Errors
/// As [`show`] and [`reproject::reproject`].
pub async fn command(command: &Orders) -> anyhow::Result<bool> {
    match command {
        Orders::Show(options) => show(options).await,
        Orders::Reproject(options) => {
            reproject::reproject(options).await?;
            Ok(true)
        }
    }
}

/// Prints the order timeline. Returns whether the order exists.
///
/// # Errors
/// When no platform runs on the state directory, a store cannot be read, or a signal interrupts the
/// command.
async fn show(options: &Show) -> anyhow::Result<bool> {
    let stop = chassis::run::shutdown_signal().context("listen for signals")?;
    let desk = Desk::open(&options.state).await?;
    let order_id = match options.order {
        OrderName::Id(order_id) => order_id,
        OrderName::Number(number) => match desk
            .store
            .newest_with_number(&Scope::Everything, number)
            .await?
        {
            Some(order_id) => order_id,
            None => {
                eprintln!("haven: there is no order with the number {number}");
                return Ok(false);
            }
        },
    };
    let Some(journey) = journey(&desk.store, &desk.stock, &Scope::Everything, order_id).await?
    else {
        eprintln!("haven: there is no order {order_id}");
        return Ok(false);
    };
    let letters = desk.read(&stop).await?;
    if stop.is_cancelled() {
        return Err(Interrupted.into());
    }
    let mut more: Vec<Moment> = letters
        .iter()
        .filter_map(|letter| parked(letter, order_id))
        .collect();
    more.extend(logs::about(&options.state, order_id, &journey.trace_ids)?);
    let journey = journey.with(more);
    if options.json {
        println!(
            "{}",
            terminal::json(&serde_json::to_value(&journey).context("write JSON")?)
        );
    } else {
        print(&journey);
    }
    Ok(true)
}

/// Returns the timeline entry of a dead letter, if it belongs to the order.
fn parked(letter: &Letter, order_id: OrderId) -> Option<Moment> {
    if letter.order_id() != Some(order_id) {
        return None;
    }
    let body = letter.json()?;
    let what = format!(
        "{} lies parked of {}",
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

fn print(journey: &Journey) {
    println!(
        "{}  {}  {} ({}), version {}",
        journey.order_number, journey.order_id, journey.status, journey.state, journey.version
    );
    if let Some(reason) = &journey.reason {
        println!("because {}", printable(reason));
    }
    println!();
    for moment in &journey.moments {
        let gap = format!("+{} ms", moment.gap_ms);
        let by = moment
            .by
            .as_deref()
            .map(|by| format!("  by {by}"))
            .unwrap_or_default();
        let note = moment
            .note
            .as_deref()
            .map(|note| format!("  [{note}]"))
            .unwrap_or_default();
        let line = format!(
            "{}  {gap:>10}  {:<8}  {}{by}{note}",
            time_text(moment.at),
            moment.record.code(),
            moment.what
        );
        println!("{}", printable(&line));
    }
    println!();
    if journey.awaited.is_empty() {
        println!("It waits for nothing.");
    }
    for awaited in &journey.awaited {
        let until = awaited
            .until
            .map(|until| format!(", until {}", time_text(until)))
            .unwrap_or_default();
        println!(
            "waits until {}, since {}{until}",
            awaited.what,
            time_text(awaited.since)
        );
    }
    for trace in &journey.trace_ids {
        println!("trace {trace}");
    }
}
