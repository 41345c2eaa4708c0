//! `prove crash` kills a process with SIGKILL at each boundary call of a flow, before and after the
//! call. The process is then started again. When the shop is quiet, the proof checks the
//! invariants.

mod flows;
mod points;
mod run;

use clap::{Args, ValueEnum as _};
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::table::{Cell, Column, Table};
use haven_console::time::thousands;
use haven_console::verdict::Verdict;
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
    let steps = Steps::new("prove crash");
    for database in databases {
        let starting = steps.begin(&format!("Starting a shop on {}", database.name()));
        let shop = Shop::open(database, 0).await?;
        starting.ok(&format!("Shop on {} started", database.name()));
        let mut held = true;
        for flow in &flows {
            let name = format!("{} on {}", flow.name(), database.name());
            let step = steps.begin(&format!("{name}: recording"));
            let report = run::flow(&shop, *flow, options, &step).await;
            match report {
                Ok(report) => {
                    step.end(
                        report.mark(),
                        &format!(
                            "{name}: {} of {} points passed",
                            report.passed, report.points
                        ),
                    );
                    held &= report.failures.is_empty();
                    if options.json {
                        haven_console::println!("{}", serde_json::to_string(&report)?);
                    }
                    reports.push(report);
                }
                Err(error) => {
                    shop.close(Keep::Logs).await;
                    return Err(error.context(format!("flow {name}")));
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

impl CrashReport {
    /// Returns the state that the text output shows.
    fn mark(&self) -> Meaning {
        match self.failures.is_empty() {
            true => Meaning::Ok,
            false => Meaning::Fail,
        }
    }
}

fn print(reports: &[CrashReport]) {
    let note = table(reports).print();
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
    haven_console::println!();
    verdict(reports).note(note).print();
}

fn table(reports: &[CrashReport]) -> Table {
    let mut table = Table::new([
        Column::text("Result"),
        Column::text("Flow"),
        Column::text("Database"),
        Column::number("Calls").optional(1),
        Column::number("Points"),
        Column::number("Passed"),
        Column::number("Failed"),
        Column::number("Seconds").optional(2),
    ]);
    for report in reports {
        let failed = report.failures.len();
        let numbers = [report.calls, report.points, report.passed, failed];
        let numbers = numbers.map(|count| Cell::from(thousands(count as u64)));
        let mark = report.mark();
        let names = [
            mark.cell(mark.sign()),
            Cell::from(report.flow),
            Cell::from(report.database),
        ];
        let seconds = [Cell::from(thousands(report.seconds))];
        table.row(names.into_iter().chain(numbers).chain(seconds));
    }
    table
}

fn verdict(reports: &[CrashReport]) -> Verdict {
    let points: usize = reports.iter().map(|report| report.points).sum();
    let failed: usize = reports.iter().map(|report| report.failures.len()).sum();
    let points = thousands(points as u64);
    match failed {
        0 => Verdict::good(format!(
            "Passed: killed at {points} points, every invariant held."
        )),
        _ => Verdict::no(format!("Failed: {failed} of {points} points.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_fit_and_end_in_a_verdict() {
        let report = |failures: Vec<Failure>| CrashReport {
            flow: "notification-retry",
            database: "postgres",
            calls: 91,
            points: 1_168,
            passed: 1_168 - failures.len(),
            seconds: 954,
            failures,
        };
        let failure = Failure {
            point: 3,
            side: "after",
            call: "ses.SendEmail #1".to_owned(),
            what: vec!["I8".to_owned()],
            again: String::new(),
        };
        let reports = [report(Vec::new()), report(vec![failure])];
        for columns in [60, 80, 120] {
            for line in table(&reports).render(columns).text.lines() {
                let width = haven_console::width::of_text(line);
                assert!(width <= columns && line == line.trim_end(), "{line:?}");
            }
        }
        let passed = verdict(&reports[..1]);
        let sentence = "Passed: killed at 1,168 points, every invariant held.";
        assert_eq!(passed, Verdict::good(sentence));
        let failed = verdict(&reports);
        assert_eq!(failed, Verdict::no("Failed: 1 of 2,336 points."));
        assert_eq!(failed.exit().code(), 2);
    }
}
