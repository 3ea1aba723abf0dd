//! Slipwire's TCP beside the kernel's over paths with delay, loss and queues: each program in turn,
//! several rounds, ratios within a round. `slipwire_paths` says how.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p slipwire-tests --bin paths -- --quick
//! ```

#![allow(clippy::print_stdout, reason = "the tables are what this program is for")]

use std::env;

use anyhow::{Result, anyhow};
use slipwire_bench::machine::Machine;
use slipwire_lab::{lab::Lab, sandbox, wireguard_go};
use slipwire_paths::{
    compare, fairness, many,
    options::{HELP, Mode, Options},
    prepare_process,
};

const LEGEND: &str = "\
Mbit/s: payload that the reader got, from the connecting on. x: the ratio to the first program in the
same round. sent/needed: payload sent for each byte that the reader got. lost: segments that the path
lost. again: what was sent more than once, in segments. ping: what one beside the transfer took longer
than one alone. 50 KB: from the connecting to the last byte; the first of a peer, and later ones.
Medians of the rounds, or of all pages.
";

fn main() -> Result<()> {
    let Some(options) = Options::parse(env::args_os().skip(1))? else {
        print!("{HELP}");
        return Ok(());
    };
    wireguard_go::prefer_installed();
    prepare_process()?;
    sandbox::enter().map_err(|reason| anyhow!(reason))?;

    println!("{}", Machine::this("paths")?.heading());
    let lab = Lab::new()?;
    match options.mode {
        Mode::Compare => {
            println!("{LEGEND}");
            eprintln!("about {} minutes", compare::estimate(&options).as_secs().div_ceil(60));
            let mut sites = compare::sites(&lab, &options)?;
            let mut all = Vec::new();
            for path in &options.paths {
                let results = compare::measure(&lab, &mut sites, path, &options);
                println!("{}", compare::report(path, &options, &results));
                all.push((*path, results));
            }
            print!("{}", compare::summary(&all, &options));
        }
        Mode::Fairness => println!("{}", fairness::run(&lab, &options)?),
        Mode::Many(downloads) => println!("{}", many::run(&lab, &options, downloads)?),
    }
    Ok(())
}
