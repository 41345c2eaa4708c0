//! `prove crash` kills a process with SIGKILL at each boundary call of a flow, before and after the
//! call. The process is then started again. When the shop is quiet, the proof checks the
//! invariants.

mod flows;
mod points;
mod run;

use clap::{Args, ValueEnum as _};
use serde::Serialize;

use crate::shop::{Database, Keep, Shop};
use flows::Flow;
use points::Side;

const EXAMPLE: &str = "Examples:
  prove crash --flow confirm --database sqlite
  prove crash --flow decline --point 12 --side after
  prove crash --json

Exit codes: 0 everything held, 1 it could not be run, 2 something did not hold, 64 bad usage,
141 the reader of the output left.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// Only this flow; all of them without it
    #[arg(long)]
    flow: Option<Flow>,
    /// Only on this database; on both without it
    #[arg(long)]
    database: Option<Database>,
    /// Only this point, by its number in the list; needs --flow
    #[arg(long, requires = "flow")]
    point: Option<usize>,
    /// Only this side of the call
    #[arg(long)]
    side: Option<Side>,
    /// Every n-th point only, for a quick look
    #[arg(
        long,
        default_value_t = 1,
        conflicts_with = "point",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    every: u16,
    /// List the points without killing a process
    #[arg(long)]
    list: bool,
    /// Wait for the claims of the dead to end by themselves, instead of ending them at once
    #[arg(long)]
    patient: bool,
    /// One JSON object a flow and database, instead of a table
    #[arg(long)]
    json: bool,
}

/// The result of one flow on one database.
#[derive(Debug, Serialize)]
struct CrashReport {
    flow: &'static str,
    database: &'static str,
    /// Number of calls. Each has one or two points: before and after the call.
    calls: usize,
    points: usize,
    passed: usize,
    seconds: u64,
    failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    point: usize,
    side: &'static str,
    call: String,
    what: Vec<String>,
    again: String,
}

/// Runs the proof and prints the results. Returns whether every invariant held.
///
/// # Errors
/// Returns an error if a shop cannot be started or a flow cannot be run.
pub async fn prove(options: &Options) -> anyhow::Result<bool> {
    let databases = match options.database {
        Some(database) => vec![database],
        None => vec![Database::Sqlite, Database::Postgres],
    };
    let flows: Vec<Flow> = options
        .flow
        .map_or_else(|| Flow::value_variants().to_vec(), |flow| vec![flow]);
    let mut reports = Vec::new();
    for database in databases {
        haven_console::eprintln!("starting a shop on {}", database.name());
        let shop = Shop::open(database, 0).await?;
        let mut held = true;
        for flow in &flows {
            let report = run::flow(&shop, *flow, options).await;
            match report {
                Ok(report) => {
                    held &= report.failures.is_empty();
                    if options.json {
                        haven_console::println!("{}", serde_json::to_string(&report)?);
                    }
                    reports.push(report);
                }
                Err(error) => {
                    shop.close(Keep::Logs).await;
                    return Err(error.context(format!(
                        "flow {} on {}",
                        flow.name(),
                        database.name()
                    )));
                }
            }
        }
        shop.close(if held { Keep::Nothing } else { Keep::Logs })
            .await;
    }
    if !options.json && !options.list {
        print(&reports);
    }
    Ok(reports.iter().all(|report| report.failures.is_empty()))
}

fn print(reports: &[CrashReport]) {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "flow", "database", "calls", "points", "passed", "failed", "s",
    ]);
    for report in reports {
        let failed = report.failures.len();
        let numbers =
            [report.calls, report.points, report.passed, failed].map(|count| count.to_string());
        let names = [report.flow.to_owned(), report.database.to_owned()];
        table.add_row(
            names
                .into_iter()
                .chain(numbers)
                .chain([report.seconds.to_string()]),
        );
    }
    haven_console::println!("{table}");
    for failure in reports.iter().flat_map(|report| &report.failures) {
        haven_console::println!(
            "\npoint {} {} {}",
            failure.point,
            failure.side,
            failure.call
        );
        for what in &failure.what {
            haven_console::println!("  {what}");
        }
        haven_console::println!("  again: {}", failure.again);
    }
}
