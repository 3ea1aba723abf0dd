//! `slipwire quickstart`: a gateway, a client for it, and proof that the tunnel works.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::Parser;
use mio::unix::SourceFd;
use slipwire_driver::Driver;
use zeroize::Zeroizing;

use super::arguments;
use crate::config::Configuration;
use crate::ending::{self, Ending};
use crate::failure::Failure;
use crate::quickstart::{self, Code, NoCode, Prepared, Size, Trial};
use crate::{logging, output, ready, start};

const DEFAULT_DIRECTORY: &str = "slipwire-quickstart";

const HELP: &str = "\
Makes keys and a configuration in DIR unless they are there, shows a client's wg-quick configuration
and runs the gateway. A client in the same process connects to it through WireGuard, so that one
curl through a local port proves the whole way.

The client's configuration holds a key: it is shown once, when it is made, and stands in client.conf
then. In a terminal that is large enough it is shown as a QR code too, for phones.

Usage: slipwire quickstart [DIR] [--port PORT]

Arguments:
  DIR                 default: ./slipwire-quickstart

Options:
  --port PORT         the UDP port of a new configuration; default: 51820

Examples:
  slipwire quickstart
  slipwire quickstart ~/vpn                     keys and files of your own directory
  slipwire run ~/vpn/slipwire.toml              later: the gateway alone
";

pub(super) fn main(parser: Parser) -> Result<(), Failure> {
    let parsed = arguments::quickstart(parser);
    let Some(asked) = arguments::settle(parsed, "quickstart", HELP)? else { return Ok(()) };
    ending::outlive_idle_signals()?;
    let directory = asked.directory.unwrap_or_else(|| PathBuf::from(DEFAULT_DIRECTORY));
    let prepared = quickstart::prepare(&directory, asked.port.map(NonZeroU16::get))?;
    run(&directory, prepared)
}

fn run(directory: &Path, prepared: Prepared) -> Result<(), Failure> {
    let shown = introduce(directory, &prepared);
    let code = code(&prepared);
    let Configuration { origin, interface_name, engine, settings, log_level, warnings } =
        prepared.configuration;
    logging::start(log_level);
    logging::warn_all(&warnings);
    let engine = quickstart::with_page(&engine)?;
    let (engine, trial) = Trial::join(&engine)?;
    let mut gateway = start::start(engine.clone(), settings, &origin)?;
    quickstart::serve_page(&mut gateway)?;
    let listens: Vec<SocketAddr> = gateway.local_addresses().collect();
    let mut client = quickstart::start_trial(&engine, &listens, &trial)?;
    let ending = Ending::watch(&mut gateway)?;
    gateway
        .add_wakeup(&mut SourceFd(&client.as_fd().as_raw_fd()))
        .map_err(Failure::system("can't wait for the client"))?;
    output::print(&shown)?;
    log::info!("{}", ready::line(&interface_name, &engine, &gateway));
    // Last, so that nothing pushes it out of the terminal; the log has a thread of its own.
    logging::finish();
    output::print(&code)?;
    for (_, forward) in client.forwards() {
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
fn introduce(directory: &Path, prepared: &Prepared) -> Zeroizing<String> {
    let files = match prepared.made.as_slice() {
        [] => "using what is there".to_owned(),
        made => format!("made {}", made.join(", ")),
    };
    let (place, file) = (directory.display(), prepared.client_file.display());
    let joins = match prepared.new_client() {
        Some(client) => format!(
            "A laptop or a phone joins with this, which is a secret. It stays in\n{file}.\n\
             If the way to this machine is another than Endpoint says, change it there.\n\n\
             {client}"
        ),
        None => format!("A laptop or a phone joins with {file}, which is a secret.\n"),
    };
    Zeroizing::new(format!("slipwire quickstart in {place}:\n{files}\n\n{joins}\n"))
}

/// The same for the camera of a phone, or why not. Without a terminal there is nothing to say.
fn code(prepared: &Prepared) -> Zeroizing<String> {
    let Some((columns, rows)) = output::terminal_size() else { return Zeroizing::default() };
    let file = prepared.client_file.display();
    Zeroizing::new(match prepared.code(Size { columns, rows: rows.saturating_sub(LINES_BELOW) }) {
        Code::Drawn(drawing) => return drawing,
        Code::NoEndpoint => format!(
            "There is no QR code yet: write into {file} where this machine is reached\n\
             (Endpoint = ADDRESS:PORT), and start this again.\n\n"
        ),
        Code::None(NoCode::TooSmall(size)) => format!(
            "A QR code of it takes a terminal of {} columns and {} rows; this one has {columns} and\n\
             {rows}. Make it larger, or its letters smaller, and start this again.\n\n",
            size.columns,
            size.rows + LINES_BELOW
        ),
        Code::None(NoCode::TooLong) => format!("{file} is too long for a QR code.\n\n"),
    })
}

/// What stands below the code soon: the [invitation](invite), and what the log says of the start.
const LINES_BELOW: usize = 7;

fn invite(address: SocketAddr) -> String {
    format!(
        "Try it, through the tunnel to a page that the gateway serves:\n    \
         curl http://{address}/\nCtrl-C ends it all.\n"
    )
}
