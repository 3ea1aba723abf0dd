//! How fast slipwire is, and what it costs, beside the other ways from one host to another: each
//! way in turn, several rounds, the medians as tables. `slipwire_bench` says how.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p slipwire-tests --bin bench -- --rounds 5 --seconds 3
//! ```

#![allow(clippy::print_stdout, reason = "the tables are what this program is for")]

use std::{env, fs};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Map, Value};
use slipwire_bench::{
    echo, floor,
    machine::Machine,
    options::{HELP, Options},
};
use slipwire_lab::{sandbox, wireguard_go};

fn main() -> Result<()> {
    // Its own child processes.
    let words: Vec<String> = env::args().skip(1).collect();
    match words.split_first() {
        Some((word, rest)) if word == floor::COMMAND => return floor::run(rest),
        Some((word, rest)) if word == echo::COMMAND => return echo::run(rest),
        _ => {}
    }
    let Some(options) = Options::parse(env::args_os().skip(1))? else {
        print!("{HELP}");
        return Ok(());
    };
    wireguard_go::prefer_installed();
    sandbox::enter().map_err(|reason| anyhow!(reason))?;

    let machine = Machine::this("bench")?;
    println!("{}", machine.heading());
    let mut json = Map::from_iter([("machine".to_owned(), machine.json())]);
    for part in &options.parts {
        let report = part.run(&options)?;
        print!("{}", report.markdown);
        json.insert(part.name().to_owned(), report.json);
        // After each part, so that nothing is lost with a later one.
        if let Some(file) = &options.json {
            fs::write(file, format!("{:#}\n", Value::Object(json.clone())))
                .with_context(|| format!("writing {}", file.display()))?;
        }
    }
    Ok(())
}
