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
use slipwire_lab::{lab::Lab, sandbox, wireguard_go};
use slipwire_paths::{
    compare,
    options::{HELP, Options},
};

fn main() -> Result<()> {
    if env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    wireguard_go::prefer_installed();
    sandbox::enter().map_err(|reason| anyhow!(reason))?;
    let Some(options) = Options::parse(env::args_os().skip(1))? else {
        print!("{HELP}");
        return Ok(());
    };

    println!("# Over paths, compared with {}\n", wireguard_go::version()?);
    let lab = Lab::new()?;
    let mut sites = compare::sites(&lab, &options)?;
    for path in &options.paths {
        let results = compare::measure(&lab, &mut sites, path, &options);
        println!("{}", compare::report(path, &options, &results));
    }
    Ok(())
}
