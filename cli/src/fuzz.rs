//! What this program reads, for tests that throw anything at it. Each function panics when a
//! promise about the answer is broken.

use std::path::Path;

use crate::command::{describe, explain};
use crate::config::{self, schema};

/// What messages call the file; nothing is read from it.
const FILE: &str = "slipwire.toml";

/// The start of a file that needs no other file: 4 lines.
const INTERFACE: &str = "[interface]\n\
                         private_key = \"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\"\n\
                         address = [\"10.77.0.1/24\", \"fd77::1/64\"]\n";

const PEER: &str = "[[peer]]\nname = \"laptop\"\n\
                    public_key = \"3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=\"\n\
                    allowed_ips = [\"10.77.0.2/32\", \"fd77::2/128\"]\n";

/// A whole configuration file. If it is valid all that `slipwire check` says of it is said; if not,
/// every line of the answer is about a line that exists.
pub fn configuration(text: &str) {
    // A key file may be anything that blocks for ever when it is opened.
    if text.contains("_file") && text.contains('/') {
        return;
    }
    match config::parse_text(text, Path::new(FILE)) {
        Ok(configuration) => {
            assert!(!describe(&configuration).is_empty());
            let _ = explain("tcp 10.77.0.2 10.0.0.5:443", &configuration, |_, _| false);
        }
        Err(faults) => check_faults(&faults.to_string(), text),
    }
}

/// The text as the value of each key, bare and quoted.
pub fn value(text: &str) {
    let quoted = toml_string(text);
    for schema in schema::ALL {
        for key in schema.keys.iter().filter(|key| !key.ends_with("_file")) {
            let header = schema.header();
            for value in [&quoted, &format!("[{quoted}]")] {
                let file = format!("{INTERFACE}{PEER}{header}\n{key} = {value}\n");
                configuration(&file);
            }
        }
    }
}

/// A question as `slipwire check --explain` takes it.
pub fn question(text: &str) {
    let rules = "[gateway]\n[[rule]]\nfrom = [\"laptop\"]\nto = [\"10.0.0.0/8\"]\nport = [443]\n\
                 action = \"reject\"\n";
    let file = format!("{INTERFACE}{PEER}{rules}");
    let configuration = config::parse_text(&file, Path::new(FILE)).ok();
    let Some(configuration) = configuration else { unreachable!("a valid file") };
    let (Ok(answer) | Err(answer)) = explain(text, &configuration, |_, _| false);
    assert!(!answer.is_empty());
}

/// Every line names the file, a line of it, and something about it.
fn check_faults(faults: &str, text: &str) {
    let lines = text.lines().count().max(1) + 1;
    assert!(!faults.is_empty(), "no reason");
    for fault in faults.lines() {
        let mut parts = fault.splitn(3, ':');
        assert_eq!(parts.next(), Some(FILE), "{fault:?}");
        let line: Option<usize> = parts.next().and_then(|line| line.parse().ok());
        assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{fault:?}");
        assert!(parts.next().is_some_and(|what| !what.trim().is_empty()), "{fault:?}");
    }
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
