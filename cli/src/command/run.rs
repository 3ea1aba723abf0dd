//! `slipwire run`: a configuration, until a signal ends it.

use lexopt::Parser;

use super::arguments;
use crate::config::{self, Configuration};
use crate::ending::{self, Ending};
use crate::failure::Failure;
use crate::memory::Ebb;
use crate::{logging, ready, start};

const HELP: &str = "\
Runs a configuration until SIGTERM or SIGINT (Ctrl-C). The first signal closes every connection in
order, a second one ends the process at once. SIGHUP, SIGUSR1 and SIGUSR2 do nothing. One line says
when everything is ready.

Usage: slipwire run [FILE]

Arguments:
  FILE                the configuration, - for standard input; default: ./slipwire.toml, then
                      /etc/slipwire/slipwire.toml

Options:
  -c, --config FILE   the same

Environment:
  RUST_LOG            what is logged, instead of [log] level: RUST_LOG=debug

Examples:
  slipwire run
  slipwire run /etc/slipwire/slipwire.toml
  RUST_LOG=debug slipwire run slipwire.toml
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    let parsed = arguments::configuration(parser);
    let Some(asked) = arguments::settle(parsed, "run", HELP)? else { return Ok(()) };
    ending::outlive_idle_signals()?;
    let Configuration { origin, interface_name, engine, settings, log_level, warnings } =
        config::find(asked)?;
    logging::start(log_level);
    logging::warn_all(&warnings);
    let mut driver = start::start(engine.clone(), settings, &origin)?;
    let ending = Ending::watch(&mut driver)?;
    log::info!("{}", ready::line(&interface_name, &engine, &driver));
    let mut ebb = Ebb::default();
    while !ending.requested() {
        driver.turn(None).map_err(Failure::system("can't wait for events"))?;
        ebb.note(driver.flow_count());
    }
    log::info!("ending");
    driver.shut_down();
    Ok(())
}
