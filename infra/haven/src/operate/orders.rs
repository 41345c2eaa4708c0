//! `haven orders show`: prints the order timeline, together with the dead letters and log lines of
//! this machine.

use anyhow::Context as _;
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use app::use_cases::journey::{Journey, Moment, Record, journey, time_text};
use domain::ids::OrderId;
use domain::text::printable;

use super::dlq::{Desk, Letter};
use super::logs;
use crate::cli::{OrderName, Show};
use crate::ending::Interrupted;
use crate::terminal;

/// Prints the order timeline. Returns whether the order exists.
///
/// # Errors
/// When no platform runs on the state directory, a store cannot be read, or a signal interrupts the
/// command.
pub async fn show(options: &Show) -> anyhow::Result<bool> {
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
