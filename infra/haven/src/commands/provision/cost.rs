//! `haven cost`: estimates the monthly cost of an environment from its templates. Needs no account.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use blueprint::cost::{self, Estimate, Line, MicroUsd, Part};
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::json;

use crate::arguments::{self, BUDGET, Settings, budget};
use crate::target;

#[derive(Debug, Args)]
pub struct Cost {
    /// Environments [default: dev, staging and prod]
    #[arg(value_name = "ENV")]
    pub names: Vec<String>,
    /// One environment, from the global flag.
    #[arg(long)]
    pub env: Option<String>,
    /// One JSON document instead of a table
    #[arg(long)]
    pub json: bool,
    #[arg(long, value_name = "USD", value_parser = budget, help = BUDGET)]
    pub budget: Option<f64>,
    /// Orders a day [default: from the settings]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=ORDERS_A_DAY_MAX))]
    pub orders_a_day: Option<u64>,
    #[command(flatten)]
    pub settings: Settings,
}

/// The limit of `--orders-a-day`. A month of it is less than `usage.orders_per_month` may be.
const ORDERS_A_DAY_MAX: u64 = 30_000_000;

/// Prints the estimates. Returns whether every environment is within the budget.
///
/// # Errors
/// When an environment does not exist or its settings are wrong, or its region has no prices.
pub fn print(options: &Cost) -> anyhow::Result<bool> {
    const ON_AWS: [&str; 3] = ["dev", "staging", "prod"];
    let names = arguments::environments(&options.names, options.env.as_deref(), &ON_AWS)?;
    let estimates = names
        .iter()
        .map(|name| estimate(name, options))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let over: Vec<String> = estimates
        .iter()
        .filter_map(|estimate| over_budget(estimate, options.budget?))
        .collect();
    if options.json {
        let document =
            json!({ "estimates": estimates, "budget_usd": options.budget, "over_budget": over });
        println!(
            "{}",
            serde_json::to_string_pretty(&document).context("write JSON")?
        );
    } else {
        println!("{}", text(&estimates));
        over.iter().for_each(|why| println!("OVER BUDGET: {why}"));
    }
    Ok(over.is_empty())
}

fn estimate(name: &str, options: &Cost) -> anyhow::Result<Estimate> {
    let environment = cost::running(&target::environment(
        &options.settings.of(name, options.json),
    )?);
    if environment.local {
        bail!("local runs on this machine and costs nothing; there are dev, staging and prod");
    }
    let mut usage = environment.settings.usage.clone();
    if let Some(orders) = options.orders_a_day {
        usage.orders_per_month = orders * 365 / 12;
    }
    Ok(cost::estimate(
        &blueprint::stacks(&environment),
        &environment,
        &usage,
    )?)
}

/// Returns why an estimate exceeds a budget, if it does. A resource without a price counts as too
/// expensive, because its cost is unknown.
fn over_budget(estimate: &Estimate, usd: f64) -> Option<String> {
    let Estimate {
        environment,
        total,
        unpriced,
        ..
    } = estimate;
    if *total > MicroUsd::from_usd(usd) {
        Some(format!(
            "{environment} costs USD {total} a month, and may cost {usd:.2}"
        ))
    } else if unpriced.is_empty() {
        None
    } else {
        Some(format!(
            "{environment} has {} resources without a price",
            unpriced.len()
        ))
    }
}

fn text(estimates: &[Estimate]) -> String {
    let mut parts = vec![match estimates {
        [estimate] => alone(estimate),
        several => beside(several),
    }];
    for estimate in estimates {
        let Estimate {
            environment,
            region,
            prices_of,
            fixed,
            usage,
            total,
            ..
        } = estimate;
        parts.push(format!(
            "{environment}: USD {total} a month ({fixed} fixed, {usage} usage); {region}, prices of {prices_of}"
        ));
        parts.extend(estimate.unpriced.iter().map(|it| {
            format!(
                "  WITHOUT A PRICE: {} {}: {}",
                it.stack, it.resource, it.why
            )
        }));
    }
    let mut list = |title: &str, of: fn(&Estimate) -> &Vec<String>| {
        let mut lines: Vec<&String> = Vec::new();
        for line in estimates.iter().flat_map(of) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        if !lines.is_empty() {
            parts.push(format!("\n{title}"));
            parts.extend(lines.into_iter().map(|line| format!("  {line}")));
        }
    };
    list(
        "Prices marked * are not confirmed by a page that gives them:",
        |estimate| &estimate.unconfirmed,
    );
    list("Assumed:", |estimate| &estimate.assumed);
    list("Not included:", |estimate| &estimate.not_included);
    parts.join("\n")
}

/// One row of the table: the lines of one stack with the same price.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    stack: String,
    what: String,
    part: Part,
}

impl Row {
    fn of(line: &Line) -> Row {
        let mark = if line.confirmed { "" } else { " *" };
        Row {
            stack: line.stack.clone(),
            what: format!("{}{mark}", line.what),
            part: line.part,
        }
    }

    fn part(&self) -> &'static str {
        match self.part {
            Part::Fixed => "fixed",
            Part::Usage => "usage",
        }
    }
}

fn table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn right(text: impl std::fmt::Display) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Returns the table for one environment, most expensive rows first.
fn alone(estimate: &Estimate) -> String {
    let mut rows: BTreeMap<Row, (f64, &Line, MicroUsd)> = BTreeMap::new();
    for line in &estimate.lines {
        let row = rows
            .entry(Row::of(line))
            .or_insert((0.0, line, MicroUsd::default()));
        row.0 += line.quantity;
        row.2 = row.2 + line.month;
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, (_, _, month))| std::cmp::Reverse(*month));
    let header = [
        "stack",
        "what",
        "quantity",
        "unit",
        "USD each",
        "USD a month",
        "",
    ];
    let mut table = table(header.map(str::to_owned).to_vec());
    for (row, (quantity, line, month)) in &rows {
        table.add_row(vec![
            Cell::new(&row.stack),
            Cell::new(&row.what),
            right(amount(*quantity)),
            Cell::new(&line.unit),
            right(line.unit_usd),
            right(month),
            Cell::new(row.part()),
        ]);
    }
    table.to_string()
}

/// Returns the table for several environments, with a column for each.
fn beside(estimates: &[Estimate]) -> String {
    let mut rows: BTreeMap<Row, Vec<MicroUsd>> = BTreeMap::new();
    for (column, estimate) in estimates.iter().enumerate() {
        for line in &estimate.lines {
            let row = rows
                .entry(Row::of(line))
                .or_insert_with(|| vec![MicroUsd::default(); estimates.len()]);
            row[column] = row[column] + line.month;
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, months)| std::cmp::Reverse(months.iter().max().copied()));
    let names = estimates
        .iter()
        .map(|estimate| estimate.environment.clone());
    let mut table = table(
        ["stack", "what", ""]
            .map(str::to_owned)
            .into_iter()
            .chain(names)
            .collect(),
    );
    for (row, months) in &rows {
        let mut cells = vec![
            Cell::new(&row.stack),
            Cell::new(&row.what),
            Cell::new(row.part()),
        ];
        cells.extend(months.iter().map(right));
        table.add_row(cells);
    }
    table.to_string()
}

/// Formats a quantity.
fn amount(quantity: f64) -> String {
    match quantity {
        whole if whole.fract() == 0.0 => format!("{whole:.0}"),
        large if large >= 10.0 => format!("{large:.1}"),
        small => format!("{small:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Cost {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            cost: Cost,
        }
        let line = [&["cost"], arguments].concat();
        <Line as clap::Parser>::try_parse_from(line)
            .map(|line| line.cost)
            .expect("sound arguments")
    }

    #[test]
    fn a_budget_is_a_gate() {
        assert!(
            print(&options(&["dev"])).expect("an estimate"),
            "no budget, no gate"
        );
        assert!(print(&options(&["dev", "--budget", "100000"])).expect("an estimate"));
        assert!(!print(&options(&["dev", "--budget", "1"])).expect("an estimate"));
        assert!(
            !print(&options(&["dev", "prod", "--budget", "1000", "--json"])).expect("an estimate"),
            "prod"
        );
    }

    #[test]
    fn what_is_not_known_is_told() {
        let error =
            |arguments: &[&str]| format!("{:#}", print(&options(arguments)).expect_err("an error"));
        assert_eq!(error(&["production"]), "unknown environment `production`");
        assert!(error(&["local"]).contains("costs nothing"));
        assert!(error(&["dev", "--set", "network.zones"]).contains("must be KEY=VALUE"));
        assert!(error(&["dev", "--set", "network.zones=9"]).contains("2 to 3"));
        assert!(
            error(&["dev", "--set", "account.region=eu-west-1"])
                .contains("no price table for the region eu-west-1")
        );
    }

    #[test]
    fn orders_a_day_change_the_usage_part() {
        let total =
            |arguments: &[&str]| estimate("dev", &options(arguments)).expect("prices").usage;
        assert!(
            total(&["dev", "--orders-a-day", "10"]) < total(&["dev", "--orders-a-day", "100000"])
        );
    }
}
