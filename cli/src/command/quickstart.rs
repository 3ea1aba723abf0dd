//! `slipwire quickstart`: a gateway, a client for it, and proof that the tunnel works.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::Parser;
use mio::unix::SourceFd;
use slipwire_driver::Driver;

use super::arguments;
use crate::config::Configuration;
use crate::ending::{self, Ending};
use crate::failure::Failure;
use crate::quickstart::{self, Prepared, Style};
use crate::{logging, output, ready, start};

const DEFAULT_DIRECTORY: &str = "slipwire-quickstart";

const HELP: &str = "\
Makes keys and a configuration in DIR unless they are there, shows a client's wg-quick configuration
as text and as a QR code, and runs the gateway. A client in the same process connects to it through
WireGuard, so that one curl through a local port proves the whole way.

Usage: slipwire quickstart [DIR]

Arguments:
  DIR                 default: ./slipwire-quickstart

Examples:
  slipwire quickstart
  slipwire quickstart ~/vpn                     keys and files of your own directory
  slipwire run -c ~/vpn/slipwire.toml           later: the gateway alone
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    let parsed = arguments::directory(parser);
    let Some(asked) = arguments::settle(parsed, "quickstart", HELP)? else { return Ok(()) };
    ending::outlive_idle_signals()?;
    let directory = asked.unwrap_or_else(|| PathBuf::from(DEFAULT_DIRECTORY));
    run(&directory, quickstart::prepare(&directory)?)
}

fn run(directory: &Path, prepared: Prepared) -> Result<(), Failure> {
    let shown = introduce(directory, &prepared);
    let Prepared { configuration, trial, trial_key, .. } = prepared;
    let Configuration { origin, interface_name, engine, mut settings, log_level, warnings } =
        configuration;
    logging::start(log_level);
    logging::warn_all(&warnings);
    let engine = quickstart::serve_page(&engine, &mut settings)?;
    let mut gateway = start::start(engine.clone(), settings, &origin)?;
    let listens: Vec<SocketAddr> = gateway.local_addresses().collect();
    let mut client = quickstart::start_trial(&engine, &listens, &trial, &trial_key)?;
    let ending = Ending::watch(&mut gateway)?;
    gateway
        .add_wakeup(&mut SourceFd(&client.as_fd().as_raw_fd()))
        .map_err(Failure::system("can't wait for the client"))?;
    output::print(&shown)?;
    log::info!("{}", ready::line(&interface_name, &engine, &gateway));
    if let [forward] = client.forwards() {
        output::print(&invite(forward.listen))?;
    }
    turn_both(&mut gateway, &mut client, &ending)?;
    log::info!("ending");
    client.shut_down();
    gateway.shut_down();
    Ok(())
}

/// Runs two drivers in one thread. The gateway sleeps for both: the client wakes it through its
/// descriptor, and its timers bound the sleep.
fn turn_both(gateway: &mut Driver, client: &mut Driver, ending: &Ending) -> Result<(), Failure> {
    let failed = Failure::system("can't wait for events");
    while !ending.requested() {
        client.turn(Some(Duration::ZERO)).map_err(&failed)?;
        gateway.turn(client.next_timeout()).map_err(&failed)?;
    }
    Ok(())
}

/// What there is, and how a real client joins.
fn introduce(directory: &Path, prepared: &Prepared) -> String {
    let files = match prepared.made.as_slice() {
        [] => "using what is there".to_owned(),
        made => format!("made {}", made.join(", ")),
    };
    let style = if io::stdout().is_terminal() { Style::Coloured } else { Style::Plain };
    let code = quickstart::draw(&prepared.client, style).unwrap_or_default();
    format!(
        "slipwire quickstart in {}: {files}\n\n\
         A laptop or a phone joins with this, which is a secret. If it reaches this machine by another\n\
         address than Endpoint says, change it in {}.\n\n{}\n{code}\n",
        directory.display(),
        prepared.client_file.display(),
        *prepared.client,
    )
}

fn invite(address: SocketAddr) -> String {
    format!(
        "A client in this process leads through the tunnel. Try it:\n\n    \
         curl http://{address}/\n\nCtrl-C ends it all.\n"
    )
}
