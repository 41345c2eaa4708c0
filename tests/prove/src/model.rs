//! `prove model` checks every state that two orders for one unit can reach, with a crash or a
//! redelivery at any step.

mod properties;
mod reduce;
mod saga;
mod shop;
mod world;

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::Args;
use haven_console::progress::Steps;
use serde::Serialize;
use stateright::{Checker, Expectation, HasDiscoveries, Model as _};

use self::shop::{Hit, Hits, ModelShop};
use self::world::{Mistake, ORDERS_MAX, WORKERS_MAX};

/// How large the model is.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Orders, each for one unit: 1 or 2
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=ORDERS_MAX as i64))]
    orders: u8,
    /// Workers, each able to do the work of any role: 1 or 2
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=WORKERS_MAX as i64))]
    workers: u8,
    /// Units in stock: 0 to 2
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i8).range(0..=2))]
    units: i8,
    /// Plant a mistake, to see the check find it
    #[arg(long, value_name = "MISTAKE")]
    plant: Option<Mistake>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The result of the check.
#[derive(Debug, Serialize)]
struct ModelReport {
    orders: u8,
    workers: u8,
    units: i8,
    /// Number of distinct states.
    states: usize,
    /// Number of steps that were checked.
    steps: usize,
    /// Length of the longest of the shortest paths to a state.
    depth: usize,
    seconds: f64,
    properties: Vec<Verdict>,
    hits: Vec<(String, u64)>,
    holds: bool,
}

#[derive(Debug, Serialize)]
struct Verdict {
    name: &'static str,
    holds: bool,
    /// The shortest path to a state that breaks the property.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counterexample: Vec<String>,
}

/// Checks the whole model, prints the result, and returns whether it holds.
///
/// # Errors
/// Returns an error if the result cannot be encoded.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let steps = Steps::new("prove model");
    let checking = steps.begin("Checking every state");
    let report = check(options);
    drop(checking);
    if options.json {
        haven_console::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        haven_console::print!("{}", describe(&report));
    }
    Ok(report.holds)
}

fn check(options: &Options) -> ModelReport {
    let Options {
        orders,
        workers,
        units,
        plant: mistake,
        ..
    } = *options;
    let hits = Arc::new(Hits::default());
    let shop = ModelShop {
        orders,
        workers,
        units,
        mistake,
        hits: Arc::clone(&hits),
    };
    let began = Instant::now();
    let threads = available_parallelism().map_or(1, usize::from);
    // A breadth-first search finds a shortest counterexample. It ends at the first broken property.
    let checker = shop
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let discoveries = checker.discoveries();
    let properties: Vec<Verdict> = properties::all()
        .into_iter()
        .map(|property| {
            let found = discoveries.get(property.name);
            let (holds, counterexample) = match property.expectation {
                Expectation::Sometimes => (found.is_some(), Vec::new()),
                Expectation::Always | Expectation::Eventually => {
                    let steps = found
                        .map(|path| path.clone().into_actions())
                        .unwrap_or_default();
                    (
                        found.is_none(),
                        steps.iter().map(|action| format!("{action:?}")).collect(),
                    )
                }
            };
            Verdict {
                name: property.name,
                holds,
                counterexample,
            }
        })
        .collect();
    // Some hits need a second order or a second worker: with enough units nothing sells out, and a
    // single worker cannot receive a message that another worker is handling.
    let expected = |hit: Hit| match hit {
        Hit::SoldOut => i16::from(orders) > i16::from(units),
        Hit::Redelivery => workers > 1,
        Hit::Crash
        | Hit::Duplicate
        | Hit::Conflict
        | Hit::LostReply
        | Hit::LostRequest
        | Hit::LateRequest
        | Hit::Cancel
        | Hit::TimeOut => true,
    };
    let all_hit = Hit::ALL
        .into_iter()
        .all(|hit| !expected(hit) || hits.of(hit) > 0);
    ModelReport {
        orders,
        workers,
        units,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        seconds: round(began.elapsed()),
        holds: all_hit && properties.iter().all(|verdict| verdict.holds),
        hits: Hit::ALL
            .map(|hit| (format!("{hit:?}"), hits.of(hit)))
            .to_vec(),
        properties,
    }
}

fn round(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 100.0).round() / 100.0
}

fn describe(report: &ModelReport) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let ModelReport {
        orders,
        workers,
        units,
        states,
        steps,
        depth,
        seconds,
        ..
    } = report;
    let _ = writeln!(
        text,
        "{orders} orders for {units} units, {workers} workers, crash and redelivery anywhere"
    );
    for verdict in &report.properties {
        let _ = writeln!(
            text,
            "  {} {}",
            if verdict.holds { "holds " } else { "BROKEN" },
            verdict.name
        );
        for (number, step) in verdict.counterexample.iter().enumerate() {
            let _ = writeln!(text, "           {:2}. {step}", number + 1);
        }
    }
    let hits: Vec<_> = report
        .hits
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let _ = writeln!(text, "happened: {}", hits.join(", "));
    let _ = writeln!(
        text,
        "{states} states, {steps} steps, depth {depth}, {seconds} s"
    );
    let _ = writeln!(
        text,
        "{}",
        if report.holds {
            "complete: everything holds"
        } else {
            "it does not hold"
        }
    );
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn options(orders: u8, workers: u8, plant: Option<Mistake>) -> Options {
        Options {
            orders,
            workers,
            units: 1,
            plant,
            json: false,
        }
    }

    #[test]
    fn two_orders_for_one_unit_survive_redelivery_and_crashes() {
        let report = check(&options(2, 2, None));
        assert!(report.holds, "{}", describe(&report));
    }

    #[test]
    fn every_planted_mistake_is_found() {
        for mistake in Mistake::value_variants().iter().copied() {
            let report = check(&options(1, 2, Some(mistake)));
            let broken: Vec<_> = report
                .properties
                .iter()
                .filter(|verdict| !verdict.counterexample.is_empty())
                .collect();
            assert!(
                !broken.is_empty(),
                "{mistake:?} was not found:\n{}",
                describe(&report)
            );
        }
    }
}
