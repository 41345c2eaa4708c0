//! `prove faults` injects each fault of the matrix into a shop under load, once for each seed.
//! After the fault, the shop must become quiet within a time limit, and the invariants must hold. A
//! fault that was never hit counts as a failure.

mod acts;
mod load;
mod matrix;
mod row;
mod run;

use std::time::Duration;

use clap::Args;
use haven_console::BadUsage;
use serde::Serialize;

use crate::shop::{Database, Keep, Shop};
use matrix::ROWS;
use row::{How, Row};

const EXAMPLE: &str = "Examples:
  prove faults --list
  prove faults D3 Q2 G1
  prove faults --all --json

Exit codes: 0 every fault was hit and survived, 1 it could not be run, 2 one was not, 64 bad usage,
141 the reader of the output left.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// Faults by their ids, such as D3
    #[arg(value_name = "ID", value_parser = known, required_unless_present_any = ["all", "list"])]
    ids: Vec<&'static Row>,
    /// Every fault that can be injected on one machine
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// List all faults: how each is injected, or why it is not injected here
    #[arg(long)]
    list: bool,
    /// Seeds, one run each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Orders a second
    #[arg(long, default_value_t = 20.0, value_parser = positive, allow_negative_numbers = true)]
    rate: f64,
    /// How long orders come, in seconds; the fault lasts half of it
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// Where orders are kept; faults of PostgreSQL need postgres
    #[arg(long, default_value = "postgres")]
    database: Database,
    /// One JSON object a fault, instead of a table
    #[arg(long)]
    json: bool,
}

fn known(id: &str) -> Result<&'static Row, String> {
    ROWS.iter()
        .find(|row| row.id.eq_ignore_ascii_case(id))
        .ok_or_else(|| "no such fault; see prove faults --list".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "must be above zero".to_owned())
}

/// The result of one fault over all seeds.
#[derive(Debug, Serialize)]
pub struct FaultReport {
    id: &'static str,
    about: &'static str,
    seeds: Vec<u64>,
    hits: u64,
    orders: usize,
    refused: usize,
    unknown: usize,
    /// The longest time from the end of the fault until the shop was quiet, in seconds.
    quiet_s: f64,
    failures: Vec<String>,
}

/// Runs the proof and prints the results. Returns whether the shop survived every fault.
///
/// # Errors
/// Returns an error if the shop cannot be started or a fault cannot be run.
pub async fn prove(options: &Options) -> anyhow::Result<bool> {
    if options.list {
        list(options.json)?;
        return Ok(true);
    }
    let chosen: Vec<&Row> = if options.all {
        ROWS.iter().collect()
    } else {
        options.ids.clone()
    };
    // A shop on SQLite has neither PostgreSQL nor Redis.
    let needs_servers =
        |row: &&&Row| row.id.starts_with(['P', 'R']) && row.how.not_here().is_none();
    if let (Database::Sqlite, Some(row)) = (options.database, chosen.iter().find(needs_servers)) {
        let why = format!(
            "--database sqlite: {} is a fault of PostgreSQL or Redis; it needs --database postgres",
            row.id
        );
        return Err(BadUsage(why).into());
    }
    let (here, not_here): (Vec<&Row>, Vec<&Row>) = chosen
        .into_iter()
        .partition(|row| row.how.not_here().is_none());
    let reasons: Vec<String> = not_here
        .iter()
        .filter_map(|row| {
            Some(format!(
                "{} is not injected here: {}",
                row.id,
                row.how.not_here()?
            ))
        })
        .collect();
    if here.is_empty() {
        return Err(BadUsage(reasons.join("\n")).into());
    }
    if !options.all {
        for reason in &reasons {
            haven_console::eprintln!("{reason}");
        }
    }
    let mut shop = Shop::open(options.database, 0).await?;
    let (mut reports, mut survived) = (Vec::new(), true);
    for row in here {
        let report = run::row(&shop, row, options).await;
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                shop.close(Keep::Logs).await;
                return Err(error.context(format!("fault {}", row.id)));
            }
        };
        haven_console::eprintln!(
            "{:<4} {:>4} hits, {:>4} orders, quiet in {:>4.1} s {}",
            report.id,
            report.hits,
            report.orders,
            report.quiet_s,
            report.failures.first().map_or("", String::as_str)
        );
        if options.json {
            haven_console::println!("{}", serde_json::to_string(&report)?);
        }
        if !report.failures.is_empty() {
            survived = false;
            // A shop that failed is replaced, so that its leftovers do not fail the next fault.
            shop.close(Keep::Logs).await;
            shop = Shop::open(options.database, 0).await?;
        }
        reports.push(report);
    }
    shop.close(Keep::Nothing).await;
    if !options.json {
        print(&reports);
    }
    Ok(survived)
}

fn list(json: bool) -> anyhow::Result<()> {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::UTF8_BORDERS_ONLY)
        .set_header(["id", "fault", "here"]);
    for row in ROWS {
        let here = match row.how {
            How::Rules(_) => "by rules of the fault proxies".to_owned(),
            How::Act(_) => "by an act".to_owned(),
            How::Elsewhere(where_) => format!("shown by {where_}"),
            How::NotHere(why) => format!("not injected: {why}"),
        };
        if json {
            haven_console::println!(
                "{}",
                serde_json::json!({ "id": row.id, "fault": row.about, "here": here })
            );
        } else {
            table.add_row([row.id, row.about, &here]);
        }
    }
    if !json {
        haven_console::println!("{table}");
    }
    Ok(())
}

fn print(reports: &[FaultReport]) {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "id", "fault", "hits", "orders", "refused", "unknown", "quiet s", "survived",
    ]);
    for report in reports {
        let numbers =
            [report.orders, report.refused, report.unknown].map(|count| count.to_string());
        let mut cells = vec![
            report.id.to_owned(),
            report.about.to_owned(),
            report.hits.to_string(),
        ];
        cells.extend(numbers);
        cells.push(format!("{:.1}", report.quiet_s));
        cells.push(if report.failures.is_empty() {
            "yes".to_owned()
        } else {
            "NO".to_owned()
        });
        table.add_row(cells);
    }
    haven_console::println!("{table}");
    for report in reports.iter().filter(|report| !report.failures.is_empty()) {
        haven_console::println!("\n{}: prove faults {}", report.id, report.id);
        for failure in &report.failures {
            haven_console::println!("  {failure}");
        }
    }
}

impl Options {
    fn lasting(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
