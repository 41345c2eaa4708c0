//! The report of a load.

use std::collections::BTreeMap;

use blueprint::cost::{CallCost, of_calls};
use blueprint::prices::Prices;
use contract::billed::Billed;
use contract::metric::Metric;
use haven_console::table::{Column, Table};
use haven_console::time::decimal;
use haven_console::verdict::Verdict;
use haven_console::width::wrap;
use serde::Serialize;

use super::counters::Counters;

/// The results of a load. Latencies are in milliseconds from the due time of an order.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub rate_per_s: f64,
    pub seconds: f64,
    pub sent: usize,
    pub accepted: usize,
    /// Responses that did not accept the order, by status code or `no answer`.
    pub refused: BTreeMap<String, usize>,
    pub confirmed: usize,
    pub cancelled: usize,
    pub failed: usize,
    /// Accepted orders that did not end in time.
    pub unsettled: usize,
    /// Orders that did not end as their customer's card and wishes require, including those that
    /// did not end.
    pub wrong_end: usize,
    pub accept_ms: Option<Percentiles>,
    /// The time to confirmation, also of orders that were cancelled afterwards.
    pub confirm_ms: Option<Percentiles>,
    pub notices: Notices,
    /// The CPU milliseconds of `haven up`, all roles and the payment gateway per accepted order.
    /// `None` where `/proc` cannot be read.
    pub cpu_ms_per_order: Option<f64>,
    pub aws: Aws,
    /// The differences between orders, money and stock at the end: code and subject, as `haven
    /// reconcile` names them.
    pub differences: Vec<String>,
}

/// Latency percentiles in milliseconds.
#[derive(Debug, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// Notifications by mail and text message.
#[derive(Debug, Default, Serialize)]
pub struct Notices {
    /// The minimum that was due: one for each order that was confirmed or ended. An order that is
    /// cancelled after its confirmation causes one more.
    pub at_least: usize,
    pub sent: usize,
    /// Notifications that were sent within 30 s of their event.
    pub in_time: usize,
}

/// The AWS calls of all roles, including idle polling.
#[derive(Debug, Default, Serialize)]
pub struct Aws {
    pub calls_per_order: f64,
    /// Calls per order, by service.
    pub calls: BTreeMap<String, f64>,
    /// The cost at list prices, or nothing if the region has no price table. `haven cost` computes
    /// the fixed cost of the platform.
    pub usd_per_million_orders: Vec<CallCost>,
    pub total_usd_per_million_orders: f64,
}

impl Report {
    /// Returns the number of notifications that were due at least.
    pub fn told_at_least(&self) -> usize {
        self.confirmed + self.cancelled + self.failed
    }

    /// Returns whether every order ended as it must, everybody was notified in time, and nothing
    /// differs.
    pub fn holds(&self) -> bool {
        let told =
            self.notices.sent >= self.notices.at_least && self.notices.in_time == self.notices.sent;
        self.accepted == self.sent && self.wrong_end == 0 && told && self.differences.is_empty()
    }

    /// Returns the report as text. `verbose` adds the highest latencies, and calls and cost by
    /// service.
    pub fn text(&self, verbose: bool, columns: usize) -> String {
        const LABEL: usize = 15;
        let mut text = String::new();
        let mut line = |label: &str, line: &str| {
            let label = format!("{label:LABEL$}");
            text += &wrap(line, columns, &label, &" ".repeat(LABEL));
            text.push('\n');
        };
        let mut orders = format!(
            "{} sent in {:.1} s, {} accepted, {} confirmed",
            self.sent, self.seconds, self.accepted, self.confirmed
        );
        for (count, what) in [(self.cancelled, "cancelled"), (self.failed, "failed")] {
            if count > 0 {
                orders += &format!(", {count} {what}");
            }
        }
        line("Orders", &orders);
        if !self.refused.is_empty() {
            let refused = self.refused.iter();
            let refused = refused.map(|(why, count)| format!("{count} with {why}"));
            line("Refused", &refused.collect::<Vec<_>>().join(", "));
        }
        for (label, percentiles) in [
            ("Accepted", &self.accept_ms),
            ("Confirmed", &self.confirm_ms),
        ] {
            if let Some(Percentiles { p50, p95, p99, max }) = percentiles {
                let max = match verbose {
                    true => format!(", max {max:>3.0} ms"),
                    false => String::new(),
                };
                let latencies =
                    format!("p50 {p50:>3.0} ms, p95 {p95:>3.0} ms, p99 {p99:>3.0} ms{max}");
                line(label, &latencies);
            }
        }
        let in_time = self.notices.in_time;
        let due = self.notices.sent.max(self.notices.at_least);
        line("Notifications", &format!("{in_time} of {due} within 30 s"));
        let books = match self.differences.as_slice() {
            [] => "orders, payments, gateway and stock agree".to_owned(),
            [one] => format!("1 difference: {one}"),
            [first, rest @ ..] => format!("{first}, and {} more differences", rest.len()),
        };
        line("Records", &books);
        let cpu = self.cpu_ms_per_order;
        let cpu = cpu.map_or_else(String::new, |cpu| format!("{cpu:.0} ms CPU, "));
        let (calls, usd) = (
            self.aws.calls_per_order,
            decimal(self.aws.total_usd_per_million_orders, 2),
        );
        let cost = format!("{cpu}{calls:.1} AWS calls an order; {usd} USD a million");
        line("Cost", &cost);
        if verbose {
            text += &self.cost_tables();
        }
        text
    }

    fn cost_tables(&self) -> String {
        let mut calls = Table::new([Column::text("Service"), Column::number("Calls/order")]);
        for (service, per_order) in &self.aws.calls {
            calls.row([service.clone(), decimal(*per_order, 2)]);
        }
        let mut costs = Table::new([
            Column::text("Item"),
            Column::number("Million units"),
            Column::number("USD/million orders"),
            Column::text("Price"),
        ]);
        for cost in &self.aws.usd_per_million_orders {
            let price = if cost.confirmed { "" } else { "unconfirmed" };
            costs.row([
                cost.what.clone(),
                decimal(cost.units / 1e6, 2),
                decimal(cost.usd, 2),
                price.to_owned(),
            ]);
        }
        let mut text = format!("\n{}", calls.render(usize::MAX).text);
        if !self.aws.usd_per_million_orders.is_empty() {
            text += &format!("\n{}", costs.render(usize::MAX).text);
        }
        text
    }

    /// Returns the verdict. It is good if [`Report::holds`].
    pub fn verdict(&self) -> Verdict {
        if self.holds() {
            let sent = self.sent;
            return Verdict::good(format!(
                "Passed: {sent} orders, none lost, none charged twice."
            ));
        }
        let late = self.notices.sent.max(self.notices.at_least) - self.notices.in_time;
        let wrong_end = self.wrong_end.saturating_sub(self.unsettled);
        let wrong = [
            (self.sent - self.accepted, "not accepted"),
            (self.unsettled, "without an end"),
            (wrong_end, "with a wrong end"),
            (late, "not notified in time"),
            (self.differences.len(), "with different records"),
        ];
        let wrong = wrong.into_iter().filter(|(count, _)| *count > 0);
        let wrong = wrong.map(|(count, what)| format!("{count} {what}"));
        let wrong = wrong.collect::<Vec<_>>().join(", ");
        let verdict = Verdict::no(format!("Failed: of {} orders, {wrong}.", self.sent));
        match self.differences.is_empty() {
            true => verdict.next("haven status"),
            false => verdict.next("haven reconcile"),
        }
    }
}

impl Aws {
    /// Computes calls and cost per order from the growth of the counters during `orders` orders.
    pub fn of(region: &str, grown: &Counters, orders: usize) -> Aws {
        if orders == 0 {
            return Aws::default();
        }
        let per_order = |value: f64| value / orders as f64;
        let units = grown
            .by(Metric::AwsUnits)
            .into_iter()
            .filter_map(|(code, units)| {
                let billed = Billed::from_code(&code)?;
                Some((billed, per_order(units) * 1e6))
            });
        let costs = Prices::of(region)
            .map(|prices| of_calls(&prices, &units.collect()))
            .unwrap_or_default();
        Aws {
            calls_per_order: per_order(grown.total(Metric::AwsCalls)),
            calls: grown
                .by(Metric::AwsCalls)
                .into_iter()
                .map(|(service, calls)| (service, per_order(calls)))
                .collect(),
            total_usd_per_million_orders: costs.iter().map(|cost| cost.usd).sum(),
            usd_per_million_orders: costs,
        }
    }
}

impl Percentiles {
    /// Returns the nearest-rank percentiles, or `None` without values.
    pub fn of(mut values: Vec<f64>) -> Option<Percentiles> {
        values.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied()
        };
        Some(Percentiles {
            p50: rank(0.50)?,
            p95: rank(0.95)?,
            p99: rank(0.99)?,
            max: rank(1.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemas::testing::{assert_has_numbers, valid};

    #[test]
    fn percentiles_are_measured_values() {
        assert!(Percentiles::of(Vec::new()).is_none());
        let Some(Percentiles { p50, p95, p99, max }) =
            Percentiles::of((1..=100).rev().map(f64::from).collect())
        else {
            panic!("of a hundred values")
        };
        assert_eq!((p50, p95, p99, max), (50.0, 95.0, 99.0, 100.0));
        let alone = Percentiles::of(vec![7.0]).expect("of one");
        assert_eq!((alone.p50, alone.max), (7.0, 7.0));
    }

    fn passed() -> Report {
        let latencies = |p50, p95, p99| {
            let max = 378.0;
            Some(Percentiles { p50, p95, p99, max })
        };
        Report {
            rate_per_s: 10.0,
            seconds: 5.0,
            sent: 50,
            accepted: 50,
            confirmed: 50,
            accept_ms: latencies(7.0, 17.0, 105.0),
            confirm_ms: latencies(270.0, 359.0, 378.0),
            notices: Notices {
                at_least: 50,
                sent: 50,
                in_time: 50,
            },
            cpu_ms_per_order: Some(34.0),
            aws: Aws {
                calls_per_order: 20.2,
                calls: BTreeMap::from([("sqs".to_owned(), 12.5)]),
                usd_per_million_orders: Vec::new(),
                total_usd_per_million_orders: 120.08,
            },
            ..Report::default()
        }
    }

    #[test]
    fn a_report_fits_every_width_and_ends_with_a_verdict() {
        let text = "Orders         50 sent in 5.0 s, 50 accepted, 50 confirmed\n\
            Accepted       p50   7 ms, p95  17 ms, p99 105 ms\n\
            Confirmed      p50 270 ms, p95 359 ms, p99 378 ms\n\
            Notifications  50 of 50 within 30 s\n\
            Records        orders, payments, gateway and stock agree\n\
            Cost           34 ms CPU, 20.2 AWS calls an order; 120.08 USD a million\n";
        for columns in [80, 120] {
            assert_eq!(passed().text(false, columns), text);
        }
        let document = serde_json::to_value(passed()).expect("JSON");
        let document = valid(passed().verdict().document("haven.load/1", document));
        assert_has_numbers(&document, &text.replace(" within 30 s", ""));
        let narrow = passed().text(false, 60);
        assert!(narrow.lines().all(|line| line.len() <= 60), "{narrow}");
        let full = passed().text(true, 80);
        assert!(
            full.contains(", max 378 ms\n") && full.contains("\nsqs            12.50\n"),
            "{full}"
        );
        assert_eq!(
            passed().verdict(),
            Verdict::good("Passed: 50 orders, none lost, none charged twice.")
        );
    }

    #[test]
    fn each_broken_expectation_is_in_the_verdict_and_exits_with_2() {
        let mut report = passed();
        (report.accepted, report.wrong_end, report.unsettled) = (47, 3, 1);
        report.notices.in_time = 48;
        report.differences = vec!["money-owed x".to_owned()];
        let verdict = report.verdict();
        assert_eq!(
            verdict,
            Verdict::no(
                "Failed: of 50 orders, 3 not accepted, 1 without an end, 2 with a wrong end, \
                 2 not notified in time, 1 with different records."
            )
            .next("haven reconcile")
        );
        assert_eq!(verdict.exit().code(), 2);
        report.differences.clear();
        report.refused.insert("503".to_owned(), 3);
        assert!(!report.holds());
        assert!(
            report
                .text(false, 80)
                .contains("\nRefused        3 with 503\n")
        );
    }
}
