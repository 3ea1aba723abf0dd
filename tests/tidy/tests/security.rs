//! SECURITY.md says what each bound protects, by the names that bounds have in the code.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use slipwire_tidy::sources::root;

#[test]
fn bounds_that_are_said_to_protect_exist() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (document, limits) = (read("SECURITY.md"), read("core/src/limits.rs"));
    let rows = document.lines().skip_while(|line| !line.starts_with("| bound |")).skip(2);
    let names: Vec<_> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let is_there = |name: &str| {
        limits.contains(&format!("const {name}: ")) || limits.contains(&format!("pub {name}: "))
    };
    let gone: Vec<_> = names.into_iter().filter(|name| !is_there(name)).collect();
    assert!(gone.is_empty(), "core/src/limits.rs has no {gone:?}");
}
