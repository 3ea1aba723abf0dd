//! The program `simulate`: what it says of a seed depends on the seed alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends"
)]

use std::process::Command;

/// Seeds whose digests are compared.
const SEEDS_OF_DIGESTS: u64 = 20;

#[test]
fn the_same_seed_is_the_same_run_in_another_process() {
    let run = || summary(Command::new(env!("CARGO_BIN_EXE_simulate")));
    assert_eq!(run(), run());
}

/// It builds the release profile, which takes minutes.
#[test]
fn the_same_seed_is_the_same_run_in_another_profile() {
    if !["SLIPWIRE_TEST_SLOW", "SLIPWIRE_TEST_ALL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        return eprintln!("skipped: slow; SLIPWIRE_TEST_SLOW=1 runs it");
    }
    let run = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "-p", "slipwire-tests", "--bin", "simulate"]);
        cargo.args(arguments).arg("--");
        summary(cargo)
    };
    assert_eq!(run(&[]), run(&["--release"]));
}

/// What the simulation says of some seeds, but for how long it took.
fn summary(mut simulate: Command) -> Vec<String> {
    let seeds = SEEDS_OF_DIGESTS.to_string();
    let output = simulate.args(["--seeds", &seeds]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines = text.lines().filter(|line| line.contains("digest") || line.contains("streams"));
    let lines: Vec<_> = lines.map(String::from).collect();
    assert_eq!(lines.len(), 2, "{text}");
    lines
}
