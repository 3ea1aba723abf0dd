//! The commands: a file each. Here the one that the arguments name is found.

mod arguments;
mod check;
mod explain;
mod genkey;
mod genpsk;
mod pubkey;
mod quickstart;
mod replay;
mod rule_table;
mod run;

pub(crate) use check::describe;
pub(crate) use explain::explain;
use lexopt::{Arg, Parser};

use crate::failure::Failure;
use crate::output;

const HELP: &str = "\
WireGuard in user space: port forwards and a gateway, without root and without a TUN device.

Usage: slipwire COMMAND [ARGUMENTS]

Commands:
  run [-c FILE]       run a configuration
  quickstart [DIR]    make keys and a configuration, run a gateway, and try it at once
  check [-c FILE]     validate a configuration and print what would run
  genkey              print a new private key
  pubkey              read a private key, print its public key
  genpsk              print a new preshared key
  replay TAPE         run a recorded tape, stop at the first difference

Options:
  -h, --help          print this, or the help of a command
  -V, --version       print the version

Examples:
  slipwire quickstart                         the whole way in one go, nothing to set up
  (umask 077; slipwire genkey > slip0.key)    a key of your own
  slipwire check -c slipwire.toml             what would run, or all that is wrong
  slipwire run -c slipwire.toml               until SIGTERM or Ctrl-C

Exit codes: 0 done, 1 a fault of what was asked for, 2 wrong usage, 3 the system refused.
";

const NAMES: [&str; 7] = ["run", "quickstart", "check", "genkey", "pubkey", "genpsk", "replay"];

/// Runs the command that the arguments name.
pub(crate) fn dispatch(mut parser: Parser) -> Result<(), Failure> {
    let usage = |message: String| Failure::Usage { message, help: "slipwire".to_owned() };
    match parser.next().map_err(|error| usage(error.to_string()))? {
        None => Err(usage("no command".to_owned())),
        Some(Arg::Short('h') | Arg::Long("help")) => output::print(HELP),
        Some(Arg::Short('V') | Arg::Long("version")) => {
            output::print(concat!("slipwire ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Some(Arg::Value(name)) => match name.to_str() {
            Some("run") => run::main(parser),
            Some("quickstart") => quickstart::main(parser),
            Some("check") => check::main(parser),
            Some("genkey") => genkey::main(parser),
            Some("pubkey") => pubkey::main(parser),
            Some("genpsk") => genpsk::main(parser),
            Some("replay") => replay::main(parser),
            Some(_) | None => Err(usage(unknown_command(&name.to_string_lossy()))),
        },
        Some(option) => Err(usage(option.unexpected().to_string())),
    }
}

fn unknown_command(name: &str) -> String {
    match NAMES.iter().find(|known| strsim::osa_distance(known, name) <= 2) {
        Some(near) => format!("no command {name:?}, did you mean `{near}`?"),
        None => format!("no command {name:?}"),
    }
}
