//! `haven load`: customers at a steady rate, and how long each had to wait.
//!
//! Open loop: an order is due at its own time, whether or not the one before it has been answered, and what it waits is
//! counted from then. A shop that stalls is not spared the customers who would have come meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shop::Shop;
use crate::cli::Load;
use crate::local::facts::Facts;

/// An order that is not confirmed so long after the last was sent is counted as not confirmed.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Units of each ordered product that are put on the shelf beyond what the orders need.
const SPARE_UNITS: u64 = 50;

/// What came of it. Times are milliseconds from when an order was due.
#[derive(Debug, Serialize)]
pub struct Report {
    pub rate_per_s: f64,
    pub seconds: f64,
    pub sent: usize,
    pub accepted: usize,
    /// Of answers that were not acceptance: by status, or `no answer`.
    pub refused: BTreeMap<String, usize>,
    pub confirmed: usize,
    /// Accepted orders that came to no end in time.
    pub unsettled: usize,
    pub accept_ms: Option<Percentiles>,
    pub confirm_ms: Option<Percentiles>,
    /// CPU milliseconds of all roles and the gateway, an accepted order. `None` where processes cannot be read.
    pub cpu_ms_per_order: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// The nearest-rank percentiles; none of nothing.
    fn of(mut values: Vec<f64>) -> Option<Percentiles> {
        values.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied()
        };
        Some(Percentiles { p50: rank(0.50)?, p95: rank(0.95)?, p99: rank(0.99)?, max: rank(1.0)? })
    }
}

struct Sent {
    due: OffsetDateTime,
    answer: Result<(StatusCode, Value), String>,
    waited: Duration,
}

/// Runs the load and prints the report. Gives whether every order was accepted and confirmed.
pub async fn load(options: &Load) -> anyhow::Result<bool> {
    let count = (options.rate * options.duration.as_secs_f64()).round() as usize;
    if count == 0 {
        bail!("--rate and --duration together give no order: {} orders/s for {:?}", options.rate, options.duration);
    }
    let facts = Facts::read(&options.state)?;
    let shop = Arc::new(Shop::of(&facts, "haven load")?);
    let products = match &options.product {
        Some(product) => vec![product.clone()],
        None => shop.menu().await?,
    };
    shop.fill_shelves(&products, (count.div_ceil(products.len())) as u64 + SPARE_UNITS).await?;
    eprintln!("{count} orders at {}/s over {} products", options.rate, products.len());

    let cpu_before = cpu_time(&facts);
    let begun = Instant::now();
    let (mut sending, mut sent) = (JoinSet::new(), Vec::with_capacity(count));
    for index in 0..count {
        let due = begun + Duration::from_secs_f64(index as f64 / options.rate);
        tokio::time::sleep_until(due).await;
        let (shop, product) = (shop.clone(), products[index % products.len()].clone());
        // On the wall clock, which the order's history is written by.
        let due_at = OffsetDateTime::now_utc() - due.elapsed();
        sending.spawn(async move {
            let answer = shop.order(&product).await;
            Sent { due: due_at, answer, waited: due.elapsed() }
        });
        while let Some(answered) = sending.try_join_next() {
            sent.push(answered.context("a customer's task failed")?);
        }
        let every = (options.rate * 10.0).ceil() as usize;
        if (index + 1).is_multiple_of(every.max(1)) {
            eprintln!("  {:>6} sent, {} not answered yet", index + 1, sending.len());
        }
    }
    sent.extend(sending.join_all().await);
    let lasted = begun.elapsed();

    let mut refused = BTreeMap::new();
    let (mut accept_ms, mut confirm_ms, mut accepted, mut unsettled) = (Vec::new(), Vec::new(), 0, 0);
    let settled_by = Instant::now() + SETTLED_WITHIN;
    for order in &sent {
        match &order.answer {
            Ok((StatusCode::ACCEPTED, receipt)) => {
                accepted += 1;
                accept_ms.push(millis(order.waited));
                let path = receipt["links"]["self"].as_str().context("a receipt without a link")?;
                match shop.confirmed_at(path, settled_by).await? {
                    Some(Some(at)) => confirm_ms.push((at - order.due).as_seconds_f64() * 1e3),
                    Some(None) => {}
                    None => unsettled += 1,
                }
            }
            Ok((status, _)) => *refused.entry(status.as_u16().to_string()).or_default() += 1,
            Err(_) => *refused.entry("no answer".to_owned()).or_default() += 1,
        }
    }
    let cpu = cpu_before.zip(cpu_time(&facts)).map(|(before, after)| millis(after.saturating_sub(before)));
    let report = Report {
        rate_per_s: options.rate,
        seconds: lasted.as_secs_f64(),
        sent: sent.len(),
        accepted,
        refused,
        confirmed: confirm_ms.len(),
        unsettled,
        accept_ms: Percentiles::of(accept_ms),
        confirm_ms: Percentiles::of(confirm_ms),
        cpu_ms_per_order: cpu.filter(|_| accepted > 0).map(|cpu| cpu / accepted as f64),
    };
    if options.json {
        println!("{}", serde_json::to_string(&report).context("write JSON")?);
    } else {
        print(&report);
    }
    Ok(report.confirmed == report.sent)
}

fn print(report: &Report) {
    println!("sent       {:>7}   in {:.1} s", report.sent, report.seconds);
    println!("accepted   {:>7}   refused {:?}", report.accepted, report.refused);
    println!("confirmed  {:>7}   without an end {}", report.confirmed, report.unsettled);
    for (name, percentiles) in [("accept", &report.accept_ms), ("confirm", &report.confirm_ms)] {
        if let Some(Percentiles { p50, p95, p99, max }) = percentiles {
            println!("{name:<8} ms   p50 {p50:.0}   p95 {p95:.0}   p99 {p99:.0}   max {max:.0}");
        }
    }
    if let Some(cpu) = report.cpu_ms_per_order {
        println!("CPU of our processes: {cpu:.1} ms an order");
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The processor time that our processes have taken since each began. `None` off Linux, and when one has just died.
fn cpu_time(facts: &Facts) -> Option<Duration> {
    // Fields 14 and 15 of proc_pid_stat(5), in ticks; Linux shows them at 100 a second on all its platforms.
    const TICK: Duration = Duration::from_millis(10);
    let mut ticks = 0u32;
    for role in &facts.roles {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", role.pid)).ok()?;
        // The second field is the program's name, in parentheses, and may have spaces.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut times = fields.split(' ').skip(11).take(2);
        ticks += times.next()?.parse::<u32>().ok()? + times.next()?.parse::<u32>().ok()?;
    }
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert!(Percentiles::of(Vec::new()).is_none());
        let Some(Percentiles { p50, p95, p99, max }) = Percentiles::of((1..=100).rev().map(f64::from).collect()) else {
            panic!("of a hundred values")
        };
        assert_eq!((p50, p95, p99, max), (50.0, 95.0, 99.0, 100.0));
        let alone = Percentiles::of(vec![7.0]).expect("of one");
        assert_eq!((alone.p50, alone.max), (7.0, 7.0));
    }
}
