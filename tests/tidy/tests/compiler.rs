//! The oldest compiler that builds slipwire, `rust-version` in `Cargo.toml`, is what is said
//! elsewhere.
//!
//! That our own code gets along with it clippy knows (`incompatible_msrv`), of dependencies they
//! say it themselves.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::env;
use std::process::Command;

use serde_json::Value;
use slipwire_tidy::sources::root;

/// Of a version the numbers that count: `1.91.0` is 1 and 91.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn no_dependency_needs_a_newer_compiler() {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--locked", "--all-features"]);
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<_> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package["rust_version"].as_str().is_some_and(|it| version(it) > ours))
        .map(|package| format!("{} {}", package["name"], package["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "they need a newer compiler than {ours:?}: {newer:?}");
}

#[test]
fn documents_name_the_compiler_that_the_manifest_does() {
    let said = format!("Rust {} or later", env!("CARGO_PKG_RUST_VERSION"));
    for document in ["README.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        assert!(text.contains(&said), "{document} does not say {said:?}");
    }
}
