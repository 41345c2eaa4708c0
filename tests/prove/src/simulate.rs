//! `prove simulate` runs the product's use cases with seeded faults, on one thread and with a
//! simulated clock.

mod customer;
mod engine;
mod gateway;
mod hits;
mod invariants;
mod mail;
mod mistake;
mod opening;
mod orders;
mod people;
mod plan;
mod port;
mod queues;
mod report;
mod shop;
mod stock;
mod task;
mod trace;
mod workers;

#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::Instant;

use clap::Args;
use haven_console::progress::Steps;

use self::engine::Violation;
use self::hits::Hits;
use self::mistake::Mistake;
use self::plan::Plan;
use self::report::SimulationReport;
use self::shop::SimulatedShop;

/// Number of seeds from which every kind of fault must have occurred.
const SEEDS_THAT_SEE_ALL: u64 = 200;
/// Maximum number of failing seeds that are described. The others are only counted.
const DESCRIBED_MAX: usize = 3;
/// Maximum number of events that are printed for a failing order.
const EVENTS_SHOWN: usize = 40;
/// Interval of the checks whether the shop is quiet, in simulated milliseconds.
const LOOK_MS: u64 = 500;
/// The largest lead of a process's clock. A claim that such a process made ends that much later.
const FASTEST_CLOCK_MS: u64 = 7 * 60_000;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many seeds, counted from 1 or from `--seed`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// The first seed; alone: only this one
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Customers a run, each with one order: 1 to 100
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub customers: u64,
    /// Seconds in which everything must be settled once the faults end
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub settle_within: u64,
    /// Run each seed twice and compare what happened
    #[arg(long)]
    pub check_determinism: bool,
    /// Plant a mistake, to see the simulation find it
    #[arg(long, value_name = "MISTAKE")]
    pub plant: Option<Mistake>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Options {
    fn first(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    fn count(&self) -> u64 {
        self.seeds
            .unwrap_or(if self.seed.is_some() { 1 } else { 1_000 })
    }
}

/// The result of one seed.
#[derive(Debug)]
struct Run {
    plan: Plan,
    trace_hash: u64,
    events: usize,
    orders: usize,
    simulated_ms: u64,
    /// Time from the end of the faults until everything was settled.
    settled_ms: u64,
    hits: Hits,
    violations: Vec<Violation>,
    /// The last events of the order of the first violation.
    last_events: Vec<String>,
}

/// Runs the seeds, prints the result, and returns whether all hold.
///
/// # Errors
/// Returns an error if the result cannot be encoded.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let report = simulate(options);
    if options.json {
        haven_console::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        haven_console::print!("{report}");
    }
    Ok(report.holds)
}

fn simulate(options: &Options) -> SimulationReport {
    let began = Instant::now();
    let steps = Steps::new("prove simulate");
    let running = steps.begin("Running seeds");
    let next = AtomicU64::new(0);
    let report = Mutex::new(SimulationReport::of(options));
    let threads = available_parallelism().map_or(1, usize::from);
    scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= options.count() {
                        return;
                    }
                    running.doing(&format!("Running seeds: {index} of {}", options.count()));
                    let seed = options.first() + index;
                    let run = one(options, seed);
                    let again = options
                        .check_determinism
                        .then(|| one(options, seed).trace_hash);
                    let mut report = report
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    report.take_in(options, &run, again);
                }
            });
        }
    });
    let mut report = report
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    report.close(options, began.elapsed());
    report
}

/// Runs one seed: faults, then a quiet time, then the checks.
fn one(options: &Options, seed: u64) -> Run {
    let plan = Plan::of(seed, options.customers);
    let (shop, mut scheduler) = SimulatedShop::open(plan.clone(), options.plant);
    let engine = &shop.engine;
    scheduler.run_until(plan.storm_ms);
    engine.calm();
    let mut limit = options.settle_within * 1_000;
    if plan.clock_jumps {
        limit += FASTEST_CLOCK_MS;
    }
    let mut unrest = shop.unrest();
    while unrest.is_some() && engine.now_ms() < plan.storm_ms + limit {
        scheduler.run_until(engine.now_ms() + LOOK_MS);
        unrest = shop.unrest();
    }
    let settled_ms = engine.now_ms() - plan.storm_ms;
    if let Some(why) = unrest {
        let unsettled = shop
            .orders()
            .into_iter()
            .find(|order| !order.state.settled());
        engine.violate(
            "I11",
            format!("not settled after {limit} ms: {why}"),
            unsettled.map(|order| order.order_id),
        );
    }
    invariants::check(&shop);
    let violations = engine.violations();
    let about = violations.first().and_then(|violation| violation.order);
    let last_events = if violations.is_empty() {
        Vec::new()
    } else {
        engine.trace(|trace| trace.last(about, EVENTS_SHOWN))
    };
    Run {
        trace_hash: engine.trace(trace::Trace::hash),
        events: engine.trace(trace::Trace::len),
        orders: shop.orders().len(),
        simulated_ms: engine.now_ms(),
        settled_ms,
        hits: engine.hits(),
        violations,
        last_events,
        plan,
    }
}
