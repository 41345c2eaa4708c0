//! The result of all seeds, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::hits::{Hit, Hits};
use super::{DESCRIBED_MAX, Options, Run, SEEDS_THAT_SEE_ALL};

/// The result of all seeds.
#[derive(Debug, Serialize)]
pub struct SimulationReport {
    first_seed: u64,
    pub seeds: u64,
    customers: u64,
    pub orders: usize,
    events: usize,
    simulated_seconds: u64,
    /// The longest time from the end of the faults until everything was settled.
    pub settled_ms_max: u64,
    pub seconds: f64,
    pub failed_seeds: u64,
    pub hits: BTreeMap<String, u64>,
    /// Kinds of faults that never occurred. Empty if there were too few seeds to expect all.
    pub never_hit: Vec<String>,
    pub failures: Vec<Failure>,
    pub holds: bool,
    #[serde(skip)]
    sum: Hits,
}

/// A seed that violated an invariant.
#[derive(Debug, Serialize)]
pub struct Failure {
    pub seed: u64,
    replay: String,
    trace_hash: String,
    plan: String,
    pub broken: Vec<String>,
    last_events: Vec<String>,
}

impl SimulationReport {
    /// Creates an empty report.
    pub fn of(options: &Options) -> SimulationReport {
        SimulationReport {
            first_seed: options.first(),
            seeds: options.count(),
            customers: options.customers,
            orders: 0,
            events: 0,
            simulated_seconds: 0,
            settled_ms_max: 0,
            seconds: 0.0,
            failed_seeds: 0,
            hits: BTreeMap::new(),
            never_hit: Vec::new(),
            failures: Vec::new(),
            holds: false,
            sum: Hits::default(),
        }
    }

    /// Adds the result of a seed. `again` is the trace hash of a second run.
    pub fn take_in(&mut self, options: &Options, run: &Run, again: Option<u64>) {
        self.orders += run.orders;
        self.events += run.events;
        self.simulated_seconds += run.simulated_ms / 1_000;
        self.settled_ms_max = self.settled_ms_max.max(run.settled_ms);
        self.sum.add(&run.hits);
        let mut broken: Vec<String> = run
            .violations
            .iter()
            .map(|violation| format!("{} {}", violation.invariant, violation.what))
            .collect();
        if again.is_some_and(|again| again != run.trace_hash) {
            broken.push("the same seed went another way the second time".to_owned());
        }
        if broken.is_empty() {
            return;
        }
        self.failed_seeds += 1;
        self.failures.push(Failure {
            seed: run.plan.seed,
            replay: replay(options, run.plan.seed),
            trace_hash: format!("{:016x}", run.trace_hash),
            plan: format!("{:?}", run.plan),
            broken,
            last_events: run.last_events.clone(),
        });
        // Threads finish in any order, so the smallest failing seeds are kept.
        self.failures.sort_by_key(|failure| failure.seed);
        self.failures.truncate(DESCRIBED_MAX);
    }

    /// Completes the report after the last seed.
    pub fn close(&mut self, options: &Options, elapsed: Duration) {
        self.seconds = (elapsed.as_secs_f64() * 100.0).round() / 100.0;
        self.hits = Hit::ALL
            .into_iter()
            .map(|hit| (format!("{hit:?}"), self.sum.of(hit)))
            .collect();
        if options.count() >= SEEDS_THAT_SEE_ALL {
            self.never_hit = self
                .sum
                .never()
                .iter()
                .map(|hit| format!("{hit:?}"))
                .collect();
        }
        self.holds = self.orders > 0 && self.failed_seeds == 0 && self.never_hit.is_empty();
    }
}

/// Returns the command that repeats a seed.
fn replay(options: &Options, seed: u64) -> String {
    let mut command = format!(
        "prove simulate --seed {seed} --customers {}",
        options.customers
    );
    command.push_str(&format!(" --settle-within {}", options.settle_within));
    if let Some(mistake) = options
        .plant
        .as_ref()
        .and_then(clap::ValueEnum::to_possible_value)
    {
        command.push_str(&format!(" --plant {}", mistake.get_name()));
    }
    command
}

impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failure {
            seed,
            replay,
            trace_hash,
            plan,
            broken,
            last_events,
        } in &self.failures
        {
            writeln!(
                f,
                "seed {seed} (trace {trace_hash})\n  {plan}\n  again: {replay}"
            )?;
            for what in broken {
                writeln!(f, "  BROKEN {what}")?;
            }
            writeln!(f, "  the last events:")?;
            for event in last_events {
                writeln!(f, "  {event}")?;
            }
        }
        let hits: Vec<_> = self
            .hits
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(f, "happened: {}", hits.join(", "))?;
        if !self.never_hit.is_empty() {
            writeln!(
                f,
                "NEVER HIT, so not survived: {}",
                self.never_hit.join(", ")
            )?;
        }
        let SimulationReport {
            first_seed,
            seeds,
            orders,
            events,
            simulated_seconds,
            settled_ms_max,
            seconds,
            ..
        } = self;
        let last_seed = first_seed + seeds.saturating_sub(1);
        writeln!(
            f,
            "seeds {first_seed} to {last_seed}: {orders} orders, {events} events, {simulated_seconds} simulated seconds, \
             settled within {settled_ms_max} ms of the end of the faults, {seconds} s"
        )?;
        match self.failed_seeds {
            0 if self.holds => writeln!(f, "everything holds"),
            0 if *orders == 0 => writeln!(f, "no order was placed, which shows nothing"),
            failed => writeln!(f, "{failed} seeds failed"),
        }
    }
}
