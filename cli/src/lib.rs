//! `slipwire`: WireGuard in user space, as a program.
//!
//! Here are arguments, configuration files, messages and exit codes. What the program then does is
//! done by `slipwire-driver` and `slipwire-core`, through nothing that another crate could not use.
//! This library is there so that tests reach its parsers; other programs embed those two crates.
#![deny(unsafe_code)]

mod command;
mod config;
mod ending;
mod entropy;
mod failure;
pub mod fuzz;
mod logging;
mod memory;
mod output;
mod outward;
mod quickstart;
mod ready;
mod standard_error;
mod start;

use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    memory::prepare();
    let code = match command::dispatch(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            logging::say_failure(&failure.to_string());
            failure.code()
        }
    };
    logging::finish();
    code
}
