//! The simulation: a fixed set of seeds keeps every promise, the same seed is the same run, and an
//! engine that breaks a promise is caught.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use slipwire_sim::{self as sim, Mutant, Trace};

/// More of them: `cargo run --release -p slipwire-tests --bin simulate -- --seeds N`.
const SEEDS: u64 = 500;
/// Seeds in which each mutant has to be caught.
const SEEDS_OF_MUTANTS: u64 = 100;
/// Seeds whose engines are recorded and replayed.
const SEEDS_OF_TAPES: u64 = 150;
/// Seeds whose digests are compared.
const SEEDS_OF_DIGESTS: u64 = 20;

#[test]
fn every_promise_is_kept() {
    check(0..SEEDS);
}

/// Seeds that found something, and find it again where it is undone.
#[test]
fn what_was_broken_once_stays_mended() {
    // Both ends sent again at once, and neither heard the other's acknowledgements any more.
    check([88, 447]);
    // A host leg that failed as soon as it was there was answered by a reset that nobody believed.
    check([796, 1_276]);
    // A segment that was overtaken opened a window that was closed, and a keepalive became a byte.
    check([6_278]);
    // The last bytes of an answer were lost behind a clean end.
    check([226, 298]);
}

fn check(seeds: impl IntoIterator<Item = u64>) {
    let reports = seeds.into_iter().map(|seed| sim::run(seed, Trace::Hidden));
    let broken: Vec<_> = reports
        .filter_map(|report| Some(format!("seed {}: {}", report.seed, report.violation?)))
        .collect();
    let repeat = "cargo run --release -p slipwire-tests --bin simulate -- --seeds 1 --trace --from";
    assert!(broken.is_empty(), "{broken:#?}\nto repeat one: {repeat} SEED");
}

#[test]
fn a_replayed_tape_says_what_was_said() {
    let reports = (0..SEEDS_OF_TAPES).map(|seed| sim::run_taped(seed, Trace::Hidden));
    let broken: Vec<_> = reports
        .filter_map(|report| Some(format!("seed {}: {}", report.seed, report.violation?)))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_mutant_is_caught() {
    let survives = |mutant: &Mutant| {
        let mut seeds = 0..SEEDS_OF_MUTANTS;
        !seeds.any(|seed| sim::run_mutant(seed, *mutant, Trace::Hidden).violation.is_some())
    };
    let survivors: Vec<_> = Mutant::ALL.into_iter().filter(survives).collect();
    assert!(survivors.is_empty(), "nobody noticed {survivors:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..SEEDS_OF_DIGESTS {
        assert_eq!(sim::run(seed, Trace::Hidden), sim::run(seed, Trace::Hidden));
    }
}
