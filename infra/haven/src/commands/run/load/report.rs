//! The report of a load.

use std::collections::BTreeMap;

use blueprint::cost::{CallCost, of_calls};
use blueprint::prices::Prices;
use contract::billed::Billed;
use contract::metric::Metric;
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

    /// Prints the report as text.
    pub fn print(&self) {
        let errors =
            100.0 * (self.sent - self.accepted + self.wrong_end) as f64 / self.sent.max(1) as f64;
        println!("sent       {:>7}   in {:.1} s", self.sent, self.seconds);
        println!(
            "accepted   {:>7}   refused {:?}",
            self.accepted, self.refused
        );
        println!(
            "confirmed  {:>7}   cancelled {}   failed {}",
            self.confirmed, self.cancelled, self.failed
        );
        println!(
            "errors     {errors:>6.2}%   without an end {}, a wrong end {}",
            self.unsettled, self.wrong_end
        );
        for (name, percentiles) in [("accept", &self.accept_ms), ("confirm", &self.confirm_ms)] {
            if let Some(Percentiles { p50, p95, p99, max }) = percentiles {
                println!(
                    "{name:<8} ms   p50 {p50:.0}   p95 {p95:.0}   p99 {p99:.0}   max {max:.0}"
                );
            }
        }
        let Notices {
            at_least,
            sent,
            in_time,
        } = self.notices;
        println!("notices    {sent:>7}   due {at_least}, within 30 s {in_time}");
        match self.differences.as_slice() {
            [] => {
                println!("books      orders, payments, the gateway's ledger, holds and stock agree")
            }
            [first, ..] => {
                println!(
                    "books      {} differences, {first} the first: see haven reconcile",
                    self.differences.len()
                )
            }
        }
        if let Some(cpu) = self.cpu_ms_per_order {
            println!("CPU of our processes: {cpu:.1} ms an order");
        }
        let calls = self
            .aws
            .calls
            .iter()
            .map(|(service, calls)| format!("{service} {calls:.2}"));
        println!(
            "AWS calls: {:.2} an order ({})",
            self.aws.calls_per_order,
            calls.collect::<Vec<_>>().join(", ")
        );
        println!(
            "A million such orders, at list prices: {:.2} USD",
            self.aws.total_usd_per_million_orders
        );
        for CallCost {
            what,
            units,
            usd,
            confirmed,
        } in &self.aws.usd_per_million_orders
        {
            let doubt = if *confirmed {
                ""
            } else {
                "   (price unconfirmed)"
            };
            println!(
                "  {what:<26} {:>7.2} M   {usd:>8.2} USD{doubt}",
                units / 1e6
            );
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

    #[test]
    fn percentiles_are_values_that_were_measured() {
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
}
