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
use haven_console::progress::Steps;
use haven_console::style::Meaning;
use haven_console::table::{Cell, Column, Table};
use haven_console::time::thousands;
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
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
    let steps = Steps::new("prove faults");
    let starting = steps.begin("Starting a shop");
    let mut shop = Shop::open(options.database, 0).await?;
    starting.ok(&format!("Shop on {} started", options.database.name()));
    let (mut reports, mut survived) = (Vec::new(), true);
    for row in here {
        let step = steps.begin(&format!("{} {}", row.id, row.about));
        let report = run::row(&shop, row, options).await;
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                shop.close(Keep::Logs).await;
                return Err(error.context(format!("fault {}", row.id)));
            }
        };
        let failure = report
            .failures
            .first()
            .map(|failure| format!(": {failure}"));
        step.end(
            report.mark(),
            &format!(
                "{} {} hits, {} orders, quiet in {:.1} s{}",
                report.id,
                report.hits,
                report.orders,
                report.quiet_s,
                failure.unwrap_or_default()
            ),
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
    let columns = width::stdout_text();
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
            let first = format!("{:6}", row.id);
            let text = format!("{}\n{here}", row.about);
            haven_console::println!("{}", wrap(&text, columns, &first, "      "));
        }
    }
    Ok(())
}

impl FaultReport {
    /// Returns the state that the text output shows.
    fn mark(&self) -> Meaning {
        match self.failures.is_empty() {
            true => Meaning::Ok,
            false => Meaning::Fail,
        }
    }
}

fn print(reports: &[FaultReport]) {
    let note = table(reports).print();
    for report in reports.iter().filter(|report| !report.failures.is_empty()) {
        haven_console::println!("\n{}: prove faults {}", report.id, report.id);
        for failure in &report.failures {
            haven_console::println!("  {failure}");
        }
    }
    haven_console::println!();
    verdict(reports).note(note).print();
}

fn table(reports: &[FaultReport]) -> Table {
    let mut table = Table::new([
        Column::text("Result"),
        Column::text("Id"),
        Column::text("Fault").shortened(),
        Column::number("Hits"),
        Column::number("Orders"),
        Column::number("Refused").optional(2),
        Column::number("Unknown").optional(1),
        Column::number("Quiet s"),
    ]);
    for report in reports {
        let mark = report.mark();
        let number = |count: usize| Cell::from(thousands(count as u64));
        table.row([
            mark.cell(mark.sign()),
            Cell::from(report.id),
            Cell::from(report.about),
            Cell::from(thousands(report.hits)),
            number(report.orders),
            number(report.refused),
            number(report.unknown),
            Cell::from(format!("{:.1}", report.quiet_s)),
        ]);
    }
    table
}

fn verdict(reports: &[FaultReport]) -> Verdict {
    let count = reports.len();
    let failed = reports.iter().filter(|report| !report.failures.is_empty());
    match failed.count() {
        0 => Verdict::good(format!(
            "Passed: every fault was hit and survived ({count})."
        )),
        failed => Verdict::no(format!("Failed: {failed} of {count} faults.")),
    }
}

impl Options {
    fn lasting(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failures: Vec<String>) -> FaultReport {
        FaultReport {
            id: "W22",
            about: "a fault whose description is longer than a narrow terminal has room for",
            seeds: vec![1, 2, 3],
            hits: 7_455,
            orders: 3_345,
            refused: 12,
            unknown: 0,
            quiet_s: 16.34,
            failures,
        }
    }

    #[test]
    fn the_results_fit_and_end_in_a_verdict() {
        let reports = [
            report(Vec::new()),
            report(vec!["seed 1: never hit".to_owned()]),
        ];
        for columns in [60, 80, 120] {
            let text = table(&reports).render(columns).text;
            for line in text.lines() {
                let width = width::of_text(line);
                assert!(width <= columns && line == line.trim_end(), "{line:?}");
            }
            assert!(text.contains("FAIL") && text.contains("W22"), "{text}");
        }
        let passed = verdict(&reports[..1]);
        let sentence = "Passed: every fault was hit and survived (1).";
        assert_eq!(passed, Verdict::good(sentence));
        let failed = verdict(&reports);
        assert_eq!(failed, Verdict::no("Failed: 1 of 2 faults."));
        assert_eq!(failed.exit().code(), 2);
    }
}
