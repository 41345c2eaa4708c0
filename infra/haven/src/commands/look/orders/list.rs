//! `haven orders list`: prints the newest orders.

use std::path::PathBuf;

use anyhow::Context as _;
use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::scope::Scope;
use app::use_cases::journey::time_text;
use clap::Args;
use clap::builder::PossibleValuesParser;
use domain::Timestamp;
use domain::order::{Order, Status};
use haven_console::exit::Exit;
use haven_console::settings;
use haven_console::table::{Column, Table};
use haven_console::time::{counted, relative};
use haven_console::verdict::Verdict;
use serde_json::{Value, json};

use crate::arguments::{LIMIT, STATE};
use crate::target;

#[derive(Debug, Args)]
pub struct List {
    /// Show only orders with this status (repeatable)
    #[arg(long, value_parser = PossibleValuesParser::new(Status::ALL.map(Status::code)))]
    pub status: Vec<String>,
    #[arg(long, value_name = "N", help = LIMIT, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub limit: u32,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Prints the newest orders that match the options.
///
/// # Errors
/// When no platform is running in the state directory, or the database cannot be read.
pub async fn print(options: &List) -> anyhow::Result<Exit> {
    let store = target::running_store(&options.state).await?;
    let filter = OrderFilter {
        statuses: options
            .status
            .iter()
            .filter_map(|code| Status::from_code(code))
            .collect(),
        limit: options.limit,
        ..OrderFilter::default()
    };
    let orders = store.list(&Scope::Everything, &filter).await;
    let orders = orders.context("read the orders")?;
    let verdict = verdict(&orders);
    if settings::get().json {
        let document = json!({ "orders": orders.iter().map(as_json).collect::<Vec<_>>() });
        return Ok(verdict.print_json("haven.orders/1", document));
    }
    if orders.is_empty() {
        return Ok(verdict.print());
    }
    let note = table(&orders, Timestamp::now_utc()).print();
    println!();
    Ok(verdict.note(note).print())
}

fn verdict(orders: &[Order]) -> Verdict {
    match orders.first() {
        None => Verdict::neutral("No orders."),
        Some(newest) => {
            Verdict::neutral(format!("{}, newest first.", counted(orders.len(), "order")))
                .next(format!("haven orders show {}", newest.order_id))
        }
    }
}

fn table(orders: &[Order], now: Timestamp) -> Table {
    let mut table = Table::new([
        Column::text("Order"),
        Column::text("Status"),
        Column::number("Total"),
        Column::number("Units").optional(1),
        Column::text("Age"),
        Column::text("Order id").optional(2),
    ]);
    for order in orders {
        table.row([
            order.order_number.clone(),
            order.status.code().to_owned(),
            order.totals.total.to_string(),
            units(order).to_string(),
            relative(order.created_at, now),
            order.order_id.to_string(),
        ]);
    }
    table
}

fn units(order: &Order) -> u64 {
    let units = order
        .items
        .iter()
        .map(|item| u64::from(item.quantity.get()));
    units.sum()
}

fn as_json(order: &Order) -> Value {
    json!({
        "order_id": order.order_id,
        "order_number": order.order_number,
        "status": order.status.code(),
        "total_minor": order.totals.total.minor,
        "currency": order.totals.total.currency.code(),
        "units": units(order),
        "created_at": time_text(order.created_at),
    })
}
