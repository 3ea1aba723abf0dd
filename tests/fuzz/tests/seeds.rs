//! Every fuzz target on its seeds and on variations of them, as many as take some seconds. The same
//! every time; CONTRIBUTING.md says how to look for more.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use slipwire_fuzz_targets::{self as fuzz, mutator::Mutator};

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds");

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(Path::new(SEEDS).join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs a target and says what it was given if it does not return.
fn run(target: &str, data: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| fuzz::run(target, data))) {
        eprintln!("{target} on {:?}", data.escape_ascii().to_string());
        resume_unwind(panic);
    }
}

fn bounded(target: &str, variations: usize) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "no seeds");
    for seed in &seeds {
        run(target, seed);
    }
    let mut mutator = Mutator::new(1);
    for _ in 0..variations {
        run(target, &mutator.vary(&seeds));
    }
}

#[test]
fn no_datagram_breaks_the_tunnel() {
    bounded("datagram", 2_000);
}

#[test]
fn no_packet_of_a_peer_breaks_the_stack() {
    bounded("packet", 2_000);
}

#[test]
fn no_fragments_become_what_was_not_sent() {
    bounded("fragments", 1_000);
}

#[test]
fn every_configuration_is_valid_or_has_reasons_with_lines() {
    bounded("configuration", 10_000);
}

#[test]
fn every_value_is_read_or_refused() {
    bounded("value", 500);
}

#[test]
fn every_question_is_answered_or_refused() {
    bounded("question", 5_000);
}

#[test]
fn every_tape_is_replayed_to_an_end() {
    bounded("tape", 2_000);
}

#[test]
fn every_target_has_a_program() {
    for target in fuzz::TARGETS {
        let program = Path::new(SEEDS).join("../targets").join(format!("{}.rs", target.name));
        let text = fs::read_to_string(&program).unwrap_or_default();
        assert!(text.contains(&format!("\"{}\"", target.name)), "{}", program.display());
    }
}
