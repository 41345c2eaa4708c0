use clap::ValueEnum as _;

use super::hits::Hit;
use super::*;

fn options(seeds: u64, plant: Option<Mistake>) -> Options {
    Options {
        seeds: Some(seeds),
        seed: None,
        customers: 8,
        settle_within: 60,
        check_determinism: false,
        plant,
        json: false,
    }
}

#[test]
fn a_thousand_storms_break_no_invariant_and_cover_every_fault() {
    let report = simulate(&options(1_000, None));
    assert!(report.holds, "{report}");
    println!("{report}");
}

#[test]
fn equal_seeds_produce_equal_runs() {
    let report = simulate(&Options {
        check_determinism: true,
        ..options(20, None)
    });
    assert_eq!(report.failed_seeds, 0, "{report}");
}

#[test]
fn different_seeds_produce_different_runs() {
    let hashes: std::collections::BTreeSet<u64> = (1..=10)
        .map(|seed| one(&options(1, None), seed).trace_hash)
        .collect();
    assert_eq!(hashes.len(), 10);
}

/// A call that is only late is no failure.
#[test]
fn a_failure_is_counted_for_each_call_that_failed() {
    for seed in 1..=20 {
        let plan = Plan::of(seed, 8);
        let (shop, mut scheduler) = SimulatedShop::open(plan.clone(), None);
        scheduler.run_until(plan.storm_ms);
        let (hits, failed) = (
            shop.engine.hits(),
            shop.engine.trace(|trace| trace.count("failed before")),
        );
        let counted = hits.of(Hit::Failure) + hits.of(Hit::Outage);
        assert_eq!(counted, failed, "seed {seed}");
    }
}

#[test]
fn a_simulation_without_a_seed_does_not_hold() {
    assert!(!simulate(&options(0, None)).holds);
}

/// Runs seeds in sequence, so that the first seed that finds a mistake is printed.
#[test]
fn every_planted_mistake_is_found() {
    const WITHIN: u64 = 400;
    for mistake in Mistake::value_variants().iter().copied() {
        let found = (1..=WITHIN).find_map(|seed| {
            let run = one(&options(1, Some(mistake)), seed);
            run.violations
                .first()
                .map(|violation| (seed, violation.clone()))
        });
        let Some((seed, violation)) = found else {
            panic!("{mistake:?} was not found in {WITHIN} seeds")
        };
        println!(
            "{mistake:?}: seed {seed} breaks {}: {}",
            violation.invariant, violation.what
        );
    }
}

#[test]
fn a_failing_seed_is_reported_with_the_command_that_repeats_it() {
    let options = options(30, Some(Mistake::ChargeWithNewKey));
    let report = simulate(&options);
    let failure = report
        .failures
        .first()
        .expect("a double charge within thirty seeds");
    let text = report.to_string();
    for part in [
        format!(
            "prove simulate --seed {} --customers 8 --settle-within 60 --plant charge-with-new-key",
            failure.seed
        ),
        "Plan { seed: ".to_owned(),
        "BROKEN I7".to_owned(),
        "the last events".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is missing in:\n{text}");
    }
    let again = one(
        &Options {
            seed: Some(failure.seed),
            seeds: None,
            ..options
        },
        failure.seed,
    );
    let broken: Vec<_> = again
        .violations
        .iter()
        .map(|v| format!("{} {}", v.invariant, v.what))
        .collect();
    assert_eq!(broken, failure.broken);
}
