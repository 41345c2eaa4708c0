//! `haven cost`: estimates the monthly cost of an environment from its templates. Needs no account.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use blueprint::cost::{self, Estimate, Line, MicroUsd, Part};
use clap::Args;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::style::Meaning;
use haven_console::table::{Column, Table};
use haven_console::time::{counted, counted_are, decimal, thousands};
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use haven_console::{settings, width};
use serde::Serialize;
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

/// An estimate, and the orders that it is for.
#[derive(Debug, Serialize)]
struct Priced {
    #[serde(flatten)]
    estimate: Estimate,
    orders_per_month: u64,
}

/// Prints the estimates. The exit code says whether every environment is within the budget.
///
/// # Errors
/// When an environment does not exist or its settings are wrong, or its region has no prices.
pub fn print(options: &Cost) -> anyhow::Result<Exit> {
    const ON_AWS: [&str; 3] = ["dev", "staging", "prod"];
    let names = arguments::environments(&options.names, options.env.as_deref(), &ON_AWS)?;
    let priced = names
        .iter()
        .map(|name| estimate(name, options))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let over: Vec<String> = priced
        .iter()
        .filter_map(|priced| over_budget(&priced.estimate, options.budget?))
        .collect();
    let verdict = verdict(&priced, options.budget, &over);
    let fields = json!({ "estimates": priced, "budget_usd": options.budget, "over_budget": over });
    Ok(verdict.end("haven.cost/1", fields, || {
        let verbose = settings::get().verbose;
        println!("{}", text(&priced, width::stdout(), verbose));
    }))
}

fn estimate(name: &str, options: &Cost) -> anyhow::Result<Priced> {
    let environment = cost::running(&target::environment(&options.settings.of(name))?);
    if environment.local {
        let failure = Failure::usage("`local` runs on this machine and costs nothing");
        return Err(failure.tip("known: dev, staging, prod").into());
    }
    let mut usage = environment.settings.usage.clone();
    if let Some(orders) = options.orders_a_day {
        usage.orders_per_month = orders * 365 / 12;
    }
    let estimate = cost::estimate(&blueprint::stacks(&environment), &environment, &usage)
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Priced {
        estimate,
        orders_per_month: usage.orders_per_month,
    })
}

/// Returns why an estimate exceeds a budget, if it does. A resource without a price counts as too
/// expensive, because its cost is unknown.
fn over_budget(estimate: &Estimate, usd: f64) -> Option<String> {
    let (environment, unpriced) = (&estimate.environment, &estimate.unpriced);
    if estimate.total > MicroUsd::from_usd(usd) {
        let (total, most) = (amount(estimate.total), decimal(usd, 2));
        Some(format!("{environment} costs {total} of {most} USD a month"))
    } else if unpriced.is_empty() {
        None
    } else {
        let resources = counted(unpriced.len(), "resource");
        Some(format!("{environment} has {resources} without a price"))
    }
}

fn verdict(priced: &[Priced], budget: Option<f64>, over: &[String]) -> Verdict {
    if !over.is_empty() {
        return Verdict::no(format!("Over budget: {}.", over.join("; ")));
    }
    let unconfirmed: BTreeSet<&String> = priced
        .iter()
        .flat_map(|priced| &priced.estimate.unconfirmed)
        .collect();
    let note = match unconfirmed.len() {
        0 => String::new(),
        count => format!("; {} unconfirmed (-v)", counted_are(count, "price")),
    };
    match (budget, priced) {
        (Some(usd), _) => {
            let usd = decimal(usd, 2);
            Verdict::good(format!("Within the budget of {usd} USD a month{note}."))
        }
        (None, [one]) => {
            let total = amount(one.estimate.total);
            Verdict::neutral(format!("{total} USD a month{note}."))
        }
        (None, several) => Verdict::neutral(format!("{} environments{note}.", several.len())),
    }
}

/// Returns the estimates as tables, and with `verbose` each price and what is assumed.
fn text(priced: &[Priced], columns: usize, verbose: bool) -> String {
    let mut parts = Vec::new();
    if priced.len() > 1 {
        parts.push(environments(priced, columns));
    }
    for one in priced.iter().filter(|_| verbose || priced.len() == 1) {
        if !parts.is_empty() {
            parts.push("\n".to_owned());
        }
        parts.push(title(one, columns));
        parts.push(match verbose {
            true => items(&one.estimate),
            false => stacks(&one.estimate, columns),
        });
    }
    for Priced { estimate, .. } in priced {
        let missing = estimate.unpriced.iter().map(|missing| {
            let place = format!("{}/{}: ", missing.stack, missing.resource);
            let first = format!("{}{} {place}", Meaning::Warn.mark(6), estimate.environment);
            let why = format!("no price: {}", missing.why);
            wrap(&why, columns, &first, "      ") + "\n"
        });
        parts.extend(missing);
    }
    if verbose {
        type Of = fn(&Estimate) -> &Vec<String>;
        let lists: [(&str, Of); 3] = [
            ("Unconfirmed prices (*)", |estimate| &estimate.unconfirmed),
            ("Assumed", |estimate| &estimate.assumed),
            ("Not included", |estimate| &estimate.not_included),
        ];
        for (heading, of) in lists {
            let lines: BTreeSet<&String> =
                priced.iter().flat_map(|one| of(&one.estimate)).collect();
            if !lines.is_empty() {
                parts.push(format!("\n{}\n", Meaning::Heading.paint(heading)));
            }
            let lines = lines.iter();
            parts.extend(lines.map(|line| wrap(line, columns, "  ", "    ") + "\n"));
        }
    }
    parts.concat()
}

fn title(priced: &Priced, columns: usize) -> String {
    let (estimate, orders) = (&priced.estimate, thousands(priced.orders_per_month));
    let (environment, prices_of) = (&estimate.environment, &estimate.prices_of);
    let place = format!("{environment}, {}", estimate.region);
    let title = format!("{place}, prices of {prices_of}, {orders} orders a month");
    wrap(&title, columns, "", "  ") + "\n\n"
}

/// Returns an amount in dollars, such as `1,389.47`.
fn amount(amount: MicroUsd) -> String {
    decimal(amount.usd(), 2)
}

/// Returns the sum of the lines by a key, largest first.
fn sums<'a, K: Ord>(lines: impl Iterator<Item = (K, &'a Line)>) -> Vec<(K, MicroUsd)> {
    let mut sums: BTreeMap<K, MicroUsd> = BTreeMap::new();
    for (key, line) in lines {
        let sum = sums.entry(key).or_default();
        *sum = *sum + line.month;
    }
    let mut sums: Vec<(K, MicroUsd)> = sums.into_iter().collect();
    sums.sort_by_key(|(_, month)| Reverse(*month));
    sums
}

/// Returns the costs of each stack, largest first.
fn by_stack(estimate: &Estimate) -> Vec<(&str, MicroUsd)> {
    let lines = estimate.lines.iter();
    sums(lines.map(|line| (line.stack.as_str(), line)))
}

/// Returns the table of several environments.
fn environments(priced: &[Priced], columns: usize) -> String {
    let mut table = Table::new([
        Column::text("Environment"),
        Column::number("USD/month"),
        Column::number("Fixed"),
        Column::number("By usage"),
        Column::text("Largest stack").shortened(),
    ]);
    for Priced { estimate, .. } in priced {
        let stacks = by_stack(estimate);
        let largest = stacks.first();
        let largest = largest.map(|(stack, month)| format!("{stack}, {}", amount(*month)));
        table.row([
            estimate.environment.clone(),
            amount(estimate.total),
            amount(estimate.fixed),
            amount(estimate.usage),
            largest.unwrap_or_default(),
        ]);
    }
    table.render(columns).text
}

/// Returns the table of one environment: the largest stacks, the rest as one row, and the total.
fn stacks(estimate: &Estimate, columns: usize) -> String {
    const SHOWN: usize = 3;
    let total = estimate.total;
    let share = |month: MicroUsd| match total.0 {
        0 => "0%".to_owned(),
        _ => format!("{:.0}%", 100.0 * month.usd() / total.usd()),
    };
    let mut table = Table::new([
        Column::text("Stack"),
        Column::number("USD/month"),
        Column::number("Share"),
        Column::text("Largest item").shortened(),
    ]);
    let stacks = by_stack(estimate);
    for (stack, month) in stacks.iter().take(SHOWN) {
        let own = estimate.lines.iter();
        let own = own.filter(|line| line.stack == *stack);
        let items = sums(own.map(|line| (line.what.as_str(), line)));
        let largest = items.first();
        let largest = largest.map(|(what, month)| format!("{what}, {}", amount(*month)));
        let cells = [amount(*month), share(*month), largest.unwrap_or_default()];
        table.row([(*stack).to_owned()].into_iter().chain(cells));
    }
    let rest = stacks.get(SHOWN..).unwrap_or_default();
    if !rest.is_empty() {
        let month: MicroUsd = rest.iter().map(|(_, month)| *month).sum();
        table.row([
            format!("{} more", rest.len()),
            amount(month),
            share(month),
            "(list: -v)".to_owned(),
        ]);
    }
    let (fixed, usage) = (amount(estimate.fixed), amount(estimate.usage));
    let parts = format!("{fixed} fixed, {usage} by usage");
    table.row(["Total".to_owned(), amount(total), String::new(), parts]);
    table.render(columns).text
}

/// Returns the table of every price of one environment, in its full width. A row has the lines of
/// one stack with the same price.
fn items(estimate: &Estimate) -> String {
    let mut rows: BTreeMap<(&str, String, Part), (f64, &Line, MicroUsd)> = BTreeMap::new();
    for line in &estimate.lines {
        let mark = if line.confirmed { "" } else { " *" };
        let key = (
            line.stack.as_str(),
            format!("{}{mark}", line.what),
            line.part,
        );
        let row = rows.entry(key).or_insert((0.0, line, MicroUsd::default()));
        row.0 += line.quantity;
        row.2 = row.2 + line.month;
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, (_, _, month))| Reverse(*month));
    let mut table = Table::new([
        Column::text("Stack"),
        Column::text("Item"),
        Column::number("Quantity"),
        Column::text("Unit"),
        Column::number("USD each"),
        Column::number("USD/month"),
        Column::text("Part"),
    ]);
    for ((stack, what, part), (quantity, line, month)) in rows {
        let part = match part {
            Part::Fixed => "fixed",
            Part::Usage => "usage",
        };
        table.row([
            stack.to_owned(),
            what,
            of_quantity(quantity),
            line.unit.clone(),
            line.unit_usd.to_string(),
            amount(month),
            part.to_owned(),
        ]);
    }
    table.render(usize::MAX).text
}

/// Formats a quantity.
fn of_quantity(quantity: f64) -> String {
    match quantity {
        whole if whole.fract() == 0.0 => decimal(whole, 0),
        large if large >= 10.0 => decimal(large, 1),
        small => format!("{small:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::provision::testing::plain;

    fn line(stack: &str, what: &str, usd: f64, part: Part) -> Line {
        Line {
            stack: stack.to_owned(),
            resource: "Thing".to_owned(),
            price: what.to_owned(),
            what: what.to_owned(),
            quantity: 1.0,
            unit: "month".to_owned(),
            unit_usd: usd,
            month: MicroUsd::from_usd(usd),
            part,
            confirmed: what != "logs",
        }
    }

    fn priced() -> Priced {
        let usd = MicroUsd::from_usd;
        Priced {
            estimate: Estimate {
                environment: "prod".to_owned(),
                region: "us-east-1".to_owned(),
                prices_of: "2026-11-21".to_owned(),
                lines: vec![
                    line("compute", "Fargate vCPU", 1_000.0, Part::Fixed),
                    line("data", "db.r7g.large, two hosts", 340.5, Part::Fixed),
                    line("network", "interface endpoints", 200.0, Part::Fixed),
                    line("edge", "requests", 30.0, Part::Usage),
                    line("observability", "logs", 29.5, Part::Usage),
                ],
                fixed: usd(1_540.5),
                usage: usd(59.5),
                total: usd(1_600.0),
                unpriced: Vec::new(),
                unconfirmed: vec!["logs".to_owned()],
                assumed: vec!["an order has two products".to_owned()],
                not_included: vec!["taxes".to_owned()],
            },
            orders_per_month: 30_000,
        }
    }

    #[test]
    fn the_largest_stacks_come_first_and_the_rest_is_a_row() {
        let expected = "prod, us-east-1, prices of 2026-11-21, 30,000 orders a month\n\n\
            Stack    USD/month  Share  Largest item\n\
            compute   1,000.00    62%  Fargate vCPU, 1,000.00\n\
            data        340.50    21%  db.r7g.large, two hosts, 340.50\n\
            network     200.00    12%  interface endpoints, 200.00\n\
            2 more       59.50     4%  (list: -v)\n\
            Total     1,600.00         1,540.50 fixed, 59.50 by usage\n";
        for columns in [60, 80, 120] {
            assert_eq!(plain(&text(&[priced()], columns, false), columns), expected);
        }
        let verbose = plain(&text(&[priced()], 80, true), 200);
        for part in [
            "logs *",
            "\nUnconfirmed prices (*)\n  logs\n",
            "Not included\n  taxes\n",
        ] {
            assert!(verbose.contains(part), "{part}: {verbose}");
        }
    }

    #[test]
    fn several_environments_are_compared() {
        let expected = "Environment  USD/month     Fixed  By usage  Largest stack\n\
            prod          1,600.00  1,540.50     59.50  compute, 1,000.00\n";
        let both = [priced(), priced()];
        for columns in [80, 120] {
            let text = plain(&text(&both, columns, false), columns);
            assert!(text.starts_with(expected), "{text}");
        }
        plain(&text(&both, 60, false), 60);
    }

    #[test]
    fn the_budget_decides_the_verdict() {
        let both = [priced(), priced()];
        assert_eq!(
            verdict(&both[..1], None, &[]),
            Verdict::neutral("1,600.00 USD a month; 1 price is unconfirmed (-v).")
        );
        assert_eq!(
            verdict(&both, Some(2_500.0), &[]),
            Verdict::good(
                "Within the budget of 2,500.00 USD a month; 1 price is unconfirmed (-v)."
            )
        );
        let over = over_budget(&both[0].estimate, 100.0).expect("over");
        let over = verdict(&both, Some(100.0), &[over]);
        assert_eq!(
            over,
            Verdict::no("Over budget: prod costs 1,600.00 of 100.00 USD a month.")
        );
        assert_eq!(over.exit(), Exit::No);
    }

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
        for (arguments, expected) in [
            (&["dev"][..], Exit::Done),
            (&["dev", "--budget", "100000"], Exit::Done),
            (&["dev", "--budget", "1"], Exit::No),
            (&["dev", "prod", "--budget", "1000"], Exit::No),
        ] {
            let exit = print(&options(arguments)).expect("an estimate");
            assert_eq!(exit, expected, "{arguments:?}");
        }
    }

    #[test]
    fn unknown_prices_are_reported() {
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
        let total = |arguments: &[&str]| {
            estimate("dev", &options(arguments))
                .expect("prices")
                .estimate
                .usage
        };
        assert!(
            total(&["dev", "--orders-a-day", "10"]) < total(&["dev", "--orders-a-day", "100000"])
        );
    }
}
