//! `NAT.md`, which says what became of each requirement of the RFCs on NATs, held to the sources:
//! it leaves out no requirement, every test that it names exists, and every test that is named for
//! a requirement stands in it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on ends")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The RFCs, and how many requirements each has.
const RFCS: [(&str, usize); 4] =
    [("RFC 4787", 14), ("RFC 5382", 10), ("RFC 5508", 11), ("RFC 6888", 15)];

/// What a row may come to. The first two need a test.
const VERDICTS: [&str; 4] = ["met in part", "met", "not met", "not applicable"];

struct Row {
    rfc: String,
    requirement: String,
    verdict: String,
    tests: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(root().join("NAT.md")).unwrap();
    let mut rfc = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            rfc = title.split(':').next().unwrap().to_owned();
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let [_, requirement, _, verdict, tests, _] = cells[..]
            && requirement.starts_with("REQ-")
        {
            rows.push(Row {
                rfc: rfc.clone(),
                requirement: requirement.to_owned(),
                verdict: verdict.to_owned(),
                tests: tests.split_whitespace().map(|name| name.replace('`', "")).collect(),
            });
        }
    }
    rows
}

fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The functions marked as tests.
fn functions(source: &str) -> impl Iterator<Item = &str> {
    let marked = source.split("#[test]").skip(1);
    marked.filter_map(|rest| rest.split_once("fn ")?.1.split('(').next())
}

/// The names of end-to-end tests: literals, with the job before the name or without.
fn literals(source: &str) -> impl Iterator<Item = &str> {
    let name = |text: &&str| text.contains('_') && !text.contains(|c: char| !is_of_a_name(c));
    source.split('"').map(|text| text.rsplit("::").next().unwrap_or(text)).filter(name)
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

fn names() -> BTreeSet<String> {
    let (mut code, mut e2e) = (Vec::new(), Vec::new());
    for part in ["core", "driver"] {
        sources(&root().join("..").join(part), &mut code);
    }
    sources(&root().join("e2e"), &mut e2e);
    let functions = code.iter().flat_map(|source| functions(source));
    let literals = e2e.iter().flat_map(|source| literals(source));
    functions.chain(literals).map(str::to_owned).collect()
}

#[test]
fn no_requirement_is_left_out() {
    let rows = table();
    let found: Vec<_> = rows.iter().map(|row| (row.rfc.clone(), row.requirement.clone())).collect();
    let due: Vec<_> = RFCS
        .iter()
        .flat_map(|(rfc, count)| (1..=*count).map(|n| ((*rfc).to_owned(), format!("REQ-{n}"))))
        .collect();
    assert_eq!(found, due);
}

#[test]
fn every_row_has_a_verdict_and_what_is_met_has_a_test() {
    for Row { rfc, requirement, verdict, tests } in table() {
        let known = VERDICTS.iter().find(|known| verdict.starts_with(*known));
        let known = *known.unwrap_or_else(|| panic!("{rfc} {requirement}: {verdict}"));
        let needs_test = known == "met" || known == "met in part";
        assert!(!needs_test || !tests.is_empty(), "{rfc} {requirement} is {known} without a test");
    }
}

#[test]
fn every_test_that_the_table_names_exists() {
    let names = names();
    for Row { rfc, requirement, tests, .. } in table() {
        for test in tests {
            assert!(names.contains(&test), "{rfc} {requirement}: there is no {test}");
        }
    }
}

#[test]
fn every_test_that_is_named_for_a_requirement_stands_in_its_row() {
    let rows = table();
    for name in names() {
        let Some((rfc, rest)) = name.strip_prefix("rfc").and_then(|rest| rest.split_once("_req_"))
        else {
            assert!(!name.starts_with("req_"), "{name} does not say of which RFC it is");
            continue;
        };
        // One number, or several with "and" between them.
        let numbers = rest
            .split("_and_")
            .map_while(|part| part.split('_').next().filter(|number| number.parse::<u8>().is_ok()));
        for number in numbers {
            let (rfc, requirement) = (format!("RFC {rfc}"), format!("REQ-{number}"));
            let row = rows.iter().find(|row| row.rfc == rfc && row.requirement == requirement);
            let row = row.unwrap_or_else(|| panic!("{name}: there is no {rfc}, {requirement}"));
            assert!(row.tests.contains(&name), "{rfc}, {requirement} does not name {name}");
        }
    }
}
