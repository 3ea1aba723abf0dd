//! Every bound is found from `core/src/limits.rs`, and none has two values.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use slipwire_tidy::constants::{Constant, constants};
use slipwire_tidy::sources::{root, rust_files};

const LIMITS: &str = "core/src/limits.rs";

fn is_bound(constant: &Constant) -> bool {
    ["_MAX", "_MAX_MS", "_KEPT"].iter().any(|end| constant.name.ends_with(end))
}

#[test]
fn every_bound_of_core_stands_in_limits_or_is_listed_there() {
    let text = fs::read_to_string(root().join(LIMITS)).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let listed: BTreeSet<(String, String)> = rows
        .flat_map(|row| {
            let (file, rest) = row.split_once("` | ").unwrap();
            let (names, _) = rest.split_once(" | ").unwrap();
            let names = names.split(", ").map(|name| name.trim_matches('`').to_owned());
            names.map(|name| (format!("core/src/{file}"), name)).collect::<Vec<_>>()
        })
        .collect();
    let elsewhere = constants(&rust_files("core/src")).into_iter().filter(is_bound);
    let elsewhere = elsewhere.filter(|constant| constant.path != LIMITS);
    let elsewhere: BTreeSet<_> = elsewhere.map(|constant| (constant.path, constant.name)).collect();
    let missing: Vec<_> = elsewhere.difference(&listed).collect();
    assert!(missing.is_empty(), "{LIMITS} does not list {missing:?}");
    let gone: Vec<_> = listed.difference(&elsewhere).collect();
    assert!(gone.is_empty(), "{LIMITS} lists what is not there: {gone:?}");
}

#[test]
fn no_bound_has_two_values() {
    for name in ["core", "driver", "cli"] {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for bound in constants(&rust_files(&format!("{name}/src"))).into_iter().filter(is_bound) {
            values.entry(bound.name).or_default().insert(bound.value);
        }
        let several: Vec<_> = values.iter().filter(|(_, values)| values.len() > 1).collect();
        assert!(several.is_empty(), "{name}: {several:?}");
    }
}
